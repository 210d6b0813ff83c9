"""Settings by annotation: taken whole or not at all, and every fault named so that it can be mended."""

from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.kubernetes.derive.annotations import (
    _SETTINGS,
    DEFAULT_SETTINGS,
    NAMES,
    AppSettings,
    WrongSettings,
    is_offered,
    read_settings,
)

DURATIONS = "such as 30m, 1h30m or 2d"


def app(**annotations: Any) -> dict[str, Any]:
    """A Deployment with these settings; `_` stands for `-`."""
    named = {f"stagedoor.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"kind": "Deployment", "metadata": {"name": "app01", "annotations": named}, "spec": {}}


def read(**annotations: Any) -> AppSettings:
    result = read_settings(app(**annotations))
    assert isinstance(result, AppSettings), result
    return result


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("container", "web", {"container": "web"}),
        ("image", "localhost:5000/a/b:7", {"image": "localhost:5000/a/b:7"}),
        ("packages-image", "tools", {"packages_image": "tools"}),
        (
            "resources",
            '{"limits": {"memory": "1.5Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "0.5"}}',
            {
                "resources": {
                    "limits": {"memory": "1.5Gi", "nvidia.com/gpu": "1"},
                    "requests": {"cpu": "0.5"},
                }
            },
        ),
        ("idle-stop", "1h30m", {"idle_stop_s": 5400}),
        ("idle-stop", " 90s ", {"idle_stop_s": 90}),
        ("idle-delete", "7d", {"idle_delete_s": 604800}),
        ("tmux-grace", "0s", {"tmux_grace_s": 0}),
        ("grace", "1m", {"grace_s": 60}),
        ("devices", "keep", {"devices": frozenset({"keep"})}),
        ("warm", "true", {"warm": True}),
        ("warm", "false", {"warm": False}),
        ("command", "/entry.sh 'a b' $HOME", {"command": ("/entry.sh", "a b", "$HOME")}),
        ("command", '["/a b", ""]', {"command": ("/a b", "")}),
        ("directory", "/srv/app", {"directory": "/srv/app"}),
        ("login-name", "_app", {"login_name": "_app"}),
        ("user", "1000", {"user": 1000, "group": None}),
        ("user", "1000:0", {"user": 1000, "group": 0}),
        ("env-add", "A=1\n\n B=x=y \nC=", {"env_add": {"A": "1", "B": "x=y ", "C": ""}}),
        ("env-add", '{"A": "two\\nlines"}', {"env_add": {"A": "two\nlines"}}),
        (
            "env-drop",
            "A, B secret/c\nconfigmap/d.e",
            {"env_drop": ("A", "B", "secret/c", "configmap/d.e")},
        ),
        (
            "env-drop",
            f"secret/{'a' * 64}.b",  # a Secret's name is a DNS subdomain, whose labels have no limit
            {"env_drop": (f"secret/{'a' * 64}.b",)},
        ),
        ("volumes", "rwo", {"volumes": frozenset({"rwo"})}),
        ("privileges", "service-account", {"privileges": frozenset({"service-account"})}),
        ("init-containers", "none", {"init_containers": ()}),
        ("init-containers", "all", {"init_containers": ("*",)}),
        ("sidecars", "a, b", {"sidecars": ("a", "b")}),
        (
            "host-aliases",
            "10.0.0.5 db.internal db;fd00::1 six",
            {"host_aliases": (("10.0.0.5", ("db.internal", "db")), ("fd00::1", ("six",)))},
        ),
    ],
)
def test_what_is_right_is_taken(name: str, text: str, expected: dict[str, Any]) -> None:
    assert read(**{name: text}) == replace(DEFAULT_SETTINGS, **expected)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "container",
            "Web",
            '"Web" is not a container\'s name; allowed: a-z, 0-9 and - inside, 63',
        ),
        (
            "image",
            "a b",
            '"a b" is not an image; allowed: REPOSITORY:TAG or REPOSITORY@sha256:DIGEST',
        ),
        ("image", "a@sha256:123", '"a@sha256:123" is not an image'),
        ("packages-image", "", '"" is not an image'),
        (
            "resources",
            "1Gi",
            '"1Gi" is not JSON; allowed: JSON such as {"requests": {"cpu": "100m"}',
        ),
        ("resources", '{"claims": {}}', "is not made of requests and limits"),
        ("resources", "{}", "is not made of requests and limits"),
        ("resources", '{"limits": []}', "limits is not an object"),
        (
            "resources",
            '{"limits": {"memory": "1 GB"}}',
            '"1 GB" for memory in limits is not a quantity',
        ),
        ("resources", '{"limits": {"memory": NaN}}', "is not JSON"),
        ("resources", '{"limits": {"cpu": 1}}', '"1" for cpu in limits is not a quantity'),
        ("resources", '{"limits": {"cpu": "-1"}}', '"-1" for cpu in limits is not a quantity'),
        ("resources", '{"limits": {"Memory": "1"}}', '"Memory" in limits is not a resource'),
        (
            "resources",
            '{"limits": {"cpu": "500m"}, "requests": {"cpu": "1"}}',
            'the request of "1" for cpu is above the limit of "500m"',
        ),
        ("idle-stop", "5", f'"5" is not a duration; allowed: 1m to 30d, {DURATIONS}'),
        ("idle-stop", "5s", f'"5s" is out of range; allowed: 1m to 30d, {DURATIONS}'),
        ("idle-stop", "forever", '"forever" is not a duration'),
        ("idle-delete", "366d", '"366d" is out of range; allowed: 1m to 365d'),
        ("grace", "0s", '"0s" is out of range; allowed: 1s to 1d'),
        ("warm", "yes", '"yes" is neither "true" nor "false"'),
        ("command", "'open", "has an open quote"),
        ("command", "", '"" names no program'),
        ("command", '["a", 1]', "contains a non-string"),
        ("command", '["a\\u0000"]', "contains a NUL"),
        ("directory", "srv", '"srv" is not a directory; allowed: an absolute path'),
        ("directory", "/a\nSTAGEDOOR_APP=x", '"/a\\nSTAGEDOOR_APP=x" is not a directory'),
        ("login-name", "root:x", '"root:x" is not a login name'),
        ("user", "0", '"0" is not a user; allowed: UID or UID:GID in digits, from 1 to 2147483647'),
        ("user", "app", '"app" is not a user'),
        ("user", "4294967295", '"4294967295" is not a user'),
        ("env-add", "", "it names no variable; allowed: lines NAME=VALUE"),
        ("env-add", "A", "line 1 has no ="),
        ("env-add", "1A=x", '"1A" is not a variable\'s name'),
        ("env-add", "A=1\nA=2", "it names a variable twice"),
        ("env-add", '{"A": 1}', 'the value of "A" is not a string'),
        ("env-add", '{"A": "\\ud800"}', "the value of A contains a NUL or an unpaired surrogate"),
        ("env-drop", "A=1", '"A=1" is not a variable'),
        ("env-drop", " , ", "it is empty; remove the annotation, or name something"),
        ("volumes", "rwx", '"rwx" is unknown; allowed: rwo'),
        (
            "privileges",
            "root",
            '"root" is unknown; allowed: service-account, capabilities, host-path',
        ),
        ("privileges", "host-path", '"host-path" is not permitted here'),
        ("privileges", "capabilities", '"capabilities" is not permitted here'),
        ("init-containers", "a,B", '"B" is not a container\'s name; allowed: none, all, or names'),
        ("host-aliases", "db 10.0.0.5", '"db" is not an IP address'),
        ("host-aliases", "10.0.0.5", "10.0.0.5 has no name"),
        ("host-aliases", "fe80::1%eth0 a", "names an interface"),
        ("host-aliases", "10.0.0.5 a_b", '"a_b" is not a host\'s name'),
        ("idel-stop", "5m", "there is no such setting; did you mean stagedoor.dev/idle-stop?"),
        ("xyz", "5m", "there is no such setting; known are: container, image,"),
        ("warm", True, "the value is not a string; put it in quotes"),
    ],
)
def test_what_is_wrong_is_told(name: str, text: Any, problem: str) -> None:
    result = read_settings(app(**{name: text}))
    assert isinstance(result, WrongSettings)
    assert len(result.problems) == 1
    head = f"annotation stagedoor.dev/{name} of Deployment app01: "
    assert result.problems[0].startswith(head)
    assert problem in result.problems[0].removeprefix(head)


def test_one_wrong_value_takes_back_all_the_others_and_all_are_told() -> None:
    defaults = AppSettings(idle_stop_s=120)
    result = read_settings(app(idle_stop="1h", grace="x", warm="y"), defaults)
    assert isinstance(result, WrongSettings)
    assert [problem.split(":")[0] for problem in result.problems] == [
        "annotation stagedoor.dev/grace of Deployment app01",
        "annotation stagedoor.dev/warm of Deployment app01",
    ]
    assert result.instead == defaults


def test_what_an_app_does_not_say_the_installation_does() -> None:
    defaults = AppSettings(idle_stop_s=120, grace_s=5)
    result = read_settings(app(grace="1m"), defaults)
    assert result == AppSettings(idle_stop_s=120, grace_s=60)


def test_other_annotations_and_none_at_all_are_fine() -> None:
    other = {"metadata": {"name": "a", "annotations": {"example.com/idle-stop": "x"}}}
    assert read_settings(other) == DEFAULT_SETTINGS
    assert read_settings({"metadata": {"name": "a", "annotations": None}}) == DEFAULT_SETTINGS


def test_a_value_of_a_variable_is_never_repeated() -> None:
    for text in ("A=hunter2\nB", '{"A": "hunter2", "B": 1}', '{"A": "hunter2"', "1=hunter2"):
        result = read_settings(app(env_add=text))
        assert isinstance(result, WrongSettings)
        assert "hunter2" not in result.problems[0]


@pytest.mark.parametrize(
    ("labels", "offered"),
    [
        (None, False),
        ({}, False),
        ({"stagedoor.dev/shell": "true"}, True),
        ({"stagedoor.dev/shell": "false"}, False),
        ({"stagedoor.dev/shell": "True"}, False),
        ({"stagedoor.dev/shell": ""}, False),
    ],
)
def test_an_app_offers_a_shell_by_its_label(labels: Any, offered: bool) -> None:
    assert is_offered({"metadata": {"labels": labels}}) is offered


def test_the_label_as_an_annotation_is_a_mistake_that_is_reported() -> None:
    assert not is_offered({"metadata": {"annotations": {"stagedoor.dev/shell": "true"}}})
    result = read_settings(app(shell="true"))
    assert isinstance(result, WrongSettings)
    assert "annotation stagedoor.dev/shell of " in result.problems[0]


def test_every_setting_has_its_annotation() -> None:
    filled = [name for _, names in _SETTINGS.values() for name in names]
    # No annotation permits: that is for the installation.
    assert sorted([*filled, "permitted"]) == sorted(field.name for field in fields(AppSettings))
    assert len(NAMES) == len(_SETTINGS)


@given(st.sampled_from(sorted(_SETTINGS)), st.text())
def test_any_text_gives_settings_or_a_problem(name: str, text: str) -> None:
    result = read_settings(app(**{name: text}))
    if isinstance(result, AppSettings):
        assert result == read_settings(app(**{name: text}))
        return
    assert len(result.problems) == 1
    assert len(result.problems[0]) < 700
    assert result.problems[0].isprintable()


JSON = st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


@given(
    st.dictionaries(
        st.text().map("stagedoor.dev/{}".format) | st.sampled_from(NAMES) | st.text(),
        JSON,
        max_size=4,
    )
)
def test_any_annotations_give_settings_or_problems(annotations: dict[str, Any]) -> None:
    metadata = {"name": "a", "annotations": annotations}
    result = read_settings({"kind": "Deployment", "metadata": metadata})
    assert isinstance(result, AppSettings | WrongSettings)


def test_settings_cannot_be_changed_behind_our_back() -> None:
    result = read(resources='{"limits": {"cpu": "1"}}', env_add="A=1")
    assert isinstance(result.env_add, MappingProxyType)
    assert result.resources is not None
    assert isinstance(result.resources["limits"], MappingProxyType)
