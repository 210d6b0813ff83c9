"""When users last opened a session, for lists of many users."""

from collections.abc import Mapping
from threading import Lock

from stagedoor.audit.opening import make_first_id
from stagedoor.store.database import Database
from stagedoor.store.sessions import read_last_opened

LATE_S = 300.0
"""How late a session's row may be: another gateway's clock is behind, or its store was out of reach."""


class SessionCache:
    """The time of each user's last session. Any thread may use it.

    A history of 500,000 sessions takes a quarter of a second to read, and an index of it would cost each
    login a page of the store's log. So the first read takes them all, and later ones only those since then.
    The audit's index, which some pages read, follows later, and exists only beside the WebShell.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._times: Mapping[str, float] = {}

    def read(self) -> Mapping[str, float]:
        """Return the times in seconds since the epoch, by the user's name. Raises StoreError."""
        with self._lock:
            newest = max(self._times.values(), default=None)
            after = "" if newest is None else make_first_id(newest - LATE_S)
            self._times = {**self._times, **read_last_opened(self._database, after)}
            return self._times
