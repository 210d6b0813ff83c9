"""The checks of a cluster's API: reachable, and what this account may do there."""

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
"""Questions that are open at the same time."""
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
"""What a gateway does in an app's namespace; the chart's Role has the same."""
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
"""What a controller does there besides."""
REGISTER = ("patch", "configmaps", "stagedoor-apps")
REVIEW = ("create", "subjectaccessreviews.authorization.k8s.io", "")
Right = tuple[str, str, str]
"""Verb, resource and the object's name, "" for any."""


def cluster_findings(settings: Settings) -> Sequence[Finding]:
    """Of every namespace that the settings name. Raises SettingsError. Blocks."""
    return asyncio.run(_look(settings))


def rights(settings: Settings) -> Iterator[Right]:
    """What a gateway with these settings does in an app's namespace."""
    yield from ((verb, resource, "") for resource, verbs in GATEWAY.items() for verb in verbs)
    if settings.kubernetes.controller:
        yield from (
            (verb, resource, "") for resource, verbs in CONTROLLER.items() for verb in verbs
        )
    if settings.kubernetes.register:
        yield REGISTER


async def _look(settings: Settings) -> Sequence[Finding]:
    cluster = cluster_of(settings, "stagedoor-doctor", replica(), lambda part, problem: None)
    wanted = list(rights(settings))
    namespaces = settings.kubernetes.namespaces.values()
    try:
        found = [await _rights(cluster, namespace, wanted) for namespace in namespaces]
        if settings.kubernetes.authorise:
            found.append(await _rights(cluster, "", [REVIEW]))
        if settings.kubernetes.controller:
            own = settings.controller.namespace or os.environ.get("POD_NAMESPACE")
            leads = [
                ("create", _LEASES, ""),
                *((verb, _LEASES, CONTROLLER_LEASE) for verb in ("get", "patch")),
            ]
            found.append(await _rights(cluster, own or cluster.namespace, leads))
    finally:
        await cluster.close()
    kit = kit_of(settings)
    if kit is not None:
        found.append(ok(f"shells get the kit {kit.image}"))
    elif settings.kubernetes.controller:
        found.append(fail("controller.kit_image is not set", "name the image of deploy/kit there"))
    return found


async def _rights(cluster: KubeCluster, namespace: str, wanted: Sequence[Right]) -> Finding:
    place = namespace or "the cluster"
    turn = asyncio.Semaphore(AT_ONCE)

    async def lacks(right: Right) -> bool:
        verb, resource, name = right
        async with turn:
            return not await cluster.may_i(namespace, verb, resource, name)

    try:
        async with asyncio.timeout(ANSWER_S):
            # All of them end here, so that no connection outlives the loop.
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
