"""The fields that a gateway and a controller keep of a cluster's objects, to save memory."""

from sys import intern
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.names import IDLE_SINCE, PREFIX

_META = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
)


def select_fields(item: Object, *fields: str) -> dict[str, Any]:
    """Return an object with its kind, the metadata that Stagedoor reads, and these fields of it."""
    kept = {name: item[name] for name in ("apiVersion", "kind", *fields) if name in item}
    metadata = item["metadata"]
    return {**kept, "metadata": {name: metadata[name] for name in _META if name in metadata}}


def trim_app(item: Object) -> Object:
    """Return the metadata by which an app is recognised."""
    metadata = item["metadata"]
    annotations = {
        name: value
        for name, value in (metadata.get("annotations") or {}).items()
        if name.startswith(PREFIX)
    }
    kept = {
        name: metadata[name]
        for name in ("name", "uid", "resourceVersion", "generation")
        if name in metadata
    }
    kept["namespace"] = intern(str(metadata.get("namespace", "")))
    if annotations:
        kept["annotations"] = annotations
    return {"apiVersion": "apps/v1", "kind": intern(str(item["kind"])), "metadata": kept}


def trim_shell(item: Object) -> Object:
    """Return all that is compared before a start, or only the state of a shell that has started."""
    if is_starting(item):
        return select_fields(item, "spec", "status")
    return {**select_fields(item, "status"), "spec": {"replicas": item["spec"].get("replicas", 1)}}


def trim_replica_set(item: Object) -> Object:
    """Return the state of a ReplicaSet, and its containers."""
    template = (item.get("spec") or {}).get("template") or {}
    return {**select_fields(item, "status"), "spec": {"template": {"spec": _containers(template)}}}


def trim_pod(item: Object) -> Object:
    """Return the state of a pod, and its containers."""
    return {**select_fields(item, "status"), "spec": _containers(item)}


def _containers(pod: Object) -> dict[str, Any]:
    """Return the part of a pod's spec, or of its template's, that `diagnose` and `start` read."""
    spec, fields = pod.get("spec") or {}, ("name", "image", "ports", "restartPolicy", "resources")
    return {
        part: [
            {name: container[name] for name in fields if name in container}
            for container in spec.get(part) or ()
        ]
        for part in ("initContainers", "containers")
    }


def is_starting(shell: Object) -> bool:
    """Return whether a shell should start and has no replica yet."""
    annotations = shell["metadata"].get("annotations") or {}
    return shell["spec"].get("replicas", 1) == 0 and IDLE_SINCE not in annotations
