"""The interface to a cluster's API for shells, which `stagedoor.kube` implements."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stagedoor.model.cluster import Change, Kind, Object, Trim


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a failed start: the step that failed, and one line for the waiting developer."""

    step: str
    message: str


class Cluster(Protocol):
    """A Kubernetes API, used in one event loop. All methods but `watch` and `report` raise ClusterError."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object, or None if it does not exist."""
        ...

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        """Return the objects of a namespace that both a label selector and a field selector select."""
        ...

    async def apply(self, manifest: Object) -> Object:
        """Apply an object (server-side apply as `names.FIELD_MANAGER`), and return it as it is now."""
        ...

    async def create(self, manifest: Object) -> Object:
        """Create an object, and return it. Raises a ClusterError of reason `AlreadyExists` if it exists."""
        ...

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Apply a JSON merge patch (RFC 7396), and return the object.

        With `metadata.resourceVersion` in the patch, the API refuses it if the object has changed.
        """
        ...

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        """Delete an object, and by garbage collection the objects that it owns.

        Do nothing if it does not exist, or if its uid is not `uid` or its resourceVersion not `version`.
        """
        ...

    async def read_logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        """Return the last lines of a container's log, or of the previous container while it restarts."""
        ...

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """Create an Event on an object (events.k8s.io/v1), if that is possible. Raises nothing.

        Within minutes, the same Event only raises the count of the first.
        """
        ...

    def watch(
        self,
        kind: Kind,
        namespace: str,
        labels: str = "",
        *,
        trim: Trim | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Change, None]:
        """Yield a list of all objects, then every change, until the iterator is closed.

        A namespace of "" is every namespace. `trim` reduces each object as soon as it is read. With
        `metadata_only` the API sends only the metadata.

        Lost connections, 410 Gone and a silent API are handled inside: the watch resumes, or yields a new
        `LISTED` if it may have missed changes. While the API fails, the watch retries with backoff and yields
        each failure as `FAILED`. Raises nothing.
        """
        ...

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        """Return whether the cluster lets a user do this, by a SubjectAccessReview.

        `pods/exec` is a resource with a subresource.
        """
        ...

    async def may_i(self, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        """Return whether this process's account may do this, by a SelfSubjectAccessReview."""
        ...


class RunCluster(Cluster, Protocol):
    """A `Cluster` that can follow the log of a run."""

    def follow_log(self, namespace: str, pod: str, container: str) -> AsyncGenerator[bytes, None]:
        """Yield a container's log from its first kept byte, until it ends or the connection breaks.

        Each line begins with its time (RFC 3339). Raises ClusterError.
        """
        ...
