"""An app that names a thing twice has a shell all the same, with what the kubelet would give the app."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.shells.kubernetes.samples import app, container, derived

NAMES = st.sampled_from(["A", "B", "C"])
PIECES = st.sampled_from(["$(A)", "$(B)", "$(C)", "$(NOBODY)", "$$(A)", "$$", "x", "/bin"])
ENTRIES = st.lists(
    st.fixed_dictionaries({"name": NAMES, "value": st.lists(PIECES, max_size=4).map("".join)}),
    max_size=6,
)
KEYS = {
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
"""The lists of a pod that have keys for server-side apply, but for ports, which a shell has of its own."""


def kubelets(env: list[dict[str, str]]) -> dict[str, str]:
    """Return the variables that a container gets: pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables."""
    values: dict[str, str] = {}

    def value(reference: re.Match[str]) -> str:
        if reference[1] is None:
            return "$"
        return values.get(reference[1], reference[0])

    for entry in env:
        values[entry["name"]] = re.sub(r"\$(?:\$|\(([^)]*)\))", value, entry["value"])
    return values


def doubled(of: Any, path: str = "") -> list[str]:
    """Return the paths of lists that have two of one key."""
    if isinstance(of, dict):
        return [repeat for name, value in of.items() for repeat in doubled(value, f"{path}.{name}")]
    if not isinstance(of, list):
        return []
    key = KEYS.get(path.rpartition(".")[2])
    keys = [entry.get(key, "") for entry in of] if key else []
    here = [path] if len(set(keys)) < len(keys) else []
    return here + [repeated for value in of for repeated in doubled(value, path)]


@given(ENTRIES)
def test_the_last_of_a_name_wins_and_every_value_is_the_kubelet_s(
    env: list[dict[str, str]],
) -> None:
    given_app = app("plain")
    given_app["spec"]["template"]["spec"]["containers"][0] |= {"env": env, "envFrom": []}
    made = container(derived(given_app)).get("env", [])
    assert kubelets(made) == kubelets(env)
    assert len({variable["name"] for variable in made}) == len(made)


@given(
    ENTRIES,
    st.lists(
        st.fixed_dictionaries(
            {"ip": st.sampled_from(["10.0.0.1", "10.0.0.2"]), "hostnames": st.lists(NAMES)}
        )
    ),
    st.lists(st.one_of(st.just({}), st.fixed_dictionaries({"name": NAMES}))),
)
def test_nothing_in_a_shell_is_named_twice(
    env: list[dict[str, str]], aliases: list[dict[str, Any]], secrets: list[dict[str, str]]
) -> None:
    given_app = app("plain")
    annotations = {"stagedoor.dev/sidecars": "all", "stagedoor.dev/host-aliases": "10.0.0.1 db"}
    given_app["metadata"].setdefault("annotations", {}).update(annotations)
    pod = given_app["spec"]["template"]["spec"]
    pod["containers"].append({"name": "proxy", "image": "proxy:1", "env": env})
    pod["containers"][0]["env"] = env
    pod |= {"hostAliases": aliases, "imagePullSecrets": secrets}
    shell = derived(given_app)
    made = shell.deployment["spec"]["template"]["spec"]
    assert doubled(made) == []
    names = {(alias["ip"], name) for alias in made["hostAliases"] for name in alias["hostnames"]}
    assert names == {("10.0.0.1", "db")} | {
        (alias["ip"], name) for alias in aliases for name in alias["hostnames"]
    }
    assert {variable["name"] for variable in made.get("imagePullSecrets", ())} == {
        held_secret["name"] for held_secret in secrets if held_secret
    }
    assert kubelets(container(shell, "proxy").get("env", [])) == kubelets(env)


def test_an_entry_that_speaks_of_an_earlier_one_that_is_no_value_is_told() -> None:
    secret = {"secretKeyRef": {"name": "db", "key": "url"}}
    given_app = app("plain")
    given_app["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "URL", "valueFrom": secret},
        {"name": "COPY", "value": "$(URL)"},
        {"name": "URL", "value": "none"},
    ]
    said = [str(note) for note in derived(given_app).notes]
    assert "variable COPY: it refers to an earlier URL, which is not a plain value" in said
    assert "variable URL: the app has it more than once; the last counts" in said
