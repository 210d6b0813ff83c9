"""Shells on Kubernetes, opened by the settings.

Import it only if the settings name a cluster: its libraries are an extra (`kubernetes`).
"""

import asyncio
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.election import Election
from stagedoor.kube.kubeconfig import load
from stagedoor.kube.lease import Timing
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.errors import SettingsError
from stagedoor.settings.kubernetes import CONTROLLER_LEASE
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.kit import Kit, KitSource
from stagedoor.shells.kubernetes.derive.values import WrongValueError, read_resources
from stagedoor.shells.kubernetes.live.bounds import ShellBounds
from stagedoor.shells.kubernetes.live.leader import LeaderReport, read_report
from stagedoor.shells.kubernetes.live.namespace_directory import Namespaces, NamespaceSelector
from stagedoor.shells.kubernetes.live.register import DeriveContext
from stagedoor.shells.kubernetes.live.rights import ClusterAccess
from stagedoor.shells.kubernetes.live.runs.runner import FindRuns, KubernetesRunner
from stagedoor.shells.kubernetes.names import FIELD_MANAGER

OnProblem = Callable[[str, str | None], None]
"""Called with the name of a part and why it fails, or None when it works again."""


def list_namespaces(settings: Settings) -> Namespaces:
    """Return the namespaces with apps: those of the settings, or the selector of those that have a label."""
    labels = settings.kubernetes.namespace_selector
    if labels is None:
        return settings.kubernetes.by_environment
    own = settings.controller.namespace or os.environ.get("POD_NAMESPACE")
    return NamespaceSelector(labels, own or "")


def find_replica_name() -> str:
    """Return the name of this machine or pod among the gateway's replicas."""
    return os.environ.get("POD_NAME") or platform.node() or "localhost"


def connect_cluster(
    settings: Settings, component: str, instance: str, on_problem: OnProblem
) -> KubeCluster:
    """Return the cluster that the settings name. Raises SettingsError."""
    access = load(settings.kubernetes.kubeconfig)
    return KubeCluster(
        access,
        field_manager=FIELD_MANAGER,
        component=component,
        instance=instance,
        on_problem=on_problem,
    )


@asynccontextmanager
async def open_cluster(settings: Settings) -> AsyncIterator[KubeCluster]:
    """Connect a command to the cluster that the settings name. Raises SettingsError."""
    cluster = connect_cluster(
        settings, "stagedoor", find_replica_name(), lambda part, problem: None
    )
    try:
        yield cluster
    finally:
        await cluster.close_connections()


def build_election(
    settings: Settings,
    cluster: KubeCluster,
    identity: str,
    on_problem: Callable[[str | None], None],
    *,
    timing: Timing | None = None,
    seizes: bool = False,
    annotations: Callable[[], Mapping[str, str | None]] = dict,
) -> Election:
    """Return the election of the leading controller; `seizes` and `annotations` as `Election` has them."""
    return Election(
        cluster.with_priority(),
        _lease_namespace(settings, cluster),
        CONTROLLER_LEASE,
        identity,
        on_problem=on_problem,
        timing=timing,
        seizes=seizes,
        annotations=annotations,
    )


async def report_leader(settings: Settings, within_s: float) -> LeaderReport | str:
    """Return which controller leads and the namespaces it serves, or why the cluster did not answer.

    It waits at most `within_s` seconds.
    """
    try:
        async with open_cluster(settings) as cluster, asyncio.timeout(within_s):
            return await read_leader(settings, cluster.with_priority())
    except ClusterError as error:
        return error.message
    except TimeoutError:
        return f"no answer of the Kubernetes API in {within_s:g} s"


async def read_leader(
    settings: Settings, cluster: KubeCluster, now: Callable[[], float] = time.time
) -> LeaderReport:
    """Return which controller leads, and the namespaces it serves. Raises ClusterError."""
    namespace = _lease_namespace(settings, cluster)
    return read_report(await cluster.get(Kind.LEASE, namespace, CONTROLLER_LEASE), now())


def _lease_namespace(settings: Settings, cluster: KubeCluster) -> str:
    namespace = settings.controller.namespace or os.environ.get("POD_NAMESPACE")
    return namespace or cluster.namespace


def build_shells(settings: Settings, instance: str, on_problem: OnProblem) -> KubernetesShells:
    """Return the gateway's shells in the running event loop. The caller starts them. Raises SettingsError."""
    holder = f"{find_replica_name()}/{instance}"
    cluster = connect_cluster(settings, "stagedoor-gateway", holder, on_problem)
    authorise = settings.kubernetes.authorise
    return KubernetesShells(
        cluster,
        list_namespaces(settings),
        holder,
        rights=ClusterAccess(cluster, authorise) if authorise else None,
        context=_derive_context(settings),
        bounds=ShellBounds(
            settings.kubernetes.shells_per_user, settings.kubernetes.shells_per_namespace
        ),
        on_problem=on_problem,
    )


def build_runner(
    settings: Settings,
    shells: KubernetesShells,
    find_runs: FindRuns,
    instance: str,
    on_problem: OnProblem,
) -> KubernetesRunner:
    """Return the runner of the cluster, in the running event loop. The caller runs it.

    Raises SettingsError.
    """
    holder, kit = f"{find_replica_name()}/{instance}", read_kit(settings)
    return KubernetesRunner(
        connect_cluster(settings, "stagedoor-runs", holder, on_problem),
        shells.directory,
        shells.has_target,
        find_runs,
        settings.data_dir / "cluster-runs",
        holder,
        _derive_context(settings),
        () if kit is None else kit.run_sizes,
    )


def _derive_context(settings: Settings) -> DeriveContext | None:
    kit = read_kit(settings)
    if not settings.kubernetes.register or kit is None:
        return None
    return DeriveContext(kit, read_defaults(settings))


def read_kit(settings: Settings) -> Kit | None:
    """Return the kit for shells, or None if the settings name none. Raises SettingsError."""
    controller = settings.controller
    if controller.kit_image is None:
        return None
    try:
        amounts = controller.kit_resources and read_resources(json.dumps(controller.kit_resources))
    except WrongValueError as error:
        raise SettingsError(f"controller.kit_resources: {error}") from None
    try:
        sizes = {
            name: read_resources(json.dumps(amounts))
            for name, amounts in controller.run_sizes.items()
        }
    except WrongValueError as error:
        raise SettingsError(f"controller.run_sizes: {error}") from None
    return Kit(
        controller.kit_image,
        KitSource(controller.kit_way),
        amounts or None,
        controller.pod_labels,
        controller.pod_annotations,
        controller.priority_class,
        controller.kit_uid or None,
        controller.app_labels,
        run_sizes=sizes,
        installation=controller.installation,
    )


def read_defaults(settings: Settings) -> AppSettings:
    """Return the settings of an app without annotations."""
    controller = settings.controller
    return AppSettings(
        idle_stop_s=controller.idle_stop_s,
        idle_delete_s=controller.idle_delete_s,
        tmux_grace_s=controller.tmux_grace_s,
        grace_s=controller.grace_s,
        permitted=frozenset(controller.privileges),
    )


def check_settings(settings: Settings) -> None:
    """Check what the settings name, without asking the cluster. Raises SettingsError."""
    load(settings.kubernetes.kubeconfig)
    read_kit(settings)
    if settings.kubernetes.controller and settings.controller.kit_image is None:
        raise SettingsError(
            "kubernetes.controller needs controller.kit_image, the image with sshd for the shells "
            "(deploy/kit builds it)"
        )
    if settings.kubernetes.register and settings.controller.kit_image is None:
        raise SettingsError(
            "kubernetes.register needs controller.kit_image and the rest of [controller] as the "
            "controller has it: the gateway lets only those shells start that it would make too"
        )
