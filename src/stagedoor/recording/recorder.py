"""The recorder, whose thread writes the recordings of all terminals of this process.

The event loop never waits for the disk. Output stays in memory for `SYNC_S` at most; then the thread writes
and syncs it as one piece. If the disk cannot keep up, `record_output` returns False, and the caller holds the
terminal back.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from stagedoor.model.errors import StagedoorError
from stagedoor.model.session import Opened
from stagedoor.model.units import KIB, MIB
from stagedoor.recording.asciicast_file import AsciicastFile, Seal
from stagedoor.recording.folder import SUFFIX, RecordingFolder
from stagedoor.recording.retention import FolderRetention
from stagedoor.wire.terminal.asciicast import AsciicastHeader, Code

SYNC_S = 1.0
"""The longest time that output is in memory only. A power cut or a kill loses it."""
PIECE_BYTES = 256 * KIB
"""The output of one terminal that is written without waiting for `SYNC_S`."""
QUEUE_BYTES = MIB
"""The output of one terminal in memory at which the terminal is held back."""
BEGIN_TIMEOUT_S = 5.0
"""The longest time that a login waits for its recording to begin."""


class RecordingError(StagedoorError):
    """A recording could not begin or continue. The message is the cause."""


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """The end of a recording. `why` is one line if it failed.

    `size` is that of the file in bytes, and `sha256` its hash in hexadecimal digits. The audit keeps it, so a
    later change of the file can be detected.
    """

    name: str
    size: int
    sha256: str
    why: str | None = None


OnOver = Callable[[Opened, RecordingEnded], None]
"""A function that is called once for each recording that began or should have begun, in any thread."""


class Recording:
    """The recording of one terminal, from `Recorder.begin`. An instance belongs to one event loop."""

    def __init__(
        self,
        recorder: "Recorder",
        opened: Opened,
        name: str,
        on_room: Callable[[], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self.opened = opened
        self.name = name
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self._on_room = on_room
        self._on_failure = on_failure

    def record_output(self, data: bytes) -> bool:
        """Record output of the terminal. Return False if the caller must hold it back until `on_room`."""
        return self._recorder.put(self, Code.OUTPUT, data)

    def record_input(self, data: bytes) -> bool:
        """Record input, which includes passwords. Return as `record_output` does."""
        return self._recorder.put(self, Code.INPUT, data)

    def resize(self, columns: int, rows: int) -> None:
        """Record a new window size, in characters."""
        self._recorder.put(self, Code.RESIZE, f"{columns}x{rows}".encode())

    def mark(self, text: str) -> None:
        """Record a marker, such as how the channel ended."""
        self._recorder.put(self, Code.MARKER, text.encode("utf-8", "replace"))

    def end(self) -> None:
        """End the recording after its last output is written. Later calls do nothing."""
        self._recorder.end(self)

    def notify_room(self) -> None:
        """Call `on_room` in the event loop."""
        self._notify(self._on_room)

    def notify_failure(self, why: str) -> None:
        """Call `on_failure` in the event loop."""
        self._notify(self._on_failure, why)

    def _notify(self, call: Callable[..., None], *arguments: str) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(call, *arguments)


class _Work:
    """The recorder's state of one recording."""

    def __init__(self, recording: Recording, header: AsciicastHeader, began: float) -> None:
        self.recording = recording
        self.began = began
        self.header = header
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Under the lock.
        self.waiting: list[tuple[float, Code, bytes]] = []
        self.waiting_bytes = 0
        self.due_at: float | None = None
        self.held_back = False
        self.ending = False
        self.given_up = False
        self.file = AsciicastFile(recording.name)


class Recorder:
    """Writes every recording of this process. `seal` is None if they are not encrypted.

    `on_over` must not block. `keeper` removes old recordings while this runs; None keeps them.
    """

    def __init__(
        self,
        store: RecordingFolder,
        seal: Seal | None,
        on_over: OnOver,
        *,
        sync_s: float = SYNC_S,
        queue_bytes: int = QUEUE_BYTES,
        keeper: FolderRetention | None = None,
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._seal = seal
        self._on_over = on_over
        self._sync_s = sync_s
        self._queue_bytes = queue_bytes
        self._lock = threading.Condition(threading.Lock())
        self._begins: deque[_Work] = deque()
        self._works: dict[Recording, _Work] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __len__(self) -> int:
        """Return the number of terminals that are recorded now."""
        return len(self._works)

    def start(self) -> None:
        """Start the thread. Call this after a fork, and before the first `begin`."""
        self._thread.start()
        if self._keeper is not None:
            self._keeper.start()

    async def begin(
        self,
        opened: Opened,
        number: int,
        header: AsciicastHeader,
        *,
        on_room: Callable[[], None],
        on_failure: Callable[[str], None],
        timeout_s: float = BEGIN_TIMEOUT_S,
    ) -> Recording:
        """Create the file with its header, and return the recording. `number` is that of the channel.

        `on_room` is called when a terminal that was held back may continue. `on_failure` is called with one
        line when nothing more is recorded. Both are called in this event loop.

        Raises RecordingError if the disk is full or gone, or does not answer within `timeout_s`.
        """
        suffix = SUFFIX + (self._seal.suffix if self._seal else "")
        recording = Recording(self, opened, f"{opened.id}.{number}{suffix}", on_room, on_failure)
        work = _Work(recording, header, time.monotonic())
        with self._lock:
            if self._stopping:
                raise RecordingError("the gateway is stopping")
            self._begins.append(work)
            self._works[recording] = work
            self._lock.notify_all()
        try:
            async with asyncio.timeout(timeout_s):
                await work.answer
        except TimeoutError:
            why = f"the disk did not answer within {timeout_s:g} s"
            work.given_up = True
            self.end(recording)
            self._on_over(opened, RecordingEnded(recording.name, 0, "", why))
            raise RecordingError(why) from None
        except asyncio.CancelledError:
            self.end(recording)
            raise
        return recording

    def put(self, recording: Recording, code: Code, data: bytes) -> bool:
        """Queue an event for `recording`. Return whether there is room for more."""
        with self._lock:
            work = self._works.get(recording)
            if work is None or work.ending or not data:
                return True
            now = time.monotonic()
            work.waiting.append((now - work.began, code, data))
            work.waiting_bytes += len(data)
            if work.due_at is None:
                work.due_at = now + self._sync_s
                self._lock.notify_all()
            elif work.waiting_bytes >= PIECE_BYTES > work.waiting_bytes - len(data):
                self._lock.notify_all()
            work.held_back = work.waiting_bytes >= self._queue_bytes
            return not work.held_back

    def end(self, recording: Recording) -> None:
        """End `recording` after its last output is written."""
        with self._lock:
            work = self._works.get(recording)
            if work is not None:
                work.ending = True
                self._lock.notify_all()

    def stop(self, timeout_s: float) -> int:
        """End all recordings and the thread. Return the number that could not be ended. Blocks."""
        if self._keeper is not None:
            self._keeper.stop()
        with self._lock:
            self._stopping = True
            for work in self._works.values():
                work.ending = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)  # a dead disk may block it for ever
        return len(self._works)

    # The rest runs in the thread.

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._advance(work)
            except Exception as error:  # a fault in one recording must not end the others
                self._fail(work, error)

    def _next(self) -> _Work | None:
        """Wait for a recording with something to do, and return it; None at the end."""
        with self._lock:
            while True:
                if self._begins:
                    return self._begins.popleft()
                now = time.monotonic()
                wait_s: float | None = None
                for work in self._works.values():
                    if not work.file.is_created:
                        continue  # it waits in `_begins`
                    if work.ending or work.waiting_bytes >= PIECE_BYTES:
                        return work
                    if work.due_at is not None:
                        left_s = work.due_at - now
                        if left_s <= 0:
                            return work
                        wait_s = left_s if wait_s is None else min(wait_s, left_s)
                if self._stopping and not self._works:
                    return None
                self._lock.wait(wait_s)

    def _advance(self, work: _Work) -> None:
        if not work.file.is_created:
            work.file.create(self._store, self._seal, work.header)
            self._answer(work, None)
            return
        with self._lock:
            events, work.waiting = work.waiting, []
            work.waiting_bytes = 0
            work.due_at = None
            last = work.ending
            # It goes to the end of the queue, so that the others are served too.
            del self._works[work.recording]
            self._works[work.recording] = work
        work.file.append(events, last=last)
        with self._lock:
            has_room = work.held_back and work.waiting_bytes < self._queue_bytes
            work.held_back = work.held_back and not has_room
            if last:
                del self._works[work.recording]
        if has_room:
            work.recording.notify_room()
        if last:
            self._report_over(work, None)

    def _fail(self, work: _Work, error: Exception) -> None:
        why = f"{error.strerror or error}" if isinstance(error, OSError) else str(error)
        with self._lock:
            self._works.pop(work.recording, None)
            held_back, work.held_back = work.held_back, False
            work.waiting.clear()
        if work.file.has_header:
            if held_back:
                work.recording.notify_room()
            work.recording.notify_failure(why)
        else:
            self._answer(work, RecordingError(why))
        self._report_over(work, why)

    def _report_over(self, work: _Work, why: str | None) -> None:
        name, sha256 = work.recording.name, work.file.finish()
        over = RecordingEnded(name, work.file.size, sha256, why)
        if not work.given_up:
            with suppress(Exception):  # a listener that fails must not end the recorder
                self._on_over(work.recording.opened, over)

    def _answer(self, work: _Work, error: RecordingError | None) -> None:
        def deliver() -> None:
            if not work.answer.done():
                if error is None:
                    work.answer.set_result(None)
                else:
                    work.answer.set_exception(error)

        with suppress(RuntimeError):  # the loop was closed
            work.answer.get_loop().call_soon_threadsafe(deliver)
