"""Events on objects, as `kubectl describe` shows them (events.k8s.io/v1).

The same event again within `SERIES_S` is a series: its count grows, and the API hears of that at
most once in `TELL_EVERY_S` (Event v1: `series.count`, `series.lastObservedTime`).
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from stagedoor.model.cluster import ClusterError, Kind, Object

SERIES_S = 360.0
"""client-go's `finishTime`: six minutes of silence end a series."""

TELL_EVERY_S = 30.0

REMEMBERED = 1000
"""Events that may become series; past that the one that was seen longest ago starts again."""

NOTE_LIMIT_BYTES = 1024
"""The API refuses a longer note."""

REASON_LIMIT = 128


class Writer(Protocol):
    """What is needed of a cluster."""

    async def create(self, manifest: Object) -> Object: ...

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object: ...


_Key = tuple[str, str, str, bool]


@dataclass(slots=True)
class _Series:
    namespace: str
    name: str
    count: int
    seen_at: float
    told_at: float


class Reporter:
    """Best effort: an event that cannot be written is lost, and nobody waits for it."""

    def __init__(
        self,
        writer: Writer,
        *,
        component: str,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`component` is the event's reportingController, `instance` its reportingInstance."""
        self._writer = writer
        self._component = component
        self._instance = instance[:128]
        self._clock = clock
        self._series: OrderedDict[_Key, _Series] = OrderedDict()

    async def report(self, about: Object, *, reason: str, message: str, warning: bool) -> None:
        """Write it, or count it. Raises nothing."""
        meta = about.get("metadata") or {}
        note = shorten(message)
        key = (meta.get("uid") or meta.get("name", ""), reason, note, warning)
        now = self._clock()
        known = self._series.get(key)
        try:
            if known is not None and now - known.seen_at < SERIES_S:
                known.count += 1
                known.seen_at = now
                self._series.move_to_end(key)
                if now - known.told_at >= TELL_EVERY_S:
                    known.told_at = now
                    await self._count(known)
                return
            namespace, name = meta.get("namespace") or "default", _name(meta.get("name", "object"))
            self._series[key] = _Series(namespace, name, 1, now, now)
            self._series.move_to_end(key)
            if len(self._series) > REMEMBERED:
                self._series.popitem(last=False)
            await self._writer.create(
                self._event(about, namespace, name, reason, note, warning=warning)
            )
        except ClusterError:
            self._series.pop(key, None)  # it ended, or never was: the next one is written again

    async def _count(self, series: _Series) -> None:
        patch = {"series": {"count": series.count, "lastObservedTime": _stamp()}}
        await self._writer.merge(Kind.EVENT, series.namespace, series.name, patch)

    def _event(
        self, about: Object, namespace: str, name: str, reason: str, note: str, *, warning: bool
    ) -> Object:
        meta = about.get("metadata") or {}
        regarding = {
            "apiVersion": about.get("apiVersion", ""),
            "kind": about.get("kind", ""),
            "namespace": meta.get("namespace", ""),
            "name": meta.get("name", ""),
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", ""),
        }
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": _stamp(),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": reason[:REASON_LIMIT],
            "reason": reason[:REASON_LIMIT],
            "regarding": {field: value for field, value in regarding.items() if value},
            "note": note,
            "type": "Warning" if warning else "Normal",
        }


def shorten(message: str) -> str:
    """At most as many bytes as the API takes, and no half letter at the end."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= NOTE_LIMIT_BYTES:
        return message
    return encoded[: NOTE_LIMIT_BYTES - 3].decode("utf-8", "ignore") + "…"


def _name(of: str) -> str:
    """As client-go names events: the object's name, a dot, and what makes it the only one."""
    return f"{of[:230]}.{secrets.token_hex(8)}"


def _stamp() -> str:
    """A MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
