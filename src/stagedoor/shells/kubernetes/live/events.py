"""The fields of Events in core/v1 and events.k8s.io/v1, and opt-ins that call for an Event. Pure.

The kubelet still uses the old API, the scheduler the new one, and each can be read through either. So a time
or a text may be in one of several fields.
"""

from collections.abc import Sequence

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import describe
from stagedoor.shells.kubernetes.names import OPT_IN, SHELL_OF, find_name_problem
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


SUITABLE = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)
UNSUITABLE = (Kind.DAEMON_SET, Kind.CRON_JOB)
"""Kinds that authors may label too, although no shell can be derived from them."""


def find_opt_in_problem(item: Object) -> str | None:
    """Return why an object with the label OPT_IN can have no shell; None if it can."""
    metadata = item["metadata"]
    if SHELL_OF in (metadata.get("labels") or {}):
        return None
    if item["kind"] not in SUITABLE:
        return (
            f"{item['kind']} {metadata['name']} can have no shell: only a Deployment or a StatefulSet "
            f"can; remove {OPT_IN} from it"
        )
    problem = find_name_problem(str(metadata["name"]))
    return f"{describe(item)} can have no shell: {problem}" if problem else None
