"""Events about objects, as `kubectl describe` shows them (events.k8s.io/v1).

An event that is repeated within `SERIES_S` becomes a series: its count grows, and is sent to the API at most
once every `SEND_EVERY_S` (Event v1: `series.count`, `series.lastObservedTime`).
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.wire.rfc3339 import show_time

if TYPE_CHECKING:
    from stagedoor.kube.cluster import KubeCluster

SERIES_S = 360.0
"""Six minutes without the event end a series, like client-go's `finishTime`."""

SEND_EVERY_S = 30.0

REMEMBERED = 1000
"""The most events that may become series. Beyond it, the one seen longest ago is forgotten."""

NOTE_LIMIT_BYTES = 1024
"""The longest note that the API accepts."""

REASON_LIMIT = 128

_Key = tuple[str, str, str, bool]


@dataclass(slots=True)
class _Series:
    namespace: str
    name: str
    count: int
    seen_at: float
    sent_at: float


class Reporter:
    """A reporter of events. An event that cannot be written is lost."""

    def __init__(
        self,
        writer: "KubeCluster",
        *,
        component: str,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a reporter.

        `component` is the events' reportingController, and `instance` their reportingInstance.
        """
        self._writer = writer
        self._component = component
        self._instance = instance[:128]
        self._clock = clock
        self._series: OrderedDict[_Key, _Series] = OrderedDict()

    async def report(self, about: Object, *, reason: str, message: str, warning: bool) -> None:
        """Write an event, or count a repeated one. Raises nothing."""
        meta = about.get("metadata") or {}
        note = _cut(message)
        key = (meta.get("uid") or meta.get("name", ""), reason, note, warning)
        now = self._clock()
        series = self._series.get(key)
        try:
            if series is not None and now - series.seen_at < SERIES_S:
                series.count += 1
                series.seen_at = now
                self._series.move_to_end(key)
                if now - series.sent_at >= SEND_EVERY_S:
                    series.sent_at = now
                    await self._count(series)
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
            # It has expired or was never written, so the next one is created.
            self._series.pop(key, None)

    async def _count(self, series: _Series) -> None:
        patch = {"series": {"count": series.count, "lastObservedTime": _now()}}
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
            "eventTime": _now(),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": reason[:REASON_LIMIT],
            "reason": reason[:REASON_LIMIT],
            "regarding": {field: value for field, value in regarding.items() if value},
            "note": note,
            "type": "Warning" if warning else "Normal",
        }


def _cut(message: str) -> str:
    """Cut a message, at a character's end, to the bytes that the API accepts."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= NOTE_LIMIT_BYTES:
        return message
    return encoded[: NOTE_LIMIT_BYTES - 3].decode("utf-8", "ignore") + "…"


def _name(of: str) -> str:
    """Return an event's name as client-go forms it: the object's name, a dot and a unique suffix."""
    return f"{of[:230]}.{secrets.token_hex(8)}"


def _now() -> str:
    return show_time(time.time(), micro=True)
