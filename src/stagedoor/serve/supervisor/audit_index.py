"""The thread that keeps the audit's index up to date, in one gateway on each machine.

No login waits for it.
"""

import threading
import time
from contextlib import closing, suppress

from stagedoor.model.errors import StagedoorError
from stagedoor.serve.supervisor.sink_writer import OnProblem
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import read_entries, read_first_seq, read_last_seq
from stagedoor.store.sqlite.audit_index import MAX_EVENTS, AuditIndex

POLL_S = 1.0
BATCH_EVENTS = 500
SHARE = 4
"""The thread pauses for this many times as long as it has worked, so that it takes at most a fifth of a
core."""
RETRY_S = 10.0
CHECK_EVERY_S = 3600.0
"""The interval of checks for removed events."""
STOP_S = 3.0


class AuditIndexer:
    """Copies the audit's events into the index, if there are pages that search it."""

    def __init__(self, on_problem: OnProblem) -> None:
        """Create it, stopped. `on_problem` is called in the thread."""
        self._on_problem = on_problem
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def apply_settings(self, settings: Settings) -> None:
        """Stop, and run with `settings` from now on. Blocks for at most `STOP_S`."""
        self.stop()
        if not (settings.web.addresses or settings.web.tls_addresses):
            return
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(settings, self._stopping), name="audit-index", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop. Blocks for at most `STOP_S`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            self._thread = None

    def _main(self, settings: Settings, stopping: threading.Event) -> None:
        wait_s = 0.0
        while not stopping.wait(wait_s):
            problem = None
            try:
                self._run(settings, stopping)
            except StagedoorError as error:
                problem = str(error)
            except Exception as error:  # a bug must not stop the search for good
                problem = f"{type(error).__name__}: {error}"
            self._on_problem("audit index", problem)
            wait_s = RETRY_S

    def _run(self, settings: Settings, stopping: threading.Event) -> None:
        """Add events until the end. Raises StagedoorError."""
        with closing(open_database(settings.store_location, create=False)) as database:
            index = AuditIndex.open_to_write(settings.data_dir)
            try:
                check_at = time.monotonic()
                while not stopping.is_set():
                    if time.monotonic() >= check_at:
                        _resynchronise(database, index)
                        self._on_problem("audit index", None)
                        check_at += CHECK_EVERY_S
                    began = time.monotonic()
                    entries = read_entries(database, after=index.last, limit=BATCH_EVENTS)
                    index.add(entries)
                    is_done = len(entries) < BATCH_EVENTS
                    stopping.wait(POLL_S if is_done else (time.monotonic() - began) * SHARE)
            finally:
                with suppress(StagedoorError):
                    index.close_file()


def _resynchronise(database: Database, index: AuditIndex) -> None:
    """Start again if the store was restored, and forget events that the audit has removed.

    Raises StoreError.
    """
    with database.read() as transaction:
        first, last = read_first_seq(transaction), read_last_seq(transaction)
    oldest = max(0, first - 1, last - MAX_EVENTS)
    if index.last > last or index.last < oldest:
        index.restart_after(oldest)
    index.drop_before(first)
