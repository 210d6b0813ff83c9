"""A thread for each sink and hook, which sends it the events of the audit in order."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from stagedoor.admin.audit.chain import ChainReader
from stagedoor.admin.audit.sinks import LineSink
from stagedoor.model.errors import StagedoorError
from stagedoor.store.database import Database
from stagedoor.store.deliveries import read_position, set_position
from stagedoor.store.journal import read_last_seq

POLL_S = 0.3
"""Seconds after which a sink that has received every event checks for new ones."""

RETRY_S = (0.5, 10.0)
"""The first and the longest wait between two attempts to send to a sink."""

PERSIST_S = 1.0
"""Seconds between two writes of a sink's position. After a crash, events of this time are delivered again."""

OnProblem = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class SinkOpener:
    """A sink or a hook: its name, and how to open it. A file keeps its own position."""

    name: str
    open: Callable[[], LineSink]
    keeps_position: bool = False


@dataclass(frozen=True, slots=True)
class SinkState:
    """The state of a sink, for health and metrics. `backlog` counts the events that it has yet to receive."""

    name: str
    failing: bool
    backlog: int


class SinkWriter:
    """A thread that sends events to one sink."""

    def __init__(
        self,
        output: SinkOpener,
        database: Database,
        leads: threading.Event,
        stopping: threading.Event,
        on_problem: OnProblem,
    ) -> None:
        self._output = output
        self._database = database
        self._leads = leads
        self._stopping = stopping
        self._on_problem = on_problem
        self._sink: LineSink | None = None
        self._reader: ChainReader | None = None
        self._sent: int | None = None
        self._recent: deque[tuple[float, int]] = deque()
        """When the latest batches were sent (monotonic), and the sequence number before each."""
        self._persisted: int | None = None
        self._persist_at = 0.0
        self._failures = 0
        self._thread = threading.Thread(target=self._main, name=f"audit-{output.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def read_state(self) -> SinkState:
        """Return the sink's state. Raises StagedoorError."""
        sent = self._sent
        with self._database.read() as transaction:
            if sent is None:
                sent = read_position(transaction, self._output.name) or 0
            backlog = max(0, read_last_seq(transaction) - sent)
        return SinkState(self._output.name, self._is_failing, backlog)

    def _main(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            wait_s = self._deliver_or_retry()
            if is_last and wait_s > 0:
                break
            self._stopping.wait(wait_s)
        self._close()

    def _deliver_or_retry(self) -> float:
        """Deliver some lines, and return the seconds to wait before the next call."""
        if not self._leads.is_set():
            self._close()  # another gateway delivers; its position is read when this one takes over
            return POLL_S
        try:
            more = self._deliver()
        except StagedoorError as error:
            problem = str(error)
        except Exception as error:  # a bug in one batch must not end the others
            problem = f"{type(error).__name__}: {error}"
        else:
            if self._failures:
                self._failures = 0
                self._on_problem(self._part, None)
            return 0.0 if more else POLL_S
        self._failures += 1
        if self._is_failing:
            self._on_problem(self._part, problem)
        self._go_back()
        first, longest = RETRY_S
        return float(min(longest, first * 2 ** min(self._failures - 1, 10)))

    @property
    def _is_failing(self) -> bool:
        """Return whether the sink has failed twice in a row. A server may close an idle connection once."""
        return self._failures > 1

    @property
    def _part(self) -> str:
        name = self._output.name
        return name if name.startswith("hook ") else f"audit sink {name}"

    def _deliver(self) -> bool:
        """Send the next lines, and return whether there were any. Raises StagedoorError."""
        if self._sink is None:
            self._sink = self._output.open()
        if self._reader is None:
            if self._sent is None:
                with self._database.read() as transaction:
                    stored = read_position(transaction, self._output.name)
                    last = read_last_seq(transaction)
                self._sent = self._sink.resume(stored, last)
                if self._sent > last:
                    raise StagedoorError(
                        f"it has events up to seq {self._sent}, and the store ends with seq {last}: was a "
                        "backup restored? Rename the file, and another is begun"
                    )
                if stored is None:  # a hook begins here, and a restart must not skip what comes now
                    self._persist(at_once=True)
            self._reader = ChainReader(self._database, self._sent)
        lines = self._reader.read()
        if lines:
            self._sink.send(lines)
            self._recent.append((time.monotonic(), self._sent or 0))
            self._sent = lines[-1].link.seq
        else:
            self._sink.check()
        while self._recent and self._recent[0][0] < time.monotonic() - self._sink.rewind_s:
            self._recent.popleft()
        self._persist(at_once=not lines)
        return bool(lines)

    def _persist(self, *, at_once: bool) -> None:
        if self._sent is None or self._sent == self._persisted:
            return
        if at_once or time.monotonic() >= self._persist_at:
            self._persist_at = time.monotonic() + PERSIST_S
            with suppress(StagedoorError):  # a full disk: the next start delivers some events again
                set_position(self._database, self._output.name, self._sent)
                self._persisted = self._sent

    def _go_back(self) -> None:
        """Go back to the position before the batches that may be lost. A file reports its own position."""
        sent = self._recent[0][1] if self._recent else self._sent
        confirmed = 0 if self._sink is None else self._sink.confirmed
        self._close()
        if sent is not None and not self._output.keeps_position:
            self._sent = max(sent, confirmed)
            self._persist(at_once=True)

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close_output()
        self._sink = self._reader = self._sent = None
        self._recent.clear()
