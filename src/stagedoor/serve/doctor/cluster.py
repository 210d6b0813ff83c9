"""The checks of a cluster's API: whether it can be reached, and the rights of this account."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from stagedoor.admin.kubernetes import (
    connect_cluster,
    find_replica_name,
    list_namespaces,
    read_kit,
)
from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.errors import SettingsError
from stagedoor.serve.doctor.judge import join_apps
from stagedoor.settings.kubernetes import CONTROLLER_LEASE
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.live.namespace_cache import find_port
from stagedoor.shells.kubernetes.live.namespace_directory import (
    NamespaceDecision,
    NamespaceSelector,
    choose_namespaces,
)
from stagedoor.shells.kubernetes.names import RESUME_PORT_NAME, SHELL_OF
from stagedoor.wire.finding import Finding, Level, fail, ok, warn

ANSWER_S = 10.0
MAX_NAMESPACES = 20
"""The most namespaces in which rights are checked: each takes a dozen requests."""
MAX_CONCURRENT = 8
"""The most requests at the same time."""
_WATCH = ("list", "watch")
_WRITE = ("create", "patch", "delete")
_LEASES = "leases.coordination.k8s.io"
Rights = Mapping[str, Sequence[str]]
"""Verbs by resource."""
GATEWAY_READS: Rights = {
    "deployments.apps": _WATCH,
    "statefulsets.apps": _WATCH,
    "replicasets.apps": _WATCH,
    "pods": _WATCH,
    _LEASES: _WATCH,
    "daemonsets.apps": ("list",),
    "cronjobs.batch": ("list",),
    "networkpolicies.networking.k8s.io": ("list",),
}
"""The rights that a gateway needs in the whole cluster or in each app's namespace, as in the chart."""
GATEWAY: Rights = {
    "deployments.apps": ("get",),
    "statefulsets.apps": ("get",),
    "jobs.batch": ("get",),
    "secrets": ("create",),
    "pods/log": ("get",),
    "persistentvolumeclaims": ("get",),
    "events.events.k8s.io": ("list",),
    _LEASES: ("get", "create", "patch", "update"),
}
"""The further rights that it needs in each app's namespace, as in the chart's Role."""
CONTROLLER_READS: Rights = {"configmaps": _WATCH, "jobs.batch": _WATCH}
"""The further rights that a controller needs in the same places as GATEWAY_READS."""
CONTROLLER: Rights = {
    "deployments.apps": _WRITE,
    "jobs.batch": _WRITE,
    "pods": ("patch",),
    "services": _WRITE,
    "configmaps": _WRITE,
    "secrets": _WRITE,
    "events.events.k8s.io": ("create", "patch"),
    _LEASES: ("delete",),
}
"""The further rights that it needs in each app's namespace."""
REGISTER = ("patch", "configmaps", "stagedoor-apps")
REVIEW = ("create", "subjectaccessreviews.authorization.k8s.io", "")
Right = tuple[str, str, str]
"""A verb, a resource, and an object's name; "" is any object."""


def check_cluster(settings: Settings) -> Sequence[Finding]:
    """Check the rights in every namespace that the settings name. Raises SettingsError. Blocks."""
    return asyncio.run(_check(settings))


def _list_rights(*tables: Rights) -> Iterator[Right]:
    for table in tables:
        yield from ((verb, resource, "") for resource, verbs in table.items() for verb in verbs)


async def _check(settings: Settings) -> Sequence[Finding]:
    cluster = connect_cluster(
        settings, "stagedoor-doctor", find_replica_name(), lambda part, problem: None
    )
    controls = settings.kubernetes.controller
    reads = list(_list_rights(GATEWAY_READS, *((CONTROLLER_READS,) if controls else ())))
    if settings.kubernetes.namespace_selector is not None:
        reads += _list_rights({"namespaces": _WATCH})
    wanted = list(_list_rights(GATEWAY, *((CONTROLLER,) if controls else ())))
    if settings.kubernetes.register:
        wanted.append(REGISTER)
    try:
        everywhere = await _check_rights(cluster, "", reads)
        if everywhere.level is Level.OK:
            findings = [everywhere]
        else:
            findings, wanted = [], reads + wanted
        choice = await _choose(cluster, settings)
        findings += await _check_namespaces(cluster, settings, choice, wanted)
        if settings.tunnel.resume_s:
            findings += await check_endpoints(cluster, choice.by_environment.values())
        if settings.kubernetes.authorise:
            findings.append(await _check_rights(cluster, "", [REVIEW]))
        if controls:
            own = settings.controller.namespace or os.environ.get("POD_NAMESPACE")
            leads = [
                ("create", _LEASES, ""),
                *((verb, _LEASES, CONTROLLER_LEASE) for verb in ("get", "patch")),
            ]
            findings.append(await _check_rights(cluster, own or cluster.namespace, leads))
    finally:
        await cluster.close_connections()
    kit = read_kit(settings)
    if kit is not None:
        findings.append(ok(f"shells get the kit {kit.image}"))
    elif controls:
        findings.append(
            fail("controller.kit_image is not set", "set it to the image of deploy/kit")
        )
    return findings


async def _check_namespaces(
    cluster: KubeCluster, settings: Settings, choice: NamespaceDecision, wanted: Sequence[Right]
) -> Sequence[Finding]:
    """Say which namespaces are served, and check the rights in the first of them."""
    served = choice.by_environment
    findings = []
    if (labels := settings.kubernetes.namespace_selector) is not None:
        findings.append(ok(f"{labels} selects namespaces: {len(served)} are served"))
    for name, why in choice.refused.items():
        findings.append(warn(f"the namespace {name} is not served: {why}", "mend its labels"))
    findings += [
        await _check_rights(cluster, namespace, wanted)
        for namespace in islice(served.values(), MAX_NAMESPACES)
    ]
    if (more := len(served) - MAX_NAMESPACES) > 0:
        findings.append(ok(f"{more} more namespaces were not checked: see stagedoor status"))
    return findings


async def _choose(cluster: KubeCluster, settings: Settings) -> NamespaceDecision:
    """Return the namespaces that are served. Raises SettingsError if they cannot be listed."""
    wanted = list_namespaces(settings)
    if not isinstance(wanted, NamespaceSelector):
        return NamespaceDecision(wanted, {})
    try:
        return choose_namespaces(await cluster.list(Kind.NAMESPACE, "", wanted.labels), wanted.own)
    except ClusterError as error:
        raise SettingsError(f"the namespaces cannot be listed: {error.message}") from error


async def check_endpoints(cluster: KubeCluster, namespaces: Iterable[str]) -> list[Finding]:
    """Name the apps in the first namespaces whose running shells do not keep their tunnels."""
    pods: list[Object] = []
    with suppress(ClusterError):  # the rights say why
        for namespace in islice(namespaces, MAX_NAMESPACES):
            pods += await cluster.list(Kind.POD, namespace, SHELL_OF)
    without = (pod for pod in pods if find_port(pod, RESUME_PORT_NAME) is None)
    apps = {pod["metadata"]["labels"][SHELL_OF] for pod in without}
    if not apps:
        return []
    return [
        warn(
            f"the gateway keeps the tunnels of shells with an older kit: {join_apps(apps)}",
            "let them stop: the next start brings the new kit",
        )
    ]


async def _check_rights(cluster: KubeCluster, namespace: str, wanted: Sequence[Right]) -> Finding:
    place = namespace or "the cluster"
    turn = asyncio.Semaphore(MAX_CONCURRENT)

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
        return fail(f"{place}: the cluster cannot be queried: {why}", fix)
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
