"""The owners of pods, by the references that the cluster itself writes, not only by labels. Pure.

Any client that may create pods can set a label. It can set `metadata.ownerReferences` too, but a ReplicaSet
counts a pod that refers to it and deletes it as surplus. Objects are compared by uid, since a name can be
reused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from stagedoor.model.cluster import Kind, Object


def controller_of(item: Object, kind: Kind) -> str | None:
    """Return the uid of the `kind` that controls an object (metav1 OwnerReference), or None."""
    owners: Iterable[Mapping[str, Any]] = item["metadata"].get("ownerReferences") or ()
    for owner in owners:
        if owner.get("controller") and owner.get("kind") == kind and owner.get("uid"):
            return str(owner["uid"])
    return None


def owned_pods(
    pods: Iterable[Object], replica_sets: Iterable[Object], deployment: Object | None
) -> list[Object]:
    """Return the pods that a ReplicaSet of `deployment` owns."""
    uid = deployment["metadata"].get("uid") if deployment is not None else None
    if not uid:
        return []
    owners = {
        str(replica_set["metadata"].get("uid"))
        for replica_set in replica_sets
        if controller_of(replica_set, Kind.DEPLOYMENT) == uid
    }
    return [pod for pod in pods if controller_of(pod, Kind.REPLICA_SET) in owners]
