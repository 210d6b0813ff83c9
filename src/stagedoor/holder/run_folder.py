"""The folder of one run: its log, its status and the way for its input. The holder writes, the gateway reads.

    status.json                the state, atomically replaced; the holder has a flock on `life` while it lives
    life
    input                      a FIFO with the frames of `run_input`
    00000000000000000000.log   a segment of the output, from that offset on
    00000000000000000000.idx   the stream and the time of its bytes, by their offsets

A segment ends at SEGMENT_BYTES, and the oldest is removed when there are more than SEGMENTS. A reader has its
own descriptor, so it does not slow the writer down. Another process may remove all segments but the last.
"""

import fcntl
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path

SEGMENT_BYTES = 1024 * 1024
SEGMENTS = 64
"""The log has at most 64 MiB."""
STEP_S = 0.1
"""Output of one stream within this time shares a mark in the index."""
MAX_INDEX_BYTES = 256 * 1024
"""All indexes together have room for a mark every STEP_S of a day, the longest that a run may take."""
_MARK = struct.Struct(">QQ")
"""An offset, and milliseconds since the epoch, whose last bit is 1 for standard error."""
_SUFFIXES = (".log", ".idx")
_STATUS_BYTES = 4096
MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run, as its holder writes it.

    `state` is `running` or how the task ended, then with its exit code `code`. `size` is the number of bytes
    of output, written at the end. `pid` is the holder's.
    """

    state: str
    pid: int
    code: int | None = None
    ended_at: float | None = None
    detail: str = ""
    size: int = 0


def parse_status(text: bytes) -> RunStatus:
    """Parse the content of `status.json`. Raises ValueError."""
    fields = json.loads(text)
    try:
        status = RunStatus(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from None
    numbers = (status.pid, status.size, *(() if status.code is None else (status.code,)))
    texts = (status.state, status.detail)
    is_time = status.ended_at is None or isinstance(status.ended_at, int | float)
    if not (is_time and all(isinstance(text, str) for text in texts)):
        raise ValueError("the status of a run has a wrong type")
    if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
        raise ValueError("the status of a run has a wrong number")
    return status


class RunFolder:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.input = folder / "input"
        self.errors = folder / "holder.log"
        self._status = folder / "status.json"
        self._life = folder / "life"

    def read_status(self) -> RunStatus | None:
        """Return what the holder has written last, or None if nothing yet. Raises OSError, ValueError."""
        try:
            text = self._status.read_bytes()[:_STATUS_BYTES]
        except FileNotFoundError:
            return None
        return parse_status(text)

    def write_status(self, status: RunStatus) -> None:
        """Replace the status. Raises OSError."""
        draft = self._status.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(status)), encoding="ascii")
        draft.chmod(0o600)
        draft.rename(self._status)

    def show_life(self) -> int:
        """Return the descriptor that is this process's sign of life, and must stay open. Raises OSError."""
        fd = os.open(self._life, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def is_alive(self) -> bool:
        """Return whether the holder lives. However it ends, the kernel releases its lock."""
        try:
            fd = os.open(self._life, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def list_segments(self) -> list[int]:
        """Return the offsets at which the log's segments begin, in order. Raises OSError."""
        return sorted(int(path.stem) for path in self.folder.glob("*.log") if path.stem.isdigit())

    def measure(self) -> tuple[int, int]:
        """Return the offsets of the first kept byte and after the last one. Raises OSError."""
        starts = self.list_segments()
        if not starts:
            return 0, 0
        return starts[0], starts[-1] + self.find_segment(starts[-1], ".log").stat().st_size

    def measure_files(self) -> int:
        """Return how many bytes the log and its indexes have on the disk. Raises OSError."""
        size = 0
        for suffix in _SUFFIXES:
            for path in self.folder.glob(f"*{suffix}"):
                with suppress(FileNotFoundError):  # another process has just removed it
                    size += path.stat().st_size
        return size

    def remove_segments(self, starts: Iterable[int]) -> None:
        """Remove the segments that begin at `starts`. Raises OSError."""
        for start in starts:
            for suffix in _SUFFIXES:
                self.find_segment(start, suffix).unlink(missing_ok=True)

    def find_segment(self, start: int, suffix: str) -> Path:
        """Return the path of a file of the segment that begins at `start`."""
        return self.folder / f"{start:020}{suffix}"


class LogWriter:
    """The log that a holder writes. If the disk fails, the log has a gap, but the task continues."""

    def __init__(self, folder: RunFolder, size: int = 0) -> None:
        """Create a writer that continues after `size` bytes."""
        self._folder = folder
        self.size = size
        """The number of bytes of output so far, whether they were written or not."""
        self.problem = ""
        """The reason why a part of the output is missing."""
        self._files: tuple[int, int] | None = None
        self._start = 0
        self._last: LogMark | None = None
        self._marks = 0

    def append(self, data: bytes, *, is_error: bool, at: float) -> None:
        """Write output that came `at` seconds since the epoch."""
        try:
            log, index = self._open()
            self._mark(index, is_error, at)
            view = memoryview(data)
            while view:
                view = view[os.write(log, view) :]
        except OSError as error:
            self.problem = f"a part of the output could not be written: {error.strerror}"
            self.close_files()
        self.size += len(data)

    def skip(self, size: int, problem: str) -> None:
        """Leave a gap up to byte `size`: what was there is lost, which is the `problem`."""
        self.close_files()
        self.size, self.problem = size, problem

    def _open(self) -> tuple[int, int]:
        if self._files is not None and (
            self.size - self._start >= SEGMENT_BYTES or self._marks * _MARK.size >= MAX_INDEX_BYTES
        ):
            self.close_files()
        if self._files is None:
            self._remove_oldest()
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            index = os.open(self._folder.find_segment(self.size, ".idx"), flags, 0o600)
            try:
                # The index first, since a reader that sees a byte must be able to see where it comes from.
                log = os.open(self._folder.find_segment(self.size, ".log"), flags, 0o600)
            except OSError:
                os.close(index)
                raise
            self._files = log, index
            self._start, self._marks, self._last = self.size, 0, None
        return self._files

    def _mark(self, index: int, is_error: bool, at: float) -> None:
        """Note the stream and the time of what follows, if either has changed."""
        last = self._last
        if last and last.is_error == is_error and abs(at - last.at) < STEP_S:
            return
        self._last = LogMark(self.size, is_error, at)
        os.write(index, _MARK.pack(self.size, int(at * 1000) << 1 | is_error))
        self._marks += 1

    def close_files(self) -> None:
        """Close the segment that is being written. The next output begins another one."""
        if self._files is not None:
            for fd in self._files:
                os.close(fd)
            self._files = None

    def _remove_oldest(self) -> None:
        starts = self._folder.list_segments()
        self._folder.remove_segments(starts[: max(len(starts) - SEGMENTS + 1, 0)])


@dataclass(frozen=True, slots=True)
class LogMark:
    """The offset from which on output is from one stream and one time (seconds since the epoch)."""

    start: int
    is_error: bool
    at: float


@dataclass(frozen=True, slots=True)
class LogBuffer:
    """Bytes of the log with one mark. `start` is the offset of the first of them."""

    start: int
    data: bytes
    is_error: bool
    at: float


def read_log(folder: RunFolder, start: int, most: int) -> list[LogBuffer]:
    """Return at most `most` bytes of the log from `start` on, or from the first kept byte after it.

    The result is empty if there is no more at the moment. Raises OSError.
    """
    starts = folder.list_segments()
    for at, first in enumerate(starts):
        is_last = at + 1 == len(starts)
        if not is_last and starts[at + 1] <= start:
            continue
        pieces = _read_segment(folder, first, max(start, first), most)
        if pieces or is_last:
            return pieces
    return []


def _read_segment(folder: RunFolder, first: int, start: int, most: int) -> list[LogBuffer]:
    with suppress(FileNotFoundError):  # the holder has just removed the oldest segment
        log = os.open(folder.find_segment(first, ".log"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(log, most, start - first)
        finally:
            os.close(log)
        if not data:
            return []
        index = os.open(folder.find_segment(first, ".idx"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            count = os.fstat(index).st_size // _MARK.size
            marks = _find_marks(lambda number: _read_mark(index, number), count, start, len(data))
            return list(split_by_marks(start, data, marks))
        finally:
            os.close(index)
    return []


def _read_mark(index: int, number: int) -> LogMark:
    start, time_and_stream = _MARK.unpack(os.pread(index, _MARK.size, number * _MARK.size))
    return LogMark(start, bool(time_and_stream & 1), (time_and_stream >> 1) / 1000)


def _find_marks(
    read: Callable[[int], LogMark], count: int, start: int, size: int
) -> Sequence[LogMark]:
    """Return the marks of the `size` bytes from `start` on. `read` returns a mark by its number."""
    after = bisect_right(range(count), start, key=lambda number: read(number).start)
    numbers = range(max(after - 1, 0), count)
    return list(takewhile(lambda mark: mark.start < start + size, map(read, numbers)))


def split_by_marks(start: int, data: bytes, marks: Sequence[LogMark]) -> Iterator[LogBuffer]:
    """Yield `data`, which begins at `start`, in pieces with one mark each. Pure.

    The first mark is that of the first byte. Without marks, which may be lost in a power cut, there are no
    pieces.
    """
    ends = [*(mark.start for mark in marks[1:]), start + len(data)]
    for mark, end in zip(marks, ends, strict=False):
        first = max(mark.start, start)
        yield LogBuffer(first, data[first - start : end - start], mark.is_error, mark.at)
