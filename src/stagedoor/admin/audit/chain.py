"""The audit as chained lines: read from any place on, signed, and removed once it was delivered."""

import time
from collections.abc import Callable, Iterator

from stagedoor.admin.service import AdminService
from stagedoor.audit.chain import (
    NAMESPACE,
    Chain,
    Line,
    Link,
    checkpoint_event,
    claim_of,
    removed_event,
    statement,
)
from stagedoor.keys.files import PrivateKey, load_or_create
from stagedoor.keys.signing import sign
from stagedoor.model.event import Kind
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database, Transaction
from stagedoor.store.journal import append, last_of_kind, remove_entries, select_entries

PAGE = 200
"""Events that are in memory at once. One may have 64 KiB of command lines."""

REMOVE_AT_ONCE = 5000
"""Events that one transaction removes: meanwhile nobody is written down."""


def audit_key(settings: Settings) -> PrivateKey:
    """What signs checkpoints, made if there is none. Raises KeyFileError."""
    return load_or_create(settings.audit_key_file, "stagedoor audit")


class ChainReader:
    """Makes the lines after `after`, in order. For one thread at a time.

    It begins at the last checkpoint before that, so that no start has to read the whole audit.
    """

    def __init__(self, database: Database, after: int = 0) -> None:
        self._database = database
        self._after = after
        self._chain: Chain | None = None

    @property
    def chain(self) -> Chain:
        """How far it has come. Not before the first `read`."""
        assert self._chain is not None, "something was read"
        return self._chain

    def read(self) -> list[Line]:
        """The next lines, at most `PAGE`; none where there are no more now. Raises StoreError."""
        while True:
            with self._database.read() as transaction:
                page = self.read_in(transaction)
            if page is None:
                return []
            if wanted := [line for line in page if line.link.seq > self._after]:
                return wanted

    def read_in(self, transaction: Transaction) -> list[Line] | None:
        """The same in a transaction, lines before the first wanted one included; None at the end."""
        if self._chain is None:
            self._chain = Chain(_anchor(transaction, self._after))
        page = select_entries(transaction, after=self._chain.link.seq, limit=PAGE)
        if not page:
            return None
        if page[0].seq > self._chain.link.seq + 1:
            # Numbers are left out where a transaction was rolled back, or events were removed.
            removed = last_of_kind(transaction, Kind.AUDIT_REMOVED)
            claim = claim_of(removed.event.fields) if removed else None
            if claim is not None and self._chain.link.seq < claim.seq < page[0].seq:
                self._chain = Chain(claim)
        return [self._chain.add(entry.seq, entry.event) for entry in page]


def _anchor(transaction: Transaction, at_most: int) -> Link:
    checkpoint = last_of_kind(transaction, Kind.AUDIT_CHECKPOINT, at_most) if at_most else None
    claim = claim_of(checkpoint.event.fields) if checkpoint else None
    return claim or Link()


def export(
    service: AdminService,
    *,
    after: int = 0,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    poll_s: float = 0.3,
) -> Iterator[Line | None]:
    """The lines after a `seq`; `follow`: for ever, None each time that there was no more."""
    reader = ChainReader(service.database, after)
    while True:
        if lines := reader.read():
            yield from lines
        elif follow:
            yield None
            sleep(poll_s)
        else:
            return


class Checkpoints:
    """Signs how far the audit has come. For one thread at a time; any number of processes."""

    def __init__(self, database: Database, key: Callable[[], PrivateKey], instance: str) -> None:
        """`key` is called where something is to be signed; what it raises, `write` raises."""
        self._database = database
        self._key = key
        self._instance = instance
        self._reader: ChainReader | None = None

    def look(self) -> Chain:
        """The chain as it stands now. Raises StoreError."""
        if self._reader is None:
            with self._database.read() as transaction:
                newest = last_of_kind(transaction, Kind.AUDIT_CHECKPOINT)
            self._reader = ChainReader(self._database, newest.seq - 1 if newest else 0)
        while self._reader.read():
            pass
        return self._reader.chain

    def write(self, now: float) -> bool:
        """Write a checkpoint unless nothing has happened since the last. Raises StoreError."""
        self.look()
        assert self._reader is not None, "it looked"
        with self._database.write() as transaction:
            # The rest under the write lock, so that the checkpoint comes right after what it signs, and
            # of several processes one writes it.
            while self._reader.read_in(transaction) is not None:
                pass
            chain = self._reader.chain
            if chain.unsigned == 0:
                return False
            signature, key = sign(self._key(), statement(chain.link), NAMESPACE)
            event = checkpoint_event(chain.link, signature, key, self._instance, now)
            append(transaction, [event])
        return True


def remove_delivered(
    database: Database, *, through: int, before: float, instance: str, now: float
) -> int:
    """Remove events up to the number `through` that are from before `before` (seconds since the epoch),
    at most `REMOVE_AT_ONCE`, and write that down; how many there were. Raises StoreError."""
    reader = ChainReader(database)
    last: Link | None = None
    count = 0
    while count < REMOVE_AT_ONCE and (lines := reader.read()):
        for line in lines:
            # In order: of an event that is younger than those after it, these are kept as well.
            if line.link.seq > through or line.event.at >= before or count == REMOVE_AT_ONCE:
                break
            last, count = line.link, count + 1
        else:
            continue
        break
    if last is None:
        return 0
    with database.write() as transaction:
        count = remove_entries(transaction, last.seq)
        if count == 0:  # another gateway was before us
            return 0
        append(transaction, [removed_event(last, count, instance, now)])
    return count
