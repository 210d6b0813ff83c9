"""Logins, as the flow hands them to the ledger."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

from stagedoor.audit.ledger import AuditLedger
from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import AccessMethod, OpenedSession, ReadyShell, StoredSession
from stagedoor.model.shell import Shell
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import JournalEntry, StoreJournal, read_entries

TARGET = Target("app01")
READY = ReadyShell(
    Grant(Identity("alice", frozenset(), Method.TOKEN, "t1"), TARGET, 7, 900.0),
    Shell(TARGET, "127.0.0.1", 2222),
)
SOURCE = Source(ip_address("10.0.0.1"), 40000)


class Disk:
    """A real journal in a real store, whose failures are the test's to choose.

    `before` runs in the writer's thread before each append, `after` once it is committed; either
    may block or raise. `batches` are the events of each append that was committed.
    """

    def __init__(self, place: StoreLocation) -> None:
        self.database: Database = open_database(place)
        self._journal = StoreJournal(self.database)
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.batches: list[list[Event]] = []

    def append(self, events: list[Event]) -> None:
        self.before()
        self._journal.append(events)
        self.batches.append(list(events))
        self.after()

    def find_session(self, session: str) -> StoredSession | None:
        self.before()
        return self._journal.find_session(session)

    def entries(self) -> list[JournalEntry]:
        return read_entries(self.database, limit=100_000)

    def events(self, kind: EventKind) -> list[Event]:
        return [e.event for e in self.entries() if e.event.kind is kind]

    def fail(self) -> None:
        self.before = full

    def recover(self) -> None:
        self.before = lambda: None


def full() -> None:
    raise StoreError("the store /x: disk full; free space on that file system")


async def enter(ledger: AuditLedger) -> OpenedSession:
    opened = await ledger.open(READY, AccessMethod.CONNECT, SOURCE)
    assert isinstance(opened, OpenedSession), opened
    return opened


async def flushed(ledger: AuditLedger) -> None:
    assert await asyncio.to_thread(ledger.flush, 20)
