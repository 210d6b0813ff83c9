"""What shells on Kubernetes need from a cluster's API. Satisfied by `stagedoor.kube`."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from stagedoor.model.cluster import Change, Kind, Object


class Cluster(Protocol):
    """One Kubernetes API, asked from one event loop. Every method but `watch` raises ClusterError."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, None if there is none."""
        ...

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        """All of a namespace that a label selector and a field selector select."""
        ...

    async def apply(self, manifest: Object, *, force: bool = True) -> Object:
        """Server-side apply as `names.FIELD_MANAGER`; returns what the object is now."""
        ...

    async def create(self, manifest: Object) -> Object:
        """Make it; a ClusterError of reason `AlreadyExists` if it is there."""
        ...

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """A JSON merge patch (RFC 7396); with `metadata.resourceVersion` in it, only if unchanged."""
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
        """Delete it, and by garbage collection what it owns; nothing happens if it is gone, or, with
        `uid`, is another one by now, or, with `version`, has another resourceVersion by now."""
        ...

    async def logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        """The last lines of a container's log; the previous container's if it is just restarting."""
        ...

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """An Event on an object (events.k8s.io/v1); the same one again within minutes is counted, not
        repeated. Best effort: raises nothing."""
        ...

    def watch(self, kind: Kind, namespace: str, labels: str = "") -> AsyncGenerator[Change, None]:
        """A list, then every change, until the iterator is closed.

        Lost connections, 410 Gone and a silent API are dealt with inside: it goes on where it was, or
        a new `LISTED` comes where something may have been missed. While the API cannot be asked, it
        is tried again with backoff, and each failure is reported as `FAILED`; nothing is raised.
        """
        ...

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        """Whether the cluster lets that user do that: a SubjectAccessReview (`pods/exec` is a
        resource with a subresource)."""
        ...

    async def close(self) -> None: ...
