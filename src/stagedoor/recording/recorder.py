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
from stagedoor.model.session import STOPPING, OpenedSession
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


OnOver = Callable[[OpenedSession, RecordingEnded], None]
"""A function that is called once for each recording that began or should have begun, in any thread."""


class Recording:
    """The recording of one terminal, from `Recorder.begin`. An instance belongs to one event loop.

    The session uses its methods and `name`. The other attributes and `notify` belong to the recorder.
    """

    def __init__(
        self,
        recorder: "Recorder",
        opened: OpenedSession,
        name: str,
        header: AsciicastHeader,
        on_room: Callable[[], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._recorder = recorder
        self._loop = asyncio.get_running_loop()
        self.opened = opened
        self.name = name
        self.header = header
        self.file = AsciicastFile(name)
        self.began = time.monotonic()
        self.answer: asyncio.Future[None] = self._loop.create_future()
        self.on_room = on_room
        self.on_failure = on_failure
        # Under the recorder's lock.
        self.waiting: list[tuple[float, Code, bytes]] = []
        self.waiting_bytes = 0
        self.due_at: float | None = None
        self.is_held_back = False
        self.is_ending = False
        self.is_given_up = False

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

    def notify(self, call: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop, from the recorder's thread."""
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(call, *arguments)


class Recorder:
    """Writes every recording of this process. `seal` is None if they are not encrypted.

    `on_over` must not block. `retention` removes old recordings while this runs; None keeps all.
    """

    def __init__(
        self,
        folder: RecordingFolder,
        seal: Seal | None,
        on_over: OnOver,
        *,
        sync_s: float = SYNC_S,
        queue_bytes: int = QUEUE_BYTES,
        retention: FolderRetention | None = None,
    ) -> None:
        self._retention = retention
        self._folder = folder
        self._seal = seal
        self._on_over = on_over
        self._sync_s = sync_s
        self._queue_bytes = queue_bytes
        self._lock = threading.Condition(threading.Lock())
        self._begins: deque[Recording] = deque()
        self._recordings: dict[Recording, None] = {}
        """Those that have not ended, in the order in which they are served."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __len__(self) -> int:
        """Return the number of terminals that are recorded now."""
        return len(self._recordings)

    def start(self) -> None:
        """Start the thread. Call this after a fork, and before the first `begin`."""
        self._thread.start()
        if self._retention is not None:
            self._retention.start()

    async def begin(
        self,
        opened: OpenedSession,
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
        name = f"{opened.id}.{number}{suffix}"
        recording = Recording(self, opened, name, header, on_room, on_failure)
        with self._lock:
            if self._stopping:
                raise RecordingError(STOPPING)
            self._begins.append(recording)
            self._recordings[recording] = None
            self._lock.notify_all()
        try:
            async with asyncio.timeout(timeout_s):
                await recording.answer
        except TimeoutError:
            why = f"the disk did not answer within {timeout_s:g} s"
            recording.is_given_up = True
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
            if recording not in self._recordings or recording.is_ending or not data:
                return True
            now = time.monotonic()
            recording.waiting.append((now - recording.began, code, data))
            recording.waiting_bytes += len(data)
            if recording.due_at is None:
                recording.due_at = now + self._sync_s
                self._lock.notify_all()
            elif recording.waiting_bytes >= PIECE_BYTES > recording.waiting_bytes - len(data):
                self._lock.notify_all()
            recording.is_held_back = recording.waiting_bytes >= self._queue_bytes
            return not recording.is_held_back

    def end(self, recording: Recording) -> None:
        """End `recording` after its last output is written."""
        with self._lock:
            recording.is_ending = True
            self._lock.notify_all()

    def stop(self, timeout_s: float) -> int:
        """End all recordings and the thread. Return the number that could not be ended. Blocks."""
        if self._retention is not None:
            self._retention.stop()
        with self._lock:
            self._stopping = True
            for recording in self._recordings:
                recording.is_ending = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)  # a broken disk may block it for ever
        return len(self._recordings)

    # The rest runs in the thread.

    def _run(self) -> None:
        while (recording := self._next()) is not None:
            try:
                self._advance(recording)
            except Exception as error:  # a fault in one recording must not end the others
                self._fail(recording, error)

    def _next(self) -> Recording | None:
        """Wait for a recording with something to do, and return it; None at the end."""
        with self._lock:
            while True:
                if self._begins:
                    return self._begins.popleft()
                now = time.monotonic()
                wait_s: float | None = None
                for recording in self._recordings:
                    if not recording.file.is_created:
                        continue  # it waits in `_begins`
                    if recording.is_ending or recording.waiting_bytes >= PIECE_BYTES:
                        return recording
                    if recording.due_at is not None:
                        left_s = recording.due_at - now
                        if left_s <= 0:
                            return recording
                        wait_s = left_s if wait_s is None else min(wait_s, left_s)
                if self._stopping and not self._recordings:
                    return None
                self._lock.wait(wait_s)

    def _advance(self, recording: Recording) -> None:
        if not recording.file.is_created:
            recording.file.create(self._folder, self._seal, recording.header)
            recording.notify(_settle, recording.answer, None)
            return
        with self._lock:
            events, recording.waiting = recording.waiting, []
            recording.waiting_bytes = 0
            recording.due_at = None
            last = recording.is_ending
            # It goes to the end of the queue, so that the others are served too.
            del self._recordings[recording]
            self._recordings[recording] = None
        recording.file.append(events, last=last)
        with self._lock:
            has_room = recording.is_held_back and recording.waiting_bytes < self._queue_bytes
            recording.is_held_back = recording.is_held_back and not has_room
            if last:
                del self._recordings[recording]
        if has_room:
            recording.notify(recording.on_room)
        if last:
            self._report_over(recording, None)

    def _fail(self, recording: Recording, error: Exception) -> None:
        why = f"{error.strerror or error}" if isinstance(error, OSError) else str(error)
        with self._lock:
            self._recordings.pop(recording, None)
            held_back, recording.is_held_back = recording.is_held_back, False
            recording.waiting.clear()
        if recording.file.has_header:
            if held_back:
                recording.notify(recording.on_room)
            recording.notify(recording.on_failure, why)
        else:
            recording.notify(_settle, recording.answer, RecordingError(why))
        self._report_over(recording, why)

    def _report_over(self, recording: Recording, why: str | None) -> None:
        name, sha256 = recording.name, recording.file.finish()
        over = RecordingEnded(name, recording.file.size, sha256, why)
        if not recording.is_given_up:
            with suppress(Exception):  # a listener that fails must not end the recorder
                self._on_over(recording.opened, over)


def _settle(answer: asyncio.Future[None], error: RecordingError | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
