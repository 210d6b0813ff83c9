"""Whose a pod is: by the owners that the cluster itself writes, not by labels alone. Pure.

A label is anybody's to give. `metadata.ownerReferences` is too, but a pod that claims to be of a
ReplicaSet is counted by it, and is deleted as one too many. Objects are compared by uid, since a
name can be taken again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from stagedoor.model.cluster import Kind, Object


def controller_of(found: Object, kind: Kind) -> str | None:
    """The uid of the `kind` that controls this object (metav1 OwnerReference); None if there is none."""
    owners: Iterable[Mapping[str, Any]] = found["metadata"].get("ownerReferences") or ()
    for owner in owners:
        if owner.get("controller") and owner.get("kind") == kind and owner.get("uid"):
            return str(owner["uid"])
    return None


def owned_pods(
    pods: Iterable[Object], replica_sets: Iterable[Object], deployment: Object | None
) -> list[Object]:
    """Those of `pods` that a ReplicaSet of `deployment` made."""
    uid = deployment["metadata"].get("uid") if deployment is not None else None
    if not uid:
        return []
    makers = {
        str(one["metadata"].get("uid"))
        for one in replica_sets
        if controller_of(one, Kind.DEPLOYMENT) == uid
    }
    return [pod for pod in pods if controller_of(pod, Kind.REPLICA_SET) in makers]
