"""The page of the annotations, held to the code that reads them."""

import re
from copy import deepcopy
from typing import Any

import yaml

from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.shells.kubernetes.derive.annotations import (
    DEFAULT_SETTINGS,
    NAMES,
    AppSettings,
    WrongSettings,
    is_offered,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.kit import OWN_PATHS, Kit
from stagedoor.shells.kubernetes.derive.shell import derive
from stagedoor.shells.kubernetes.duration import show_duration
from stagedoor.shells.kubernetes.names import MAX_APP_CHARS
from tests.docs.pages import ROOT, blocks, prose, text

PAGE = ROOT / "docs" / "reference" / "annotations.md"
ROW = re.compile(r"^\| `(stagedoor\.dev/[a-z-]+)` \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


def page_blocks(language: str) -> list[str]:
    return [block.text for block in blocks(language) if block.page == PAGE]


def test_every_annotation_has_its_row_and_there_is_no_other() -> None:
    assert [name for name, _, _ in ROW.findall(text(PAGE))] == list(NAMES)


def test_the_times_are_those_of_the_code() -> None:
    rows = {name.removeprefix("stagedoor.dev/"): row for name, *row in ROW.findall(text(PAGE))}
    for name, default, least, most in (
        ("idle-stop", DEFAULT_SETTINGS.idle_stop_s, MINUTE_S, 30 * DAY_S),
        ("idle-delete", DEFAULT_SETTINGS.idle_delete_s, MINUTE_S, 365 * DAY_S),
        ("tmux-grace", DEFAULT_SETTINGS.tmux_grace_s, 0, 30 * DAY_S),
        ("grace", DEFAULT_SETTINGS.grace_s, 1, DAY_S),
    ):
        allowed = f"`{show_duration(least)}` to `{show_duration(most)}`"
        assert rows[name] == [allowed, f"`{show_duration(default)}`"], name
        wrong = read_settings(annotated({name: "x"}))
        assert isinstance(wrong, WrongSettings)
        assert allowed.replace("`", "") in wrong.problems[0]


def test_the_example_is_taken() -> None:
    [example] = page_blocks("yaml")
    app = yaml.safe_load(example)
    assert is_offered(app)
    found = read_settings(app)
    assert isinstance(found, AppSettings)
    assert found.idle_stop_s == HOUR_S
    assert found.env_add == {"LOG_LEVEL": "debug", "PAGER": "less"}
    assert found.env_drop == ("STRIPE_KEY", "secret/payments")


def test_the_messages_are_those_that_are_given() -> None:
    [messages] = page_blocks("text")
    given = []
    for annotations in ({"idle-stop": "1 hour"}, {"idel-stop": "1h"}):
        found = read_settings(annotated(annotations))
        assert isinstance(found, WrongSettings)
        given += found.problems
    app = annotated({"sidecars": "proxy"})
    containers = [{"name": "web", "image": "a:1"}, {"name": "metrics", "image": "a:1"}]
    app["spec"] = {
        "selector": {"matchLabels": {"app": "app01"}},
        "template": {"spec": {"containers": containers}},
    }
    chosen = read_settings(app)
    assert isinstance(chosen, AppSettings)
    wrong = derive(deepcopy(app), chosen, Kit("kit:1"), digests={}, claims={})
    assert isinstance(wrong, WrongSettings)
    assert messages.splitlines() == [*given, *wrong.problems]


def test_names_and_places_are_those_of_the_code() -> None:
    assert f"at most {MAX_APP_CHARS} characters" in prose(PAGE)
    for path in OWN_PATHS:
        assert f"`{path}`" in prose(PAGE)


def annotated(annotations: dict[str, str]) -> dict[str, Any]:
    named = {f"stagedoor.dev/{name}": value for name, value in annotations.items()}
    return {"kind": "Deployment", "metadata": {"name": "app01", "annotations": named}}
