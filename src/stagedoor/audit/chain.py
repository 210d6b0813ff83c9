"""The audit as lines of which each holds the SHA-256 of the one before. Pure.

A line is a function of the event and of the line before it. So all readers of a store make the
same lines, wherever they begin, and one that is delivered twice is the same twice.

A checkpoint is an event of its own. It says, signed, how far the chain had come and what its last line's
hash was. From there the chain is continued after a restart.
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
"""The `prev` of the first line of all."""

NAMESPACE = "stagedoor-audit"
"""The namespace of checkpoints' signatures (`ssh-keygen -Y verify -n`)."""


class ChainLink(Struct, frozen=True):
    """The end of a chain: its last line's `seq` and SHA-256 (hexadecimal)."""

    seq: int = 0
    digest: str = NOTHING


class Line(Struct, frozen=True):
    """A line of the chain, without its newline, and what the next one has as `prev`."""

    event: Event
    text: str
    link: ChainLink


@dataclass(slots=True)
class Chain:
    """A maker of lines, in order.

    `unsigned` counts the events since the last checkpoint, and `unsigned_since` is when the first of
    them was (seconds since the epoch).

    `contradicted` is the `seq` of a checkpoint that says something else than the lines before it: the
    store was changed, and not by the gateway.
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
        "way": event.way,
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
    """Return the event that `count` events were removed from the store, of which `link` was the last."""
    fields: dict[str, Plain] = {"through": link.seq, "sha256": link.digest, "events": count}
    return Event(now, EventKind.AUDIT_REMOVED, instance, fields=MappingProxyType(fields))


def claim_of(fields: Mapping[str, Any]) -> ChainLink | None:
    """Return the link that a checkpoint claims; None for fields that the gateway does not write."""
    seq, sha256 = fields.get("through"), fields.get("sha256")
    if type(seq) is not int or not isinstance(sha256, str):
        return None
    return ChainLink(seq, sha256)
