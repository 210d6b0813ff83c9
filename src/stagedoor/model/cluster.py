"""Words for what is asked of a cluster's API, and for what comes back: objects are JSON as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Object = Mapping[str, Any]
"""A Kubernetes object as its JSON says it. Never changed in place."""


class Kind(StrEnum):
    """The kinds that we deal with, by the name that their `kind` field has."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    CRON_JOB = "CronJob"
    REPLICA_SET = "ReplicaSet"
    POD = "Pod"
    SERVICE = "Service"
    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105  # the name of a kind
    LEASE = "Lease"
    EVENT = "Event"
    ENDPOINT_SLICE = "EndpointSlice"
    NAMESPACE = "Namespace"
    NETWORK_POLICY = "NetworkPolicy"
    PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"


class Verb(StrEnum):
    """What a watch reports."""

    LISTED = "listed"
    """Everything was read again: `objects` is all there is; whatever else was known is gone."""
    CHANGED = "changed"
    """Added or modified: `objects` has the one."""
    DELETED = "deleted"
    FAILED = "failed"
    """The API refuses or does not answer; `problem` says why. The watch is tried again."""
    RESUMED = "resumed"
    """The watch works again after FAILED, from where it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """One report of a watch."""

    verb: Verb
    objects: Sequence[Object] = ()
    problem: "ClusterError | None" = None


class ClusterError(Exception):
    """The API refused, or could not be asked. `status` is the HTTP status, None if none came.

    `reason` is the API's own word (`NotFound`, `AlreadyExists`, `Conflict`, `Forbidden`, `Invalid`,
    …; see the Status kind), `message` its sentence: an admission denial or a quota speaks there.
    `retry` says whether the same call may work later: no answer, 429, 5xx, a conflict.
    """

    def __init__(self, message: str, *, status: int | None, reason: str, retry: bool) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.retry = retry
