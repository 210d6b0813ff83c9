"""The verbs of the Kubernetes API, as `shells.kubernetes.ports.Cluster` wants them."""

import copy
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from stagedoor import __version__
from stagedoor.kube import lists, logs, paths
from stagedoor.kube.access import Access
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient, encoded
from stagedoor.kube.events import Reporter
from stagedoor.kube.http import Http, Request
from stagedoor.kube.limits import Limits
from stagedoor.kube.lists import ListOptions, Trim
from stagedoor.kube.pace import Bucket
from stagedoor.kube.watch import ResourceWatch
from stagedoor.kube.watch_problems import WatchProblems
from stagedoor.model.cluster import Change, ClusterError, Kind, Object


class KubeCluster:
    """One API, asked from one event loop."""

    def __init__(
        self,
        access: Access,
        *,
        field_manager: str,
        component: str,
        instance: str,
        on_problem: Callable[[str, str | None], None],
        limits: Limits | None = None,
        bucket: Bucket | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`field_manager` owns what is applied; `component` and `instance` (its name, and the
        replica's) stand in the events that are reported and in the API's audit log.

        `on_problem` gets what cannot be watched (`WatchProblems`) and why in one line, and None once
        it can again. `clock` is monotonic, in seconds.
        """
        self._access = access
        self._field_manager = field_manager
        self._watch_problems = WatchProblems(on_problem)
        http = Http(access, f"{component}/{__version__}", clock=clock)
        self._asking = ApiClient(http, limits or Limits(), bucket or Bucket(), clock=clock)
        self._reporter = Reporter(self, component=component, instance=instance, clock=clock)

    @property
    def address(self) -> str:
        """The API's, for messages."""
        return str(self._access.address)

    @property
    def namespace(self) -> str:
        """The one that we run in, or that the kubeconfig's context names."""
        return self._access.namespace

    @property
    def asked(self) -> Counter[tuple[str, str, int]]:
        """The requests that went out, by verb, kind and status (0: no answer)."""
        return self._asking.tally

    @property
    def http(self) -> Http:
        """The way to parts of the API that have no verb here."""
        return self._asking.http

    def urgent(self) -> "KubeCluster":
        """The same API for what must not wait behind the rest: an election's lease. It shares the
        connections; `close` of either closes them."""
        twin = copy.copy(self)
        twin._asking = self._asking.urgent()
        return twin

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, None if the API says that there is none. Raises ClusterError."""
        asked = ApiRequest.about("get", kind, namespace, name)
        try:
            return await self._asking.object(
                asked, Request("GET", paths.item(kind, namespace, name))
            )
        except ClusterError as error:
            if _absent(error):
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        """All that the selectors select; "" is every object, or every namespace. Raises ClusterError."""
        items, _ = await lists.snapshot(self._asking, ListOptions(kind, namespace, labels, fields))
        return items

    async def apply(self, manifest: Object, *, force: bool = True) -> Object:
        """Server-side apply; without `force`, a Conflict names the other manager and its fields.
        Raises ClusterError."""
        kind, namespace, name = _identity(manifest)
        query: dict[str, str | int | bool] = {"fieldManager": self._field_manager, "force": force}
        path = paths.with_query(paths.item(kind, namespace, name), query)
        # JSON is YAML; this content type is the one that every version takes.
        request = Request("PATCH", path, encoded(manifest), "application/apply-patch+yaml")
        return await self._asking.object(ApiRequest.about("patch", kind, namespace, name), request)

    async def create(self, manifest: Object) -> Object:
        """Make it. Raises ClusterError, of reason `AlreadyExists` if it is there."""
        kind, namespace, name = _identity(manifest)
        path = paths.with_query(
            paths.collection(kind, namespace), {"fieldManager": self._field_manager}
        )
        asked = ApiRequest.about("create", kind, namespace, name)
        return await self._asking.object(asked, Request("POST", path, encoded(manifest)))

    async def merge(
        self, kind: Kind, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """A JSON merge patch (RFC 7396). Raises ClusterError, of reason `Conflict` when the patch
        names a `metadata.resourceVersion` that is not the object's any more."""
        path = paths.with_query(
            paths.item(kind, namespace, name, subresource), {"fieldManager": self._field_manager}
        )
        request = Request("PATCH", path, encoded(patch), "application/merge-patch+json")
        asked = ApiRequest.about("patch", kind, namespace, name, subresource)
        return await self._asking.object(asked, request)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        """Delete it, what it owns follows; nothing happens if it is gone or, with `uid`, is another
        one by now or, with `version` (resourceVersion), has changed since. Raises ClusterError."""
        options: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        given = {"uid": uid, "resourceVersion": version}
        preconditions = {name: value for name, value in given.items() if value is not None}
        if preconditions:
            options["preconditions"] = preconditions
        asked = ApiRequest.about("delete", kind, namespace, name)
        request = Request("DELETE", paths.item(kind, namespace, name), encoded(options))
        try:
            await self._asking.answer(asked, request)
        except ClusterError as error:
            another = error.status == 409 and error.reason == "Conflict" and bool(preconditions)
            if not _absent(error) and not another:
                raise

    async def logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        """The last lines of a container's log, "" while it has none; of the container before it, if
        this one is just starting. Raises ClusterError."""
        return await logs.read(self._asking, namespace, pod, container, lines)

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """An Event on an object; the same one again is counted. Raises nothing."""
        await self._reporter.report(about, reason=reason, message=message, warning=warning)

    async def watch(
        self, kind: Kind, namespace: str, labels: str = "", *, trim: Trim | None = None
    ) -> AsyncGenerator[Change, None]:
        """A list, then every change, until the iterator is closed. Raises nothing.

        `trim` makes each object smaller as soon as it is read, so that a large list is never in
        memory as a whole; it must keep `metadata.name` and the namespace.
        """
        selection = ListOptions(kind, namespace, labels)
        report = self._watch_problems.report
        follow = ResourceWatch(self._asking, selection, trim, report, random.random)
        async with aclosing(follow.changes()) as changes:
            async for change in changes:
                yield change

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        """Whether the cluster lets that user do that (SubjectAccessReview). `resource` is
        `plural[.group][/subresource]`, as `kubectl auth can-i` takes it. Raises ClusterError."""
        about = {"user": user, "groups": list(groups)}
        return await self._reviewed("SubjectAccessReview", about, (namespace, verb, resource, ""))

    async def may_i(self, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        """The same of the account that asks, who needs no right for it (SelfSubjectAccessReview). `name` is
        the object's; "" is any. Raises ClusterError."""
        return await self._reviewed(
            "SelfSubjectAccessReview", {}, (namespace, verb, resource, name)
        )

    async def _reviewed(
        self, kind: str, about: Mapping[str, object], wanted: tuple[str, str, str, str]
    ) -> bool:
        namespace, verb, resource, name = wanted
        plural, _, subresource = resource.partition("/")
        plural, _, group = plural.partition(".")
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": subresource,
            "name": name,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": kind,
            "spec": {**about, "resourceAttributes": attributes},
        }
        path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
        asked = Request("POST", path, encoded(review))
        found = await self._asking.object(ApiRequest("create", kind), asked)
        status = found.get("status") or {}
        return status.get("allowed") is True and status.get("denied") is not True

    async def close(self) -> None:
        """Close the connections. Watches end when their iterators are closed."""
        self._asking.http.close()


def _absent(error: ClusterError) -> bool:
    """Whether the API itself has said that the object is not there."""
    return error.status == 404 and error.reason == "NotFound"


def _identity(manifest: Object) -> tuple[Kind, str, str]:
    """Kind, namespace and name of what is to be made. Raises ClusterError."""
    meta = manifest.get("metadata") or {}
    try:
        kind = Kind(manifest["kind"])
        known = manifest.get("apiVersion") == paths.RESOURCES[kind].api_version
    except (KeyError, ValueError):
        known = False
    if not known or not meta.get("name"):
        raise ClusterError(
            f"cannot write {manifest.get('kind')!r} of {manifest.get('apiVersion')!r} named "
            f"{meta.get('name')!r}: this program does not write objects of that kind",
            status=None,
            reason="Invalid",
            retry=False,
        )
    return kind, meta.get("namespace", ""), meta["name"]
