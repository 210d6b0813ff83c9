"""The audit of a channel's files: one event each at first, then one for a thousand. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from stagedoor.model.event import Kind
from stagedoor.wire.ssh.sftp import FileEvent

NAMED = 1000
"""Files of one channel with an event of their own."""
BATCH = 1000
"""Files that share one event after that."""

Fields = Mapping[str, str | int | float | bool | None]
_Event = tuple[Kind, Fields]


@dataclass(slots=True)
class _Batch:
    """Files that will share an event: sums, since their names may be long."""

    did: Counter[str] = field(default_factory=Counter)
    first: str = ""
    last: str = ""
    sent: int = 0
    received: int = 0

    def add(self, event: FileEvent) -> None:
        if not self.did:
            self.first = event.path
        self.last = event.path
        self.did[event.did] += 1
        self.sent += event.sent
        self.received += event.received


class FileCounts:
    """The files of one channel, as the events that are to be written now.

    `count` is how many there were. The hash is SHA-256 over all of the channel's events from the first on,
    one after the other, each a line of JSON as `line_of` has it: it proves
    whether a given list of files is what was moved, name by name.
    """

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()
        self._batch = _Batch()

    def add(self, event: FileEvent) -> Iterator[_Event]:
        """Count one more file, and yield its event or its batch's."""
        self.count += 1
        self._hash.update(line_of(event))
        if self.count <= NAMED:
            yield Kind.CHANNEL_FILE, _fields(event)
            return
        self._batch.add(event)
        if self._batch.did.total() == BATCH:
            yield from self.end()

    def end(self) -> Iterator[_Event]:
        """Yield the event of the files that have none yet, at the channel's end."""
        batch, self._batch = self._batch, _Batch()
        if batch.did:
            yield (
                Kind.CHANNEL_FILES,
                {
                    "files": batch.did.total(),
                    "did": ", ".join(f"{n} {name}" for name, n in sorted(batch.did.items())),
                    "first": batch.first,
                    "last": batch.last,
                    "sent": batch.sent,
                    "received": batch.received,
                    "sha256": self._hash.hexdigest(),
                },
            )


def line_of(event: FileEvent) -> bytes:
    """Return the line of an event that goes into the hash."""
    return json.dumps(asdict(event), sort_keys=True).encode() + b"\n"


def _fields(event: FileEvent) -> Fields:
    return {
        "did": event.did,
        "path": event.path,
        "to": event.to,
        "sent": event.sent,
        "received": event.received,
        "whole": event.whole,
        "attributes": event.attributes or None,
    }
