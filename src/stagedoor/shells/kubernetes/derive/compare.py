"""The comparison of a shell's Deployment in the API with the derived one. Pure.

Every field counts, even those that this version does not know: a field that only the API has is a difference,
unless it is a default that the API server fills in. So a field of a future Kubernetes is a difference too.
Fields: apps/v1 Deployment.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.duration import parse_quantity
from stagedoor.shells.kubernetes.names import TEMPLATE


def hash_template(value: Any) -> str:
    """Return the hash of a JSON value (32 hex digits). It does not depend on the order of keys."""
    canonical = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


MAX_DIFFERENCES = 5
"""The most differences that are listed. Readers need the first ones, and a ConfigMap holds only 1 MiB."""

# The defaults that the API server fills in (pkg/apis/core/v1/defaults.go) in the parts that `derive` writes
# itself. Parts copied from the app have their defaults already.
_DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "dnsPolicy": ("ClusterFirst",),
    "imagePullPolicy": ("Always", "IfNotPresent"),
    "resources": ({},),
    "schedulerName": ("default-scheduler",),
    "securityContext": ({},),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
}
_ROLL_BACK = "deprecated.deployment.rollback.to"
"""apps/v1 DeprecatedRollbackTo: this annotation makes the deployment controller restore the template of an
older ReplicaSet."""

Path = tuple[str, ...]
"""A path of fields; an item of a list is `[NAME]`, or `[NUMBER]` if it has no name."""


def find_differences(desired: Object, actual: Object) -> tuple[str, ...]:
    """Return the first paths at which the Deployment `actual` differs from `desired`.

    `desired` is `Derived.deployment`. The number of replicas is not compared. Values are left out, since they
    may be secret.
    """
    paths = islice(_of_deployment(desired, actual), MAX_DIFFERENCES)
    return tuple(".".join(path).replace(".[", "[") for path in paths)


def find_job_differences(desired: Object, actual: Object) -> tuple[str, ...]:
    """Return the first paths at which the Job `actual` differs from `desired` (`run.build_run_job`)."""
    uid, name = actual["metadata"].get("uid"), desired["metadata"]["name"]
    ours, theirs = desired["metadata"], actual["metadata"]
    # The API adds these itself (pkg/registry/batch/job/strategy.go, generateSelector).
    selector = {"batch.kubernetes.io/controller-uid": uid}
    added = {
        **selector,
        "controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "job-name": name,
    }
    template = desired["spec"]["template"]
    labels = {**template["metadata"]["labels"], **added}
    spec = {
        **desired["spec"],
        "selector": {"matchLabels": selector},
        "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
    }
    paths: list[Path] = []
    for field in ("labels", "ownerReferences", "finalizers"):
        paths += _differ(ours.get(field) or [], theirs.get(field) or [], ("metadata", field))
    paths += islice(_differ(spec, actual["spec"], ("spec",)), MAX_DIFFERENCES)
    return tuple(".".join(path).replace(".[", "[") for path in paths[:MAX_DIFFERENCES])


def read_spec_hash(deployment: Object) -> str:
    """Return the hash of the whole spec in the API, without the number of replicas."""
    return hash_template(_without_replicas(deployment))


def _of_deployment(desired: Object, actual: Object) -> Iterator[Path]:
    ours, theirs = desired["metadata"], actual["metadata"]
    for field in ("ownerReferences", "finalizers"):
        yield from _differ(ours.get(field) or [], theirs.get(field) or [], ("metadata", field))
    our_annotations, their_annotations = (
        ours.get("annotations") or {},
        theirs.get("annotations") or {},
    )
    if our_annotations.get(TEMPLATE) != their_annotations.get(TEMPLATE):
        yield ("metadata", "annotations", TEMPLATE)
    if _ROLL_BACK in their_annotations:
        yield ("metadata", "annotations", _ROLL_BACK)
    yield from _differ(_without_replicas(desired), _without_replicas(actual), ("spec",))


def _without_replicas(deployment: Object) -> dict[str, Any]:
    return {field: value for field, value in deployment["spec"].items() if field != "replicas"}


def _differ(desired: Any, actual: Any, path: Path) -> Iterator[Path]:
    if isinstance(desired, Mapping) and isinstance(actual, Mapping):
        for field in sorted({*desired, *actual}):
            here = (*path, field)
            if field not in actual:
                # The API leaves out an empty text, list or object, but keeps False and 0.
                if not (desired[field] is None or desired[field] in ("", [], {})):
                    yield here
            elif field not in desired:
                if not _is_default(field, actual[field], desired):
                    yield here
            else:
                yield from _differ(desired[field], actual[field], here)
    elif isinstance(desired, list | tuple) and isinstance(actual, list | tuple):
        if len(desired) != len(actual):
            yield path
            return
        for number, (ours, theirs) in enumerate(zip(desired, actual, strict=True)):
            yield from _differ(ours, theirs, (*path, _item(ours, number)))
    elif not _is_same(desired, actual, path):
        yield path


def _is_default(field: str, value: Any, beside: Mapping[str, Any]) -> bool:
    if value is None:
        return True
    if field == "serviceAccount":  # the deprecated alias
        return bool(value == beside.get("serviceAccountName"))
    return value in _DEFAULTS.get(field, ())


def _is_same(desired: Any, actual: Any, path: Path) -> bool:
    # In Python True == 1, so the types count too. The API server rewrites quantities: `0.5` becomes `500m`.
    if type(desired) is type(actual) and desired == actual:
        return True
    is_quantity = path[-1] in ("sizeLimit", "divisor") or (
        path[-3:-2] == ("resources",) and path[-2] in ("requests", "limits")
    )
    if not is_quantity or not isinstance(desired, str) or not isinstance(actual, str):
        return False
    amount = parse_quantity(desired)
    return amount is not None and amount == parse_quantity(actual)


def _item(item: Any, number: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"[{name or number}]"
