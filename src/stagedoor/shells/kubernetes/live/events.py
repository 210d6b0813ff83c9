"""The fields of Events in core/v1 and events.k8s.io/v1. Pure.

The kubelet still uses the old API, the scheduler the new one, and each can be read through either. So a time
or a text may be in one of several fields.
"""

from collections.abc import Sequence

from stagedoor.model.cluster import Object
from stagedoor.wire.rfc3339 import parse_time


def select_events(events: Sequence[Object], thing: Object) -> Sequence[Object]:
    """Return the Events about this object, but not those about an earlier object of the same name."""
    uid, name = thing["metadata"].get("uid"), thing["metadata"]["name"]
    return [
        event
        for event in events
        if _regarding(event).get("name") == name and _regarding(event).get("uid", uid) == uid
    ]


def read_note(event: Object) -> str:
    """Return the text of an Event."""
    return event.get("note") or event.get("message") or ""


def read_part(event: Object) -> str:
    """Return the part that an Event is about (`spec.containers{shell}`); empty for the whole object."""
    return _regarding(event).get("fieldPath") or ""


def read_first_seen(event: Object) -> float:
    """Return when the Event first happened, in seconds since the epoch; infinity if it has no time."""
    return _time(event, "deprecatedFirstTimestamp", "firstTimestamp", "eventTime")


def read_last_seen(event: Object) -> float:
    """Return when the Event last happened, in seconds since the epoch; infinity if it has no time."""
    series = event.get("series") or {}
    last = parse_time(series.get("lastObservedTime") or "")
    if last is not None:
        return last
    return _time(event, "deprecatedLastTimestamp", "lastTimestamp", "eventTime")


def _regarding(event: Object) -> Object:
    reference: Object = event.get("regarding") or event.get("involvedObject") or {}
    return reference


def _time(event: Object, *fields: str) -> float:
    created = (event.get("metadata") or {}).get("creationTimestamp")
    for text in (*(event.get(field) for field in fields), created):
        time = parse_time(text) if isinstance(text, str) else None
        if time is not None:
            return time
    return float("inf")
