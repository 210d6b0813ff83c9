"""The report of the leading controller in its lease, for `stagedoor status`. Pure."""

from collections.abc import Mapping

import msgspec

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import NAMESPACES
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.rfc3339 import parse_time

MAX_NAMED = 20
"""The most namespaces named with a reason: the annotation is transferred with every read of the lease."""
MAX_REASON = 300
"""The longest reason, in characters."""
SILENT_S = 60.0
"""Seconds without a renewal after which a lease has no leader. Two machines' clocks may differ by less."""


class LeaderReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of the controllers by their lease; all but `holder` is the JSON of its annotation.

    `holder` is the replica that leads, "" if none does. `served` and `unserved` count namespaces. `reasons`
    maps the names of some unserved namespaces to the reasons. `ending` maps some that are no longer served to
    the number of apps that still have a shell.
    """

    holder: str = ""
    served: int = 0
    unserved: int = 0
    reasons: dict[str, str] = {}
    ending: dict[str, int] = {}

    def explain_ending(self) -> dict[str, str]:
        """Return a sentence about each namespace of `ending`, by its name."""
        return {
            name: f"the namespace {name} is no longer served, and "
            + (
                "1 shell ends after its last session"
                if left == 1
                else f"{left} shells end after their last sessions"
            )
            for name, left in self.ending.items()
        }


def format_report(served: int, reasons: Mapping[str, str], ending: Mapping[str, int]) -> str:
    """Return the annotation `names.NAMESPACES`.

    `reasons` has every namespace that is not served, `ending` those in which shells have yet to end.
    """
    named = {
        name: to_one_line(why, MAX_REASON) for name, why in sorted(reasons.items())[:MAX_NAMED]
    }
    left = dict(sorted(ending.items())[:MAX_NAMED])
    return msgspec.json.encode(LeaderReport("", served, len(reasons), named, left)).decode()


def read_report(lease: Object | None, now: float) -> LeaderReport:
    """Read the controllers' lease (None if there is none); `now` is seconds since the epoch."""
    spec = (lease or {}).get("spec") or {}
    renewed_at = parse_time(str(spec.get("renewTime") or ""))
    holder = str(spec.get("holderIdentity") or "")
    if lease is None or renewed_at is None or now - renewed_at > SILENT_S or not holder:
        return LeaderReport()
    text = (lease["metadata"].get("annotations") or {}).get(NAMESPACES)
    try:
        report = msgspec.json.decode(str(text), type=LeaderReport)
    except msgspec.DecodeError:
        report = LeaderReport()
    reasons = {
        to_one_line(name, 63): to_one_line(why, MAX_REASON)
        for name, why in list(report.reasons.items())[:MAX_NAMED]
    }
    ending = {
        to_one_line(name, 63): shells for name, shells in list(report.ending.items())[:MAX_NAMED]
    }
    return msgspec.structs.replace(
        report, holder=to_one_line(holder, 253), reasons=reasons, ending=ending
    )
