"""The interface that the audit needs: a place where events are durable."""

from collections.abc import Sequence
from typing import Protocol

from stagedoor.model.event import Event


class Journal(Protocol):
    """An append-only record, and the sessions that it knows."""

    def find_session(self, session: str) -> tuple[str, str, str, float, int, int] | None:
        """Return a session's identity, target, access method, opening time and bytes, or None.

        Blocks. Raises StoreError.
        """
        ...

    def append(self, events: Sequence[Event]) -> None:
        """Write all or none; when this returns they survive a power cut. Blocks.

        A session opens once and closes once: a second `session.opened` or `session.closed`, and a
        `session.closed` of a session that never opened, or that another process has taken over, are
        void. So after an error, which leaves open whether the events were written, they may be written
        again.

        Raises StoreError (disk full, locked, gone) with one line that names the cause.
        """
        ...
