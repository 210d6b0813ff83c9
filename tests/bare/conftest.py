"""The Debian packages of `script/release`, built once."""

import platform
import subprocess
from pathlib import Path

import pytest

from release.deb import MACHINES, RELEASES
from tests.docs import pages


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages for this machine's architecture."""
    out = tmp_path_factory.mktemp("packages") / "out"
    [here] = [name for name, machine in MACHINES.items() if machine == platform.machine()]
    chosen = ("--dirty", "--only", "deb", "--only", "kit", "--arch", here, "--out", out)
    subprocess.run([pages.ROOT / "script/release", *chosen], check=True)
    assert len(list(out.glob("*.deb"))) == len(RELEASES) + 1
    return out
