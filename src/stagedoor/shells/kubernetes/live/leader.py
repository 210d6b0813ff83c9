"""What the controller that leads says of itself in its lease, for `stagedoor status`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import NAMESPACES
from stagedoor.wire.oneline import one_line
from stagedoor.wire.rfc3339 import parse_time

MAX_NAMED = 20
"""Namespaces that are named with a reason; an annotation is read with each look at the lease."""
MAX_REASON = 300
"""Characters of a reason."""
SILENT_S = 60.0
"""A lease that was renewed before this has no leader any more. Two machines' clocks may differ by less."""


class _Said(msgspec.Struct):
    """The annotation's JSON."""

    served: int = 0
    unserved: int = 0
    reasons: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class LeaderReport:
    """The controllers as their lease shows them.

    `holder` is the replica that leads, "" if none does. `served` and `unserved` count namespaces;
    `reasons` says why for some of those that are not served, by name.
    """

    holder: str
    served: int = 0
    unserved: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)


def report_of(served: int, reasons: Mapping[str, str]) -> str:
    """Return the annotation `names.NAMESPACES`; `reasons` are all of the namespaces that are not served."""
    named = {name: one_line(why, MAX_REASON) for name, why in sorted(reasons.items())[:MAX_NAMED]}
    return msgspec.json.encode(_Said(served, len(reasons), named)).decode()


def read_report(lease: Object | None, now: float) -> LeaderReport:
    """Read the lease of the controllers, None if there is none; `now` is seconds since the epoch."""
    spec = (lease or {}).get("spec") or {}
    renewed_at = parse_time(str(spec.get("renewTime") or ""))
    holder = str(spec.get("holderIdentity") or "")
    if lease is None or renewed_at is None or now - renewed_at > SILENT_S or not holder:
        return LeaderReport("")
    text = (lease["metadata"].get("annotations") or {}).get(NAMESPACES)
    try:
        said = msgspec.json.decode(str(text), type=_Said)
    except msgspec.DecodeError:
        said = _Said()
    reasons = {
        one_line(name, 63): one_line(why, MAX_REASON)
        for name, why in list(said.reasons.items())[:MAX_NAMED]
    }
    return LeaderReport(one_line(holder, 253), said.served, said.unserved, reasons)
