"""Fuzz target: an annotation of an app: the name of a setting, a line end, its value."""

from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings, read_settings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.objects import format_shell_settings
from stagedoor.shells.kubernetes.derive.shell import Derived, derive

MAX_BYTES = 4096
_CONTAINERS = [{"name": "web", "image": "a.example/b:1"}, {"name": "side", "image": "c:2"}]


def check(received: bytes) -> None:
    """Check that an annotation is settings or one line of error, and its shell no more than the app."""
    name, _, value = received.decode("utf-8", "replace").partition("\n")
    app = {
        "kind": "Deployment",
        "metadata": {
            "name": "app01",
            "namespace": "apps",
            "uid": "u",
            "annotations": {f"stagedoor.dev/{name}": value},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "app01"}},
            "template": {"spec": {"containers": _CONTAINERS}},
        },
    }
    found = read_settings(app)
    if isinstance(found, AppSettings):
        assert read_settings(app) == found
        made = derive(app, found, Kit("kit:1"), digests={}, claims={})
        if isinstance(made, Derived):
            check_shell(made, found)
            return
        found = made
    assert isinstance(found, WrongSettings)
    assert found.problems
    for problem in found.problems:
        assert problem.isprintable()
        assert len(problem) < 700


def check_shell(made: Derived, settings: AppSettings) -> None:
    pod = made.deployment["spec"]["template"]["spec"]
    shell = next(each for each in pod["containers"] if each["name"] == "shell")
    assert shell["command"][-1] == "/kit/bin/start"
    assert shell["securityContext"].get("runAsUser") != 0
    assert "privileged" not in shell["securityContext"]
    for entry in shell.get("env", ()):
        assert "\0" not in entry["value"]
        entry["value"].encode()
    names = [entry["name"] for entry in shell.get("env", ())]
    assert len(names) == len(set(names))
    for line in format_shell_settings(settings).splitlines():
        assert line.startswith("STAGEDOOR_")
        assert line.isprintable()
