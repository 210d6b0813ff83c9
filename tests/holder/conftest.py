"""A folder for terminals, and the end of all that was started in it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.terminal import Place
from tests.holder.compiled import compiled


@pytest.fixture(scope="session")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit's holder."""
    return compiled(tmp_path_factory.mktemp("hold"))


@pytest.fixture(params=["python", "kit"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place for each of the two holders, which have to do the same."""
    folder = tmp_path / "t"
    folder.mkdir(mode=0o700)
    holder = (sys.executable, "-m", "stagedoor.holder")
    if request.param == "kit":
        holder = (str(request.getfixturevalue("hold")),)
    terminal_place = Place(folder, holder)
    yield terminal_place
    kill_programs_of(folder)
    assert terminal_place.faults() == ""


def kill_programs_of(folder: Path) -> None:
    """Kill whatever was started with this folder for terminals in its environment."""
    mark = f"STAGEDOOR_TERMINALS={folder}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
