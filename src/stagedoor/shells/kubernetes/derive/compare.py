"""Whether a shell's Deployment, as the API has it, is the one that was derived. Pure.

Every field counts, known to us or not: what the API has beyond what was derived is a difference,
unless it is a default that the API server itself fills in. So a field of a future Kubernetes is
one too. Fields: apps/v1 Deployment.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.template import template_hash
from stagedoor.shells.kubernetes.duration import parse_quantity
from stagedoor.shells.kubernetes.names import TEMPLATE

MAX_DIFFERENCES = 5
"""As many are named: a person needs the first, and a ConfigMap has 1 MiB."""

# What the API server fills in where `derive` makes something (pkg/apis/core/v1/defaults.go); what is
# copied from the app was filled in there already.
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
"""apps/v1 DeprecatedRollbackTo: with this annotation the deployment controller itself puts the template
of an older ReplicaSet in place."""

Path = tuple[str, ...]
"""Of fields; an item of a list is `[NAME]`, or `[NUMBER]` if it has no name."""


def differences(wanted: Object, found: Object) -> tuple[str, ...]:
    """Paths at which the Deployment `found` is not `wanted` (`Derived.deployment`); a few of them.

    The number of replicas is not compared. Values are not named: they may be secret.
    """
    paths = islice(_of_deployment(wanted, found), MAX_DIFFERENCES)
    return tuple(".".join(path).replace(".[", "[") for path in paths)


def spec_hash(deployment: Object) -> str:
    """Of the whole spec as the API has it, but for the number of replicas."""
    return template_hash(_without_replicas(deployment))


def _of_deployment(wanted: Object, found: Object) -> Iterator[Path]:
    ours, theirs = wanted["metadata"], found["metadata"]
    for field in ("ownerReferences", "finalizers"):
        yield from _differ(ours.get(field) or [], theirs.get(field) or [], ("metadata", field))
    said, says = ours.get("annotations") or {}, theirs.get("annotations") or {}
    if said.get(TEMPLATE) != says.get(TEMPLATE):
        yield ("metadata", "annotations", TEMPLATE)
    if _ROLL_BACK in says:
        yield ("metadata", "annotations", _ROLL_BACK)
    yield from _differ(_without_replicas(wanted), _without_replicas(found), ("spec",))


def _without_replicas(deployment: Object) -> dict[str, Any]:
    return {field: value for field, value in deployment["spec"].items() if field != "replicas"}


def _differ(wanted: Any, found: Any, path: Path) -> Iterator[Path]:
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for field in sorted({*wanted, *found}):
            here = (*path, field)
            if field not in found:
                # The API leaves an empty text or list away; False and 0 say something.
                if not (wanted[field] is None or wanted[field] in ("", [], {})):
                    yield here
            elif field not in wanted:
                if not _is_default(field, found[field], wanted):
                    yield here
            else:
                yield from _differ(wanted[field], found[field], here)
    elif isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        if len(wanted) != len(found):
            yield path
            return
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _differ(one, other, (*path, _item(one, number)))
    elif not _is_same(wanted, found, path):
        yield path


def _is_default(field: str, value: Any, beside: Mapping[str, Any]) -> bool:
    if value is None:
        return True
    if field == "serviceAccount":  # the deprecated alias
        return bool(value == beside.get("serviceAccountName"))
    return value in _DEFAULTS.get(field, ())


def _is_same(wanted: Any, found: Any, path: Path) -> bool:
    # In Python True is 1. And the API server rewrites quantities: `0.5` is `500m`.
    if type(wanted) is type(found) and wanted == found:
        return True
    is_quantity = path[-1] in ("sizeLimit", "divisor") or (
        path[-3:-2] == ("resources",) and path[-2] in ("requests", "limits")
    )
    if not is_quantity or not isinstance(wanted, str) or not isinstance(found, str):
        return False
    amount = parse_quantity(wanted)
    return amount is not None and amount == parse_quantity(found)


def _item(item: Any, number: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"[{name or number}]"
