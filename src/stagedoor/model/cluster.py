"""Requests to a cluster's API and their results. Objects stay the JSON that the API returned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object as parsed from its JSON. It is never modified in place."""

Trim = Callable[[Object], Object]
"""Reduces an object to the part that its reader needs, to save memory. It keeps `metadata.name` and
`metadata.namespace`."""


class Kind(StrEnum):
    """The kinds of objects that Stagedoor uses, as in their `kind` field."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    CRON_JOB = "CronJob"
    JOB = "Job"
    REPLICA_SET = "ReplicaSet"
    POD = "Pod"
    SERVICE = "Service"
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105  # the name of a kind
    LEASE = "Lease"
    EVENT = "Event"
    NAMESPACE = "Namespace"
    ROLE_BINDING = "RoleBinding"
    CLUSTER_ROLE = "ClusterRole"
    NETWORK_POLICY = "NetworkPolicy"
    PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"


class Verb(StrEnum):
    """The kinds of reports from a watch."""

    LISTED = "listed"
    """Everything was listed again. `objects` is complete, and all other known objects no longer exist."""
    CHANGED = "changed"
    """An object was added or modified. `objects` has only that object."""
    DELETED = "deleted"
    FAILED = "failed"
    """The API refused or did not answer; `problem` has the reason. The watch is retried."""
    RESUMED = "resumed"
    """The watch works again after FAILED, and continues where it stopped."""


@dataclass(frozen=True, slots=True)
class Change:
    """One report of a watch."""

    verb: Verb
    objects: Sequence[Object] = ()
    problem: "ClusterError | None" = None


class ClusterError(Exception):
    """Raised when the API refuses a request or cannot be reached.

    `status` is the HTTP status, None if there was no response. `reason` is the API's own word
    (`NotFound`, `AlreadyExists`, `Conflict`, `Forbidden`, `Invalid`, …; see the Status kind), and
    `message` its sentence, such as that of an admission controller or a quota. `retry` is True if the
    same call may succeed later: after no answer, 429, 5xx or a conflict.
    """

    def __init__(self, message: str, *, status: int | None, reason: str, retry: bool) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.retry = retry
