"""The audit as a hash chain: each line has the SHA-256 of the line before it. Pure.

A line depends only on its event and on the line before it. So all readers of a store produce the same lines,
wherever they begin, and a line that is delivered twice is identical.

A checkpoint is an event with a signature over the number and the hash of the chain's last line. After a
restart, the chain continues from there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from stagedoor.model.event import Event, EventKind, Plain
from stagedoor.wire.rfc3339 import show_milliseconds

NOTHING = "0" * 64
"""The `prev` of the very first line."""

NAMESPACE = "stagedoor-audit"
"""The namespace of checkpoints' signatures (`ssh-keygen -Y verify -n`)."""


class ChainLink(Struct, frozen=True):
    """The end of a chain: its last line's `seq` and SHA-256 (hexadecimal)."""

    seq: int = 0
    digest: str = NOTHING


class Line(Struct, frozen=True):
    """A line of the chain, without its newline, and the `prev` of the next line."""

    event: Event
    text: str
    link: ChainLink


@dataclass(slots=True)
class Chain:
    """A maker of lines, in order.

    `unsigned` counts the events since the last checkpoint, and `unsigned_since` is when the first of
    them was (seconds since the epoch).

    `contradicted` is the `seq` of a checkpoint that disagrees with the lines before it, which proves that
    something other than the gateway changed the store.
    """

    link: ChainLink = field(default_factory=ChainLink)
    unsigned: int = 0
    unsigned_since: float | None = None
    contradicted: int | None = None

    def add(self, seq: int, event: Event) -> Line:
        """Return the next line of the chain."""
        if event.kind is EventKind.AUDIT_CHECKPOINT:
            claim = claim_of(event.fields)
            if claim is not None and claim.seq == self.link.seq and claim != self.link:
                self.contradicted = seq
            self.unsigned, self.unsigned_since = 0, None
        else:
            if self.unsigned == 0:
                self.unsigned_since = event.at
            self.unsigned += 1
        text = json.dumps({"seq": seq, "prev": self.link.digest, **make_document(event)})
        self.link = ChainLink(seq, hash_line(text))
        return Line(event, text, self.link)


def make_document(event: Event) -> dict[str, object]:
    """Return an event for JSON, without its number; times are RFC 3339 in milliseconds."""
    return {
        "at": show_milliseconds(event.at),
        "kind": event.kind.value,
        "session": event.session,
        "identity": event.identity,
        "target": event.target,
        "source": event.source,
        "way": event.access_method,
        "reason": event.reason,
        "instance": event.instance,
        "fields": dict(event.fields),
    }


def hash_line(text: str) -> str:
    """Return the SHA-256 of a line, without its newline."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_statement(link: ChainLink) -> str:
    """Return the text that a checkpoint signs."""
    return f"{link.seq} {link.digest}\n"


def make_checkpoint_event(
    link: ChainLink, signature: str, key: str, instance: str, now: float
) -> Event:
    """Return a checkpoint for `link`.

    `signature` is that of `make_statement(link)`, as `ssh-keygen -Y sign` writes it; `key` its fingerprint.
    """
    fields: dict[str, Plain] = {
        "through": link.seq,
        "sha256": link.digest,
        "key": key,
        "signature": signature,
    }
    return Event(now, EventKind.AUDIT_CHECKPOINT, instance, fields=MappingProxyType(fields))


def make_removed_event(link: ChainLink, count: int, instance: str, now: float) -> Event:
    """Return the event of the removal of `count` events from the store, the last of which was `link`."""
    fields: dict[str, Plain] = {"through": link.seq, "sha256": link.digest, "events": count}
    return Event(now, EventKind.AUDIT_REMOVED, instance, fields=MappingProxyType(fields))


def claim_of(fields: Mapping[str, Any]) -> ChainLink | None:
    """Return the link that a checkpoint claims; None for fields that the gateway does not write."""
    seq, sha256 = fields.get("through"), fields.get("sha256")
    if type(seq) is not int or not isinstance(sha256, str):
        return None
    return ChainLink(seq, sha256)
