"""The checks of a cluster's API: whether it can be reached, and the rights of this account."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence

from stagedoor.admin.kubernetes import cluster_of, kit_of, replica
from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import ClusterError
from stagedoor.settings.kubernetes import CONTROLLER_LEASE
from stagedoor.settings.settings import Settings
from stagedoor.wire.finding import Finding, fail, ok

ANSWER_S = 10.0
AT_ONCE = 8
"""The most requests at the same time."""
_READ = ("get", "list", "watch")
_LEASES = "leases.coordination.k8s.io"
GATEWAY: Mapping[str, Sequence[str]] = {
    "deployments.apps": _READ,
    "statefulsets.apps": _READ,
    "replicasets.apps": _READ,
    "pods": _READ,
    "pods/log": ("get",),
    "persistentvolumeclaims": ("get",),
    "endpointslices.discovery.k8s.io": _READ,
    "events.events.k8s.io": _READ,
    _LEASES: (*_READ, "create", "patch", "update"),
    "daemonsets.apps": ("list",),
    "cronjobs.batch": ("list",),
    "networkpolicies.networking.k8s.io": ("list",),
}
"""The rights that a gateway needs in an app's namespace; the chart's Role has the same."""
CONTROLLER: Mapping[str, Sequence[str]] = {
    "deployments.apps": ("create", "patch", "delete"),
    "pods": ("patch",),
    "persistentvolumeclaims": ("list", "watch"),
    "services": (*_READ, "create", "patch", "delete"),
    "configmaps": (*_READ, "create", "patch", "delete"),
    "secrets": ("create", "patch", "delete"),
    "events.events.k8s.io": ("create", "patch"),
    _LEASES: ("delete",),
}
"""The further rights that a controller needs there."""
REGISTER = ("patch", "configmaps", "stagedoor-apps")
REVIEW = ("create", "subjectaccessreviews.authorization.k8s.io", "")
Right = tuple[str, str, str]
"""A verb, a resource, and an object's name; "" is any object."""


def cluster_findings(settings: Settings) -> Sequence[Finding]:
    """Check the rights in every namespace that the settings name. Raises SettingsError. Blocks."""
    return asyncio.run(_check(settings))


def rights(settings: Settings) -> Iterator[Right]:
    """Yield the rights that a gateway with these settings needs in an app's namespace."""
    yield from ((verb, resource, "") for resource, verbs in GATEWAY.items() for verb in verbs)
    if settings.kubernetes.controller:
        yield from (
            (verb, resource, "") for resource, verbs in CONTROLLER.items() for verb in verbs
        )
    if settings.kubernetes.register:
        yield REGISTER


async def _check(settings: Settings) -> Sequence[Finding]:
    cluster = cluster_of(settings, "stagedoor-doctor", replica(), lambda part, problem: None)
    wanted = list(rights(settings))
    namespaces = settings.kubernetes.namespaces.values()
    try:
        findings = [await _rights(cluster, namespace, wanted) for namespace in namespaces]
        if settings.kubernetes.authorise:
            findings.append(await _rights(cluster, "", [REVIEW]))
        if settings.kubernetes.controller:
            own = settings.controller.namespace or os.environ.get("POD_NAMESPACE")
            leads = [
                ("create", _LEASES, ""),
                *((verb, _LEASES, CONTROLLER_LEASE) for verb in ("get", "patch")),
            ]
            findings.append(await _rights(cluster, own or cluster.namespace, leads))
    finally:
        await cluster.close_connections()
    kit = kit_of(settings)
    if kit is not None:
        findings.append(ok(f"shells get the kit {kit.image}"))
    elif settings.kubernetes.controller:
        findings.append(
            fail("controller.kit_image is not set", "name the image of deploy/kit there")
        )
    return findings


async def _rights(cluster: KubeCluster, namespace: str, wanted: Sequence[Right]) -> Finding:
    place = namespace or "the cluster"
    turn = asyncio.Semaphore(AT_ONCE)

    async def lacks(right: Right) -> bool:
        verb, resource, name = right
        async with turn:
            return not await cluster.may_i(namespace, verb, resource, name)

    try:
        async with asyncio.timeout(ANSWER_S):
            # All requests end here, so that no connection outlives the loop.
            answers = await asyncio.gather(*map(lacks, wanted), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
    except (ClusterError, TimeoutError) as error:
        why = error.message if isinstance(error, ClusterError) else f"no answer in {ANSWER_S:g} s"
        fix = "check kubernetes.kubeconfig, and whether the API answers: kubectl get --raw /readyz"
        return fail(f"{place}: the cluster cannot be asked: {why}", fix)
    missing = dict.fromkeys(
        f"{verb} {resource}{f' {name}' if name else ''}"
        for (verb, resource, name), is_missing in zip(wanted, answers, strict=True)
        if is_missing
    )
    if not missing:
        return ok(f"{place}: this account has the {len(wanted)} rights that it needs")
    return fail(
        f"{place}: this account may not {', '.join(missing)}",
        f"give it the rules of the chart's Role in {place}: kubectl auth can-i --list shows what it has",
    )
