"""The verbs of the Kubernetes API, which `shells.kubernetes.ports.Cluster` defines."""

import copy
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from stagedoor import __version__
from stagedoor.kube import lists, logs, paths
from stagedoor.kube.access import Access
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient, encode_json
from stagedoor.kube.events import Reporter
from stagedoor.kube.http import Http, HttpRequest
from stagedoor.kube.lists import ListOptions
from stagedoor.kube.pace import Bucket, Limits
from stagedoor.kube.watch import ResourceWatch, WatchProblems
from stagedoor.model.cluster import Change, ClusterError, Kind, Object, Trim


class KubeCluster:
    """A client of one API, for one event loop."""

    def __init__(
        self,
        access: Access,
        *,
        field_manager: str,
        component: str,
        instance: str,
        on_problem: Callable[[str, str | None], None],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a client; it connects at the first request.

        `field_manager` owns the applied fields. `component` and `instance`, the names of the program and the
        replica, appear in reported events and in the API's audit log. `on_problem` is called with a part that
        cannot be watched (`WatchProblems`) and the reason in one line, and with None once it can. `clock` is
        monotonic, in seconds.
        """
        self._access = access
        self._field_manager = field_manager
        self._watch_problems = WatchProblems(on_problem)
        http = Http(access, f"{component}/{__version__}", clock=clock)
        self._client = ApiClient(http, limits or Limits(), Bucket(), clock=clock)
        self._reporter = Reporter(self, component=component, instance=instance, clock=clock)

    @property
    def address(self) -> str:
        """The address of the API, for messages."""
        return str(self._access.address)

    @property
    def namespace(self) -> str:
        """The namespace of our pod, or the one in the kubeconfig's context."""
        return self._access.namespace

    @property
    def requests(self) -> Counter[tuple[str, str, int]]:
        """The number of requests sent, by verb, kind and status (0: no answer)."""
        return self._client.tally

    @property
    def http(self) -> Http:
        """The HTTP client, for parts of the API without a verb here."""
        return self._client.http

    def with_priority(self) -> "KubeCluster":
        """Return a client of the same API, for an election's lease, whose requests are not paced.

        Both share the connections, which `close_connections` of either client closes.
        """
        twin = copy.copy(self)
        twin._client = self._client.with_priority()
        return twin

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object; None if the API says that it does not exist. Raises ClusterError."""
        operation = ApiRequest.of_kind("get", kind, namespace, name)
        try:
            return await self._client.request_object(
                operation, HttpRequest("GET", paths.build_item_path(kind, namespace, name))
            )
        except ClusterError as error:
            if _is_absent(error):
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str, labels: str = "", *, fields: str = ""
    ) -> Sequence[Object]:
        """Return all objects that the selectors select. Raises ClusterError.

        A selector of "" selects every object, and a namespace of "" is every namespace.
        """
        items, _ = await lists.list_objects(
            self._client, ListOptions(kind, namespace, labels, fields)
        )
        return items

    async def apply(self, manifest: Object) -> Object:
        """Apply a manifest on the server side, and return the object. Raises ClusterError.

        It takes over fields that another manager owns.
        """
        kind, namespace, name = _identity(manifest)
        query: dict[str, str | int | bool] = {"fieldManager": self._field_manager, "force": True}
        path = paths.with_query(paths.build_item_path(kind, namespace, name), query)
        # JSON is valid YAML, and every version accepts this content type.
        request = HttpRequest("PATCH", path, encode_json(manifest), "application/apply-patch+yaml")
        return await self._client.request_object(
            ApiRequest.of_kind("patch", kind, namespace, name), request
        )

    async def create(self, manifest: Object) -> Object:
        """Create an object. Raises ClusterError, of reason `AlreadyExists` if it exists."""
        kind, namespace, name = _identity(manifest)
        path = paths.with_query(
            paths.build_collection_path(kind, namespace), {"fieldManager": self._field_manager}
        )
        operation = ApiRequest.of_kind("create", kind, namespace, name)
        return await self._client.request_object(
            operation, HttpRequest("POST", path, encode_json(manifest))
        )

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Apply a JSON merge patch (RFC 7396), and return the object. Raises ClusterError; see `Cluster`."""
        path = paths.with_query(
            paths.build_item_path(kind, namespace, name), {"fieldManager": self._field_manager}
        )
        request = HttpRequest("PATCH", path, encode_json(patch), "application/merge-patch+json")
        operation = ApiRequest.of_kind("patch", kind, namespace, name)
        return await self._client.request_object(operation, request)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> None:
        """Delete an object and, in the background, those that it owns. Raises ClusterError; see `Cluster`."""
        options: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        conditions = {"uid": uid, "resourceVersion": version}
        preconditions = {name: value for name, value in conditions.items() if value is not None}
        if preconditions:
            options["preconditions"] = preconditions
        operation = ApiRequest.of_kind("delete", kind, namespace, name)
        request = HttpRequest(
            "DELETE", paths.build_item_path(kind, namespace, name), encode_json(options)
        )
        try:
            await self._client.answer(operation, request)
        except ClusterError as error:
            is_conflict = error.status == 409 and error.reason == "Conflict" and bool(preconditions)
            if not _is_absent(error) and not is_conflict:
                raise

    async def read_logs(self, namespace: str, pod: str, container: str, *, lines: int) -> str:
        """Return the last lines of a container's log, "" while it has none. Raises ClusterError."""
        return await logs.read_log(self._client, namespace, pod, container, lines)

    def follow_log(self, namespace: str, pod: str, container: str) -> AsyncGenerator[bytes, None]:
        """Yield a container's log from its first kept byte on; see `RunCluster`."""
        return logs.follow_log(self._client, namespace, pod, container)

    async def report(
        self, about: Object, *, reason: str, message: str, warning: bool = False
    ) -> None:
        """Report an Event about an object; a repeated event is counted. Raises nothing."""
        await self._reporter.report(about, reason=reason, message=message, warning=warning)

    def watch(
        self,
        kind: Kind,
        namespace: str,
        labels: str = "",
        *,
        trim: Trim | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[Change, None]:
        """Yield a list of the objects, then every change; see `Cluster`. Raises nothing.

        With `trim` a large list is never completely in memory. A list of labelled objects may be a moment
        old.
        """
        selection = ListOptions(
            kind,
            namespace,
            labels,
            metadata_only=metadata_only,
            cached=bool(labels) and not metadata_only,
        )
        report = self._watch_problems.report
        return ResourceWatch(self._client, selection, trim, report).follow_changes()

    async def may(
        self, user: str, groups: Sequence[str], namespace: str, verb: str, resource: str
    ) -> bool:
        """Return whether a user has a right in the cluster (SubjectAccessReview). Raises ClusterError.

        `resource` is `plural[.group][/subresource]`, as for `kubectl auth can-i`.
        """
        about = {"user": user, "groups": list(groups)}
        right = (namespace, verb, resource, "")
        return await self._review(self._client, "SubjectAccessReview", about, right)

    async def may_i(self, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        """Return whether this program's account has a right (SelfSubjectAccessReview). Raises ClusterError.

        Asking this needs no right. `name` is the object's; "" stands for any.
        """
        right = (namespace, verb, resource, name)
        return await self._review(
            self._client.with_patience(), "SelfSubjectAccessReview", {}, right
        )

    async def _review(
        self,
        client: ApiClient,
        kind: str,
        about: Mapping[str, object],
        right: tuple[str, str, str, str],
    ) -> bool:
        namespace, verb, resource, name = right
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
        request = HttpRequest("POST", path, encode_json(review))
        review_result = await client.request_object(ApiRequest("create", kind), request)
        status = review_result.get("status") or {}
        return status.get("allowed") is True and status.get("denied") is not True

    async def close_connections(self) -> None:
        """Close the connections. Watches end when their iterators are closed."""
        self._client.http.close_connections()


def _is_absent(error: ClusterError) -> bool:
    """Return whether the API itself has said that the object does not exist."""
    return error.status == 404 and error.reason == "NotFound"


def _identity(manifest: Object) -> tuple[Kind, str, str]:
    """Return the kind, namespace and name of a manifest. Raises ClusterError for an unknown kind."""
    meta = manifest.get("metadata") or {}
    try:
        kind = Kind(manifest["kind"])
        is_known = manifest.get("apiVersion") == paths.RESOURCES[kind].api_version
    except (KeyError, ValueError):
        is_known = False
    if not is_known or not meta.get("name"):
        raise ClusterError(
            f"cannot write {manifest.get('kind')!r} of {manifest.get('apiVersion')!r} named "
            f"{meta.get('name')!r}: this program does not write objects of that kind",
            status=None,
            reason="Invalid",
            retry=False,
        )
    return kind, meta.get("namespace", ""), meta["name"]
