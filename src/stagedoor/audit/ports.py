"""The interface that the audit needs: a place where events are durable."""

from collections.abc import Sequence
from typing import Protocol

from stagedoor.model.event import Event


class Journal(Protocol):
    """An append-only record."""

    def append(self, events: Sequence[Event]) -> None:
        """Write all or none; when this returns they survive a power cut. Blocks.

        A session opens once and closes once: a second `session.opened` or `session.closed`, and a
        `session.closed` of a session that never opened, are void. So after an error, which
        leaves open whether the events were written, they may be written again.

        Raises StoreError (disk full, locked, gone) with one line that names the cause.
        """
        ...
