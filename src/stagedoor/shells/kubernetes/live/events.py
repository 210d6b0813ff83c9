"""Events as core/v1 and events.k8s.io/v1 spell them. Pure.

The kubelet still reports by the old API, the scheduler by the new one, and each is read through
either: so a time or a text may stand in one of several fields.
"""

from collections.abc import Sequence

from stagedoor.model.cluster import Object
from stagedoor.wire.rfc3339 import parse_time


def about(events: Sequence[Object], thing: Object) -> Sequence[Object]:
    """Those that speak of this object, and not of an earlier one of its name."""
    uid, name = thing["metadata"].get("uid"), thing["metadata"]["name"]
    return [
        event
        for event in events
        if _regarding(event).get("name") == name and _regarding(event).get("uid", uid) == uid
    ]


def note(event: Object) -> str:
    """What it says."""
    return event.get("note") or event.get("message") or ""


def part(event: Object) -> str:
    """The part of the object, `spec.containers{shell}`; empty where it speaks of the whole."""
    return _regarding(event).get("fieldPath") or ""


def first_seen(event: Object) -> float:
    """Seconds since the epoch; infinity where it does not say."""
    return _time(event, "deprecatedFirstTimestamp", "firstTimestamp", "eventTime")


def last_seen(event: Object) -> float:
    """Seconds since the epoch; infinity where it does not say."""
    series = event.get("series") or {}
    last = parse_time(series.get("lastObservedTime") or "")
    if last is not None:
        return last
    return _time(event, "deprecatedLastTimestamp", "lastTimestamp", "eventTime")


def _regarding(event: Object) -> Object:
    found: Object = event.get("regarding") or event.get("involvedObject") or {}
    return found


def _time(event: Object, *fields: str) -> float:
    created = (event.get("metadata") or {}).get("creationTimestamp")
    for said in (*(event.get(field) for field in fields), created):
        found = parse_time(said) if isinstance(said, str) else None
        if found is not None:
            return found
    return float("inf")
