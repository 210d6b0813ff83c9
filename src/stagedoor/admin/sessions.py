"""Sessions and the audit: listing, closing and reading them."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError, RefusedError, StoreError
from stagedoor.store import sessions as rows
from stagedoor.store.journal import Filter, JournalEntry, find_start_of_last, read_entries
from stagedoor.store.liveness.instances import close_lost, find_instances_folder
from stagedoor.store.sessions import SessionRecord

__all__ = ["SessionRecord"]  # listeners import no store

Row = TypeVar("Row")

MIN_PREFIX = 6
"""An id may be shortened to this many characters if it stays unique."""


def require_only(matches: Sequence[Row], prefix: str, what: str) -> Row:
    """Return the only one of `matches`, whose ids begin with `prefix`. Raises NotFoundError, RefusedError."""
    if len(prefix) < MIN_PREFIX:
        raise RefusedError(f"{prefix!r} is too short for a {what}'s id: {MIN_PREFIX} characters")
    if not matches:
        raise NotFoundError.of(f"{what} {prefix}", f"{what} list")
    if len(matches) > 1:
        raise RefusedError(f"more than one {what} begins with {prefix}; write more of the id")
    return matches[0]


def find_session(
    service: AdminService, prefix: str, targets: Sequence[str] | None = None
) -> SessionRecord:
    """Return the session with this id or with the only id that begins with `prefix`.

    With `targets`, sessions of others do not count. Raises NotFoundError, RefusedError, StoreError.
    """
    matches = rows.find_sessions(service.database, prefix, targets=targets, limit=2)
    return require_only(matches, prefix, "session")


def request_close(service: AdminService, session_ids: Sequence[str], reason: str) -> int:
    """Ask the workers to close sessions. Return how many were open and not yet being closed. Audited.

    Every worker sees the request within a second. Sessions of workers that died are closed at once.
    """
    with suppress(StoreError):  # on a full disk, where the request itself still works
        close_orphaned_sessions(service)
    with service.change("session.close", revokes=True) as change:
        count = rows.request_close(
            change.transaction, session_ids, at=service.clock(), reason=reason
        )
        change.unchanged = True
        change.fields |= {"sessions": " ".join(session_ids), "reason": reason}
    return count


def close_orphaned_sessions(service: AdminService) -> list[str]:
    """Write to the audit the ends of sessions whose workers died. Return the sessions' ids."""
    return close_lost(
        service.database,
        find_instances_folder(service.data_dir),
        now=service.clock(),
        instance=service.instance,
    )


async def wait_closed(
    service: AdminService, session_ids: Sequence[str], timeout_s: float
) -> list[str]:
    """Wait until these sessions are closed. Return the ids of those still open after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        still = await asyncio.to_thread(rows.list_open_among, service.database, session_ids)
        if not still or time.monotonic() >= deadline:
            return still
        await asyncio.sleep(0.1)


def list_entries(service: AdminService, wanted: Filter) -> Iterator[JournalEntry]:
    """Yield the audit's entries in the order of writing."""
    after = 0
    while page := read_entries(service.database, wanted, after=after):
        yield from page
        after = page[-1].seq


def read_events(
    service: AdminService, wanted: Filter, after: int, limit: int, *, last: int | None = None
) -> list[JournalEntry]:
    """Return up to `limit` entries of the audit after the number `after`. Raises StoreError.

    With `last`, only those among so many of the newest.
    """
    if last is not None:
        after = max(after, find_start_of_last(service.database, wanted, last))
    return read_entries(service.database, wanted, after=after, limit=limit)
