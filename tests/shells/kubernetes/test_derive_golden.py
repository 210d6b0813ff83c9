"""Whole shells, as they were read and found good.

After a change that is meant, `STAGEDOOR_GOLDEN=write pytest tests/shells/kubernetes/test_derive_golden.py`
writes them again; read the difference then.
"""

import os
from typing import Any

import pytest
import yaml

from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.shell import Derived, derive
from tests.shells.kubernetes.samples import CLAIMS, DIGESTS, HERE, KIT, app, settings

CASES: dict[str, tuple[str, Kit, dict[str, str]]] = {
    "plain": ("plain", KIT, {}),
    "rich": ("rich", KIT, DIGESTS),
    "asked": ("asked", KIT, DIGESTS),
    "stateful": ("stateful", KIT, {}),
    "restricted": ("restricted", KIT, {}),
    "init": ("restricted", Kit(KIT.image, KitSource.INIT), {}),
    "image-volume": ("plain", Kit(KIT.image, KitSource.IMAGE_VOLUME), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_shell_is_what_it_was(case: str) -> None:
    name, kit, digests = CASES[case]
    given = app(name)
    derivation = derive(given, settings(given), kit, digests=digests, claims=CLAIMS)
    assert isinstance(derivation, Derived)
    shown = {
        "deployment": derivation.deployment,
        "service": derivation.service,
        "container": derivation.container,
        "image": derivation.image,
        "notes": [f"{note.kind}: {note}" for note in derivation.notes],
    }
    path = HERE / "golden" / f"{case}.yaml"
    if os.environ.get("STAGEDOOR_GOLDEN") == "write":
        path.write_text(yaml.dump(shown, Dumper=_Dumper, sort_keys=False, width=100))
    assert yaml.safe_load(path.read_text()) == shown
    assert given == app(name), "the app itself was changed"


class _Dumper(yaml.SafeDumper):
    """Without anchors: a page for people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
