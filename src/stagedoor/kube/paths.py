"""The paths of each kind in the API, such as `/apis/apps/v1/namespaces/apps/deployments/app01`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from stagedoor.model.cluster import ClusterError, Kind

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?", re.ASCII)
"""The rule for names: that of RFC 1123, which all kinds here share, with the `.` and `:` that some of them
allow. It keeps `..` and `/` out of every path."""

_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind's place in the API: its group ("" is the core), its version, and its plural name."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The value of an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES: Mapping[Kind, Resource] = {
    Kind.DEPLOYMENT: Resource("apps", "v1", "deployments"),
    Kind.STATEFUL_SET: Resource("apps", "v1", "statefulsets"),
    Kind.DAEMON_SET: Resource("apps", "v1", "daemonsets"),
    Kind.NETWORK_POLICY: Resource("networking.k8s.io", "v1", "networkpolicies"),
    Kind.CRON_JOB: Resource("batch", "v1", "cronjobs"),
    Kind.JOB: Resource("batch", "v1", "jobs"),
    Kind.REPLICA_SET: Resource("apps", "v1", "replicasets"),
    Kind.POD: Resource("", "v1", "pods"),
    Kind.SERVICE: Resource("", "v1", "services"),
    Kind.CONFIG_MAP: Resource("", "v1", "configmaps"),
    Kind.SECRET: Resource("", "v1", "secrets"),
    Kind.LEASE: Resource("coordination.k8s.io", "v1", "leases"),
    Kind.EVENT: Resource("events.k8s.io", "v1", "events"),
    Kind.PERSISTENT_VOLUME_CLAIM: Resource("", "v1", "persistentvolumeclaims"),
    Kind.ROLE_BINDING: Resource("rbac.authorization.k8s.io", "v1", "rolebindings"),
    Kind.CLUSTER_ROLE: Resource(
        "rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False
    ),
    Kind.NAMESPACE: Resource("", "v1", "namespaces", namespaced=False),
}


def build_collection_path(kind: Kind, namespace: str) -> str:
    """Return the path of all objects of a kind in a namespace; "" is all namespaces.

    Raises ClusterError if the namespace is not a valid name.
    """
    resource = RESOURCES[kind]
    root = f"/apis/{resource.group}" if resource.group else "/api"
    if not resource.namespaced or not namespace:
        return f"{root}/{resource.version}/{resource.plural}"
    _check(namespace, f"a namespace (of a {kind})")
    return f"{root}/{resource.version}/namespaces/{namespace}/{resource.plural}"


def build_item_path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """Return the path of one object, or of a subresource of it (`log`, `status`).

    Raises ClusterError if a name is missing or invalid.
    """
    if RESOURCES[kind].namespaced and not namespace:
        raise _unfit(f"the {kind} {name!r} belongs to a namespace, and none was given")
    _check(name, f"a {kind}")
    path = f"{build_collection_path(kind, namespace)}/{quote(name, safe='')}"
    return f"{path}/{quote(subresource, safe='')}" if subresource else path


def with_query(path: str, query: Mapping[str, str | int | bool]) -> str:
    """Return `path` with a query, such as `path?a=b&c=true`. Empty values are left out."""
    pairs = {
        key: (str(value).lower() if isinstance(value, bool) else str(value))
        for key, value in query.items()
        if value != ""
    }
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _check(name: str, what: str) -> None:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise _unfit(f"{name[:80]!r} cannot be the name of {what}: no API object is called so")


def _unfit(message: str) -> ClusterError:
    return ClusterError(message, status=None, reason="Invalid", retry=False)
