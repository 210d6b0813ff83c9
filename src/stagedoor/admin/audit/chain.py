"""The audit as chained lines: reading them from any number, signing them, and removing delivered ones."""

import time
from collections.abc import Callable, Iterator

from stagedoor.admin.service import AdminService
from stagedoor.audit.chain import (
    NAMESPACE,
    Chain,
    ChainLink,
    Line,
    claim_of,
    make_checkpoint_event,
    make_removed_event,
    make_statement,
)
from stagedoor.keys.files import PrivateKey, load_or_create
from stagedoor.keys.signing import sign
from stagedoor.model.event import EventKind
from stagedoor.settings.settings import Settings
from stagedoor.store.access_requests import remove_old_requests
from stagedoor.store.database import Database, Transaction
from stagedoor.store.journal import append, find_last_of_kind, remove_entries, select_entries

PAGE = 200
"""The most events in memory at once. One may have 64 KiB of command lines."""

REMOVE_AT_ONCE = 5000
"""The most events that one transaction removes, during which no event can be written."""


def load_audit_key(settings: Settings) -> PrivateKey:
    """Return the key that signs checkpoints, and create it if there is none. Raises KeyFileError."""
    return load_or_create(settings.audit_key_file, "stagedoor audit")


class ChainReader:
    """A reader of the audit's lines after the number `after`, in order. For one thread at a time.

    It begins at the last checkpoint before that, so it need not read the whole audit.
    """

    def __init__(self, database: Database, after: int = 0) -> None:
        self._database = database
        self._after = after
        self._chain: Chain | None = None

    @property
    def chain(self) -> Chain:
        """The chain up to the last line that was read. Use it after the first `read`."""
        assert self._chain is not None, "something was read"
        return self._chain

    def read(self) -> list[Line]:
        """Return the next lines, at most `PAGE`, or none if there are no more now. Raises StoreError."""
        while True:
            with self._database.read() as transaction:
                page = self.read_in(transaction)
            if page is None:
                return []
            if wanted := [line for line in page if line.link.seq > self._after]:
                return wanted

    def read_in(self, transaction: Transaction) -> list[Line] | None:
        """Return the next lines in a transaction, or None at the end.

        They include the lines between the checkpoint and the first wanted line.
        """
        if self._chain is None:
            self._chain = Chain(_start_of_chain(transaction, self._after))
        page = select_entries(transaction, after=self._chain.link.seq, limit=PAGE)
        if not page:
            return None
        if page[0].seq > self._chain.link.seq + 1:
            # Numbers are missing if a transaction was rolled back or events were removed.
            removed = find_last_of_kind(transaction, EventKind.AUDIT_REMOVED)
            claim = claim_of(removed.event.fields) if removed else None
            if claim is not None and self._chain.link.seq < claim.seq < page[0].seq:
                self._chain = Chain(claim)
        return [self._chain.add(entry.seq, entry.event) for entry in page]


def _start_of_chain(transaction: Transaction, at_most: int) -> ChainLink:
    """Return the link of the last checkpoint up to the number `at_most`, or the chain's beginning."""
    checkpoint = (
        find_last_of_kind(transaction, EventKind.AUDIT_CHECKPOINT, at_most) if at_most else None
    )
    claim = claim_of(checkpoint.event.fields) if checkpoint else None
    return claim or ChainLink()


def export(
    service: AdminService,
    *,
    after: int = 0,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    poll_s: float = 0.3,
) -> Iterator[Line | None]:
    """Yield the lines after the number `after`.

    With `follow` it does not end, and yields None when there are no more lines for now.
    """
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
    """A signer of the audit's chain. For one thread at a time, and any number of processes."""

    def __init__(self, database: Database, key: Callable[[], PrivateKey], instance: str) -> None:
        """Create a writer. `key` is called when a checkpoint is signed; `write` raises its errors."""
        self._database = database
        self._key = key
        self._instance = instance
        self._reader: ChainReader | None = None

    def read_chain(self) -> Chain:
        """Read the chain up to now and return it. Raises StoreError."""
        if self._reader is None:
            with self._database.read() as transaction:
                newest = find_last_of_kind(transaction, EventKind.AUDIT_CHECKPOINT)
            self._reader = ChainReader(self._database, newest.seq - 1 if newest else 0)
        while self._reader.read():
            pass
        return self._reader.chain

    def write(self, now: float) -> bool:
        """Write a checkpoint and return True, or return False if there is no event since the last one.

        Raises StoreError.
        """
        self.read_chain()
        assert self._reader is not None, "the chain was read"
        with self._database.write() as transaction:
            # Read the rest under the write lock, so that the checkpoint directly follows what it signs, and
            # only one of several processes writes it.
            while self._reader.read_in(transaction) is not None:
                pass
            chain = self._reader.chain
            if chain.unsigned == 0:
                return False
            signature, key = sign(self._key(), make_statement(chain.link), NAMESPACE)
            event = make_checkpoint_event(chain.link, signature, key, self._instance, now)
            append(transaction, [event])
        return True


def remove_delivered(
    database: Database, *, through: int, before: float, instance: str, now: float
) -> int:
    """Remove events up to the number `through` that are older than `before`, and return how many.

    `before` is in seconds since the epoch. At most `REMOVE_AT_ONCE` are removed, which is written to the
    audit. Access requests that were over before go with them. Raises StoreError.
    """
    reader = ChainReader(database)
    last: ChainLink | None = None
    count = 0
    while count < REMOVE_AT_ONCE and (lines := reader.read()):
        for line in lines:
            # In order: if an event is too young, all events after it are kept as well.
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
        if count == 0:  # another gateway has removed them
            return 0
        append(transaction, [make_removed_event(last, count, instance, now)])
        remove_old_requests(transaction, before)
    return count
