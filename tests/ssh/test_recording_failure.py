"""A terminal goes on, or ends, when its recording fails."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.event import EventKind
from stagedoor.model.permission import Permission
from stagedoor.model.session import EndReason, OpenedSession
from stagedoor.recording.channel_audit import RecordingPlan
from stagedoor.recording.folder import RecordingFile, RecordingFolder
from stagedoor.recording.recorder import Recorder, RecordingEnded
from tests.shells.host import ShellHost
from tests.ssh.direct_gateway import BOUND_S, Client, Policy, direct_gateway
from tests.waiting import wait_until

TO = "app01@gw"


class Disk:
    """A folder of recordings whose disk fills up, or blocks, when a test says so."""

    def __init__(self, folder: Path) -> None:
        self._inner = RecordingFolder(folder)
        self.full = False
        self.moves = threading.Event()
        self.moves.set()

    def create(self, name: str) -> "Disk":
        self._file: RecordingFile = self._inner.create(name)
        return self

    def append(self, piece: bytes) -> None:
        assert self.moves.wait(BOUND_S)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.append(piece)

    def close(self) -> None:
        self._file.close()


class Scene:
    """A recorder that writes to `disk`, and the ends of its recordings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk(folder / "recordings")
        self.overs: list[RecordingEnded] = []
        self.recorder = Recorder(self.disk, None, self._over, sync_s=0.05, queue_bytes=200_000)
        self.recorder.start()

    def _over(self, opened: OpenedSession, over: RecordingEnded) -> None:
        self.overs.append(over)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.disk.moves.set()
    one.recorder.stop(BOUND_S)


def plan(scene: Scene, *, continues_unrecorded: bool) -> RecordingPlan:
    return RecordingPlan(scene.recorder, continues_unrecorded=continues_unrecorded)


def recorded() -> Policy:
    return Policy(permissions=frozenset({Permission.RECORD}))


def test_a_disk_that_fills_up_ends_the_session_and_says_why(scene: Scene) -> None:
    host = ShellHost(scene.folder / "host")
    with direct_gateway(host, recorded(), plan=plan(scene, continues_unrecorded=False)) as gateway:
        # The disk is full once the session has begun, and only then more is shown.
        mark = scene.folder / "mark"
        command = f"echo begun; {until_full(mark)}; echo more; sleep 60; echo never"
        ended = threading.Thread(target=lambda: fill(scene, mark))
        ended.start()
        done = Client.of(gateway).ssh("-tt", TO, command)
        ended.join()
        assert done.returncode == 255
        said = done.stdout + done.stderr
        assert b"cannot be recorded any more (No space left on device)" in said
        assert b"never" not in said
        _, over = gateway.seen.wait(lambda: gateway.seen.ended and gateway.seen.ended[0])
        assert over.end is EndReason.UNRECORDED
        wait_until(lambda: scene.overs, what="the end of the recording")
        assert [ending.why for ending in scene.overs] == ["No space left on device"]


def fill(scene: Scene, mark: Path) -> None:
    """Fill the disk from the moment on that `mark` is there; then take `mark` away."""
    wait_until(mark.exists)
    scene.disk.full = True
    mark.unlink()


def until_full(mark: Path) -> str:
    """Return the shell's commands for its part in that."""
    return f"touch {mark}; while [ -e {mark} ]; do sleep 0.05; done"


def test_where_the_settings_say_so_it_goes_on_unrecorded(scene: Scene) -> None:
    host = ShellHost(scene.folder / "host")
    with direct_gateway(host, recorded(), plan=plan(scene, continues_unrecorded=True)) as gateway:
        mark = scene.folder / "mark"
        filling = threading.Thread(target=lambda: fill(scene, mark))
        filling.start()
        command = f"{until_full(mark)}; head -c 3M /dev/zero | tr '\\0' x; exit 4"
        done = Client.of(gateway).ssh("-tt", TO, command)
        filling.join()
        assert done.returncode == 4
        assert done.stdout.count(b"x") == 3 * 1024 * 1024
        wait_until(lambda: scene.overs, what="the end of the recording")
        assert [ending.why for ending in scene.overs] == ["No space left on device"]


def test_a_disk_that_stands_still_holds_the_terminal_back_until_it_moves(scene: Scene) -> None:
    host = ShellHost(scene.folder / "host")
    with direct_gateway(host, recorded(), plan=plan(scene, continues_unrecorded=False)) as gateway:
        client = Client.of(gateway)
        results = []

        def work() -> None:
            command = "head -c 20M /dev/zero | tr '\\0' y; exit 3"
            results.append(client.ssh("-tt", TO, command))

        working = threading.Thread(target=work)
        working.start()
        gateway.seen.of(EventKind.CHANNEL_OPENED)
        scene.disk.moves.clear()
        working.join(1.0)
        scene.disk.moves.set()
        working.join(BOUND_S)
        (done,) = results
        assert done.returncode == 3
        assert done.stdout.count(b"y") == 20 * 1024 * 1024
        (file,) = (scene.folder / "recordings").iterdir()
        gateway.seen.wait(lambda: gateway.seen.ended)
        assert scene.recorder.stop(BOUND_S) == 0
        assert file.read_bytes().count(b"y") >= 20 * 1024 * 1024, "held back, and nothing lost"
