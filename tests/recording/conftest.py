import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import AccessMethod, OpenedSession, ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.asciicast_file import Seal
from stagedoor.recording.folder import RecordingFolder
from stagedoor.recording.recorder import Recorder, RecordingEnded
from stagedoor.wire.terminal.asciicast import AsciicastHeader
from tests.pace import allow

BOUND_S = allow(20.0)
"""How long a test waits for what must come."""
APP01 = Target("app01")
DEV = Identity("dev", frozenset(), Method.PUBLIC_KEY)
OPENED = OpenedSession(
    "0" * 26,
    1000.0,
    AccessMethod.DIRECT,
    Source(ip_address("127.0.0.1"), 40000),
    ReadyShell(Grant(DEV, APP01, 7, None), Shell(APP01, "127.0.0.1", 2222)),
)
HEADER = AsciicastHeader(80, 24, 1000)


@dataclass
class Overs:
    """The recordings that have ended, as the recorder said."""

    all: list[RecordingEnded] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, opened: OpenedSession, over: RecordingEnded) -> None:
        with self._changed:
            self.all.append(over)
            self._changed.notify_all()

    def wait(self, count: int = 1) -> list[RecordingEnded]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all) >= count, BOUND_S), self.all
            return list(self.all)


@pytest.fixture
def overs() -> Overs:
    return Overs()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def recorder_with(folder: Path, overs: Overs) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders that are stopped at the end of the test."""
    made: list[Recorder] = []

    def make(
        shelf: RecordingFolder | None = None, seal: Seal | None = None, **more: Any
    ) -> Recorder:
        recorder = Recorder(shelf or RecordingFolder(folder), seal, overs, **more)
        recorder.start()
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.stop(BOUND_S)
