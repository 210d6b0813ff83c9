"""The kit, built once; people; containers that are taken away after each test."""

import hashlib
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import trees
from tests.cluster.turn import turn
from tests.kit import container as containers
from tests.kit import roots
from tests.kit.container import Container
from tests.kit.people import People

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "deploy/kit"
COMMANDS = ROOT / "src/stagedoor/shells/local/bin"
"""The commands that a shell on this machine and one in a pod both have."""


@pytest.fixture(scope="session")
def kit() -> Path:
    """The folder that a pod has at /kit."""
    reason = containers.missing()
    if reason is not None:
        pytest.skip(reason)
    return built_kit()


def built_kit(*options: str, compiler: str = "gcc") -> Path:
    """Return the kit's folder, which is built once on a machine."""
    digest = hashlib.sha256(" ".join(options).encode())
    for file in sorted([*SOURCE.rglob("*"), *COMMANDS.iterdir()]):
        if file.is_file():
            digest.update(file.read_bytes())
    for tool in (compiler, "patchelf"):  # another makes other bytes of the same
        digest.update(subprocess.run([tool, "--version"], capture_output=True).stdout)
    kept = trees.folder() / f"kit-tree-{digest.hexdigest()[:12]}"
    with turn(trees.folder()):
        if not (kept / "built").exists():
            # What the archive no longer has is taken as it is now: these tests are of us, not of Debian.
            command = [SOURCE / "build", "--newer", "--tree-only", "--out", kept, *options]
            environment = {**os.environ, "CC": compiler}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr
            (kept / "built").touch()
    return kept / "kit"


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    return People(tmp_path_factory.mktemp("people"))


Make = Callable[..., Container]


@pytest.fixture
def make(kit: Path, people: People, tmp_path: Path) -> Iterator[Make]:
    """`make("busybox", uid=…)`: a container, not yet started."""
    made: list[Container] = []
    numbers = itertools.count()

    def one(image: str = "busybox", **how: Any) -> Container:
        folder = tmp_path / f"container-{next(numbers)}"
        made.append(Container(roots.root(image), kit, people, folder, **how))
        return made[-1]

    yield one
    for container in made:
        container.close()
