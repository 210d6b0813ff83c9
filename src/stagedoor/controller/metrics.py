"""The controller's metrics, and their text for Prometheus. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stagedoor.model.metric import Metric, MetricKind, Series
from stagedoor.wire.http.openmetrics import format_metrics

DECISIONS = Metric(
    "stagedoor_controller_decisions",
    MetricKind.COUNTER,
    "Decisions about shells, by their names. Most are Keep.",
    {"decision": ()},
)
FAILURES = Metric(
    "stagedoor_controller_failures",
    MetricKind.COUNTER,
    "Failed reconciliations, by the API's reason.",
    {"reason": ()},
)
SHELLS = Metric(
    "stagedoor_controller_shells", MetricKind.GAUGE, "Shells that have a pod, or should have one."
)
APPS = Metric("stagedoor_controller_apps", MetricKind.GAUGE, "Apps that offer a shell.")
QUEUE = Metric(
    "stagedoor_controller_queue",
    MetricKind.GAUGE,
    "Apps in the queue, including those that are due later.",
)
LEADING = Metric(
    "stagedoor_controller_leading",
    MetricKind.GAUGE,
    "1 in the replica that leads and serves at least one namespace, 0 in the others.",
)
NAMESPACES = Metric(
    "stagedoor_controller_namespaces",
    MetricKind.GAUGE,
    "Namespaces by whether the leading controller sees what is in them; no shell starts in the others.",
    {"synced": ("true", "false")},
)
RECONCILE = Metric(
    "stagedoor_controller_reconcile_seconds",
    MetricKind.COUNTER,
    "Time spent on reconciliations, including requests.",
    unit="seconds",
)
REQUESTS = Metric(
    "stagedoor_controller_requests",
    MetricKind.COUNTER,
    "Requests to the Kubernetes API. Those with status 0 had no answer.",
    {"verb": (), "kind": (), "status": ()},
)
METRICS = (DECISIONS, FAILURES, SHELLS, APPS, QUEUE, LEADING, NAMESPACES, RECONCILE, REQUESTS)


@dataclass
class Metrics:
    """The controller's counts, which its event loop changes and the metrics page reads."""

    decisions: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    reconcile_seconds: float = 0.0
    requests: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """The number of requests by verb, kind and status."""
    shells: int = 0
    apps: int = 0
    queue: int = 0
    served: int = 0
    """The number of namespaces that the leader sees; `unserved` counts the others."""
    unserved: int = 0
    leading: bool = False
    """Whether this replica leads, and serves a namespace at least if there is any."""

    def clear_gauges(self) -> None:
        """Set the gauges that only a leading replica has to zero."""
        self.shells = self.apps = self.queue = self.served = self.unserved = 0
        self.leading = False

    def to_text(self) -> str:
        """Return the metrics page in the OpenMetrics text format."""
        values: dict[Series, float] = {
            SHELLS.make_series(): self.shells,
            APPS.make_series(): self.apps,
            QUEUE.make_series(): self.queue,
            LEADING.make_series(): int(self.leading),
            NAMESPACES.make_series("true"): self.served,
            NAMESPACES.make_series("false"): self.unserved,
            RECONCILE.make_series(): self.reconcile_seconds,
        }
        values |= {DECISIONS.make_series(which): count for which, count in self.decisions.items()}
        values |= {FAILURES.make_series(which): count for which, count in self.failures.items()}
        values |= {
            REQUESTS.make_series(verb, kind, str(status)): count
            for (verb, kind, status), count in self.requests.items()
        }
        return format_metrics(METRICS, values)
