"""Apps for the tests: each of `apps/` as the API would give it."""

from pathlib import Path
from typing import Any

import yaml

from stagedoor.shells.kubernetes.derive.annotations import PRIVILEGES, AppSettings, read_settings
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive

HERE = Path(__file__).parent
KIT = Kit("registry.example/kit:1")
CLAIMS = {
    "shared": ("ReadWriteMany",),
    "disk": ("ReadWriteOnce",),
    "solo": ("ReadWriteOncePod",),
    "raw": ("ReadWriteOnce", "ReadOnlyMany"),
}
DIGEST = "sha256:" + "0123456789abcdef" * 4
DIGESTS = {"web": f"registry.example/shop@{DIGEST}"}


def app(name: str) -> dict[str, Any]:
    """A copy of its own of `apps/NAME.yaml`."""
    document = yaml.safe_load((HERE / "apps" / f"{name}.yaml").read_text())
    assert isinstance(document, dict)
    return document


def settings(of: dict[str, Any]) -> AppSettings:
    result = read_settings(of, AppSettings(permitted=frozenset(PRIVILEGES)))
    assert isinstance(result, AppSettings), result
    return result


def derived(of: dict[str, Any], kit: Kit = KIT, **digests: str) -> Derived:
    derivation = derive(of, settings(of), kit, digests=digests, claims=CLAIMS)
    assert isinstance(derivation, Derived), derivation
    return derivation


def container(shell: Derived, name: str = "shell") -> dict[str, Any]:
    """The container of that name, init containers included."""
    pod = shell.deployment["spec"]["template"]["spec"]
    every = [*pod.get("initContainers", ()), *pod["containers"]]
    return next(listed_container for listed_container in every if listed_container["name"] == name)
