"""The recorder: what it writes, when, and what it does when it cannot."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedoor.recording.folder import RecordingFolder
from stagedoor.recording.recorder import Recorder, Recording, RecordingError
from stagedoor.wire.terminal.asciicast import AsciicastEvent, AsciicastReader
from tests.recording.conftest import BOUND_S, HEADER, OPENED, Overs
from tests.waiting import until

Make = Callable[..., Recorder]


class Callbacks:
    """The callbacks of a session, which keep what the recorder reports."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.failed = asyncio.Event()
        self.why = ""

    def on_failure(self, why: str) -> None:
        self.why = why
        self.failed.set()

    async def begin(self, recorder: Recorder, number: int = 1) -> Recording:
        return await recorder.begin(
            OPENED, number, HEADER, on_room=self.room.set, on_failure=self.on_failure
        )


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(BOUND_S):
        await event.wait()


def events(path: Path) -> list[AsciicastEvent]:
    return list(AsciicastReader([path.read_bytes()]).read_events())


class Disk:
    """A shelf whose tapes fail or wait when a test wants it so."""

    def __init__(self, folder: Path) -> None:
        self._inner = RecordingFolder(folder)
        self.error: OSError | None = None
        self.create_error: OSError | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.pieces: list[bytes] = []

    def create(self, name: str) -> "Disk":
        assert self.go_on.wait(BOUND_S)
        if self.create_error:
            raise self.create_error
        self._tape = self._inner.create(name)
        return self

    def append(self, piece: bytes) -> None:
        assert self.go_on.wait(BOUND_S)
        if self.error:
            raise self.error
        self._tape.append(piece)
        self.pieces.append(piece)

    def close(self) -> None:
        self._tape.close()


async def test_a_recording_is_there_with_its_header_before_anything_is_shown(
    recorder_with: Make, folder: Path
) -> None:
    recording = await Callbacks().begin(recorder_with())
    path = folder / recording.name
    assert AsciicastReader([path.read_bytes()]).header == HEADER
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_what_was_shown_is_on_the_disk_while_the_terminal_is_open(
    recorder_with: Make, folder: Path
) -> None:
    disk = Disk(folder)
    recording = await Callbacks().begin(recorder_with(disk, sync_s=0.01))
    assert recording.record_output("hällo ".encode())
    await until(lambda: len(disk.pieces) >= 2)
    assert [event.data for event in events(folder / recording.name)] == ["hällo "]


async def test_output_resizes_and_the_end_are_in_order_and_characters_whole(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    recording = await Callbacks().begin(recorder_with())
    snowman = "☃".encode()
    recording.record_output(b"a" + snowman[:1])
    recording.resize(132, 43)
    recording.record_output(snowman[1:])
    recording.record_output(b"\xff\xe2")
    recording.mark("exit 0")
    recording.end()
    (over,) = overs.wait()
    lines = events(folder / recording.name)
    assert [(event.code, event.data) for event in lines] == [
        ("o", "a"),
        ("r", "132x43"),
        ("o", "☃"),
        ("o", "\ufffd"),
        ("m", "exit 0"),
        ("o", "\ufffd"),
    ]
    assert [event.at for event in lines] == sorted(event.at for event in lines)
    content = (folder / recording.name).read_bytes()
    assert (over.why, over.size) == (None, len(content))
    assert over.sha256 == hashlib.sha256(content).hexdigest()


async def test_what_comes_after_the_end_is_nowhere(recorder_with: Make, overs: Overs) -> None:
    recording = await Callbacks().begin(recorder_with())
    recording.end()
    recording.end()
    overs.wait()
    assert recording.record_output(b"x" * 10_000_000), "nobody is held back by what is over"
    assert len(overs.all) == 1


async def test_a_slow_disk_holds_the_terminal_back_and_memory_stays_bounded(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    disk, callbacks = Disk(folder), Callbacks()
    recording = await callbacks.begin(recorder_with(disk, queue_bytes=100_000))
    disk.go_on.clear()
    taken = 0
    while recording.record_output(b"y" * 10_000):
        taken += 10_000
        assert taken < 1_000_000, "it would take all memory"
    assert not callbacks.room.is_set()
    disk.go_on.set()
    await soon(callbacks.room)
    assert recording.record_output(b"z")
    recording.end()
    overs.wait()
    shown = "".join(event.data for event in events(folder / recording.name))
    assert shown == "y" * (taken + 10_000) + "z", "held back, and nothing lost"


async def test_a_full_disk_is_told_once_and_leaves_what_was_written_readable(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    disk, callbacks = Disk(folder), Callbacks()
    recording = await callbacks.begin(recorder_with(disk, sync_s=0.01))
    disk.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    recording.record_output(b"lost")
    await soon(callbacks.failed)
    assert callbacks.why == "No space left on device"
    assert recording.record_output(b"more"), "a terminal may go on if the settings say so"
    recording.end()
    (over,) = overs.wait()
    assert over.why == "No space left on device"
    assert events(folder / recording.name) == []


async def test_a_terminal_that_waits_for_a_disk_that_fails_is_let_go(
    recorder_with: Make, folder: Path
) -> None:
    disk, callbacks = Disk(folder), Callbacks()
    recording = await callbacks.begin(recorder_with(disk, queue_bytes=10))
    disk.go_on.clear()
    assert not recording.record_output(b"y" * 100)
    disk.error = OSError(errno.EIO, "Input/output error")
    disk.go_on.set()
    await soon(callbacks.failed)
    await soon(callbacks.room)


async def test_one_recording_that_fails_does_not_end_the_others(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    first, second = Callbacks(), Callbacks()
    recorder = recorder_with(sync_s=0.01)
    one, two = await first.begin(recorder, 1), await second.begin(recorder, 2)
    with pytest.raises(RecordingError, match="exists"):
        await Callbacks().begin(recorder, 1)
    one.record_output(b"1")
    two.record_output(b"2")
    one.end()
    two.end()
    names = {over.name: over.why for over in overs.wait(3)}
    assert names[two.name] is None
    assert [event.data for event in events(folder / two.name)] == ["2"]


async def test_a_recording_that_cannot_begin_says_why_and_is_told_to_the_audit(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    disk, callbacks = Disk(folder), Callbacks()
    disk.create_error = OSError(errno.EROFS, os.strerror(errno.EROFS))
    with pytest.raises(RecordingError, match="Read-only"):
        await callbacks.begin(recorder_with(disk))
    assert [over.why for over in overs.wait()] == ["Read-only file system"]
    assert not callbacks.failed.is_set(), "the one who asked has been told"


async def test_a_disk_that_does_not_answer_refuses_in_time(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    disk = Disk(folder)
    disk.go_on.clear()
    recorder = recorder_with(disk)
    callbacks = Callbacks()
    with pytest.raises(RecordingError, match=r"within 0\.05 s"):
        await recorder.begin(
            OPENED,
            1,
            HEADER,
            on_room=callbacks.room.set,
            on_failure=callbacks.on_failure,
            timeout_s=0.05,
        )
    disk.go_on.set()
    assert recorder.stop(BOUND_S) == 0
    assert len(overs.all) == 1, "told once, however it went on"


async def test_stopping_writes_what_is_there(
    recorder_with: Make, folder: Path, overs: Overs
) -> None:
    recorder = recorder_with(sync_s=1000)
    recording = await Callbacks().begin(recorder)
    recording.record_output(b"last words")
    assert recorder.stop(BOUND_S) == 0
    assert [event.data for event in events(folder / recording.name)] == ["last words"]
    with pytest.raises(RecordingError, match="stopping"):
        await Callbacks().begin(recorder, 2)


def test_half_a_piece_is_never_left_on_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the end of a disk: write(2) is cut short, then fails."""
    import resource
    import signal

    tape = RecordingFolder(tmp_path / "r").create("x.1.cast")
    tape.append(b"first\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            tape.append(b"y" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    tape.append(b"second\n")
    tape.close()
    assert (tmp_path / "r" / "x.1.cast").read_bytes() == b"first\nsecond\n"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "x.1.cast").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        RecordingFolder(tmp_path / "r").create("x.1.cast")
    assert not (tmp_path / "elsewhere").exists()
