"""What is written down of the files of one channel: one by one first, then by the thousand. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from stagedoor.model.event import Kind
from stagedoor.wire.sftp import FileEvent

NAMED = 1000
"""Files of one channel with an event of their own."""
BATCH = 1000
"""Files that share one event after that."""

Fields = Mapping[str, str | int | float | bool | None]
_Event = tuple[Kind, Fields]


class FileTally:
    """Of one channel. It returns what is to be written down now.

    `count` is how many there were. The hash is SHA-256 over all of the channel's events from the first on,
    one after the other, each a line of JSON as `line_of` has it: of somebody's list of files it says
    whether that is what was moved, name by name.
    """

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()
        self._batch: list[FileEvent] = []

    def add(self, event: FileEvent) -> Iterator[_Event]:
        """One more."""
        self.count += 1
        self._hash.update(line_of(event))
        if self.count <= NAMED:
            yield Kind.CHANNEL_FILE, _fields(event)
            return
        self._batch.append(event)
        if len(self._batch) == BATCH:
            yield from self.end()

    def end(self) -> Iterator[_Event]:
        """The channel is closed: what has no event yet."""
        batch, self._batch = self._batch, []
        if batch:
            did = Counter(event.did for event in batch)
            yield (
                Kind.CHANNEL_FILES,
                {
                    "files": len(batch),
                    "did": ", ".join(f"{count} {name}" for name, count in sorted(did.items())),
                    "first": batch[0].path,
                    "last": batch[-1].path,
                    "sent": sum(event.sent for event in batch),
                    "received": sum(event.received for event in batch),
                    "sha256": self._hash.hexdigest(),
                },
            )


def line_of(event: FileEvent) -> bytes:
    """As it goes into the hash."""
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
