"""`stagedoor controller --stop-shells`: the first step of an uninstall."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from stagedoor.admin.kubernetes import build_election, connect_cluster, find_replica_name
from stagedoor.controller.loop import LeaderOnly
from stagedoor.kube.lease import Timing
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import MINUTE_S
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.live.access import may_write
from stagedoor.shells.kubernetes.live.mirror import find_shell_app, list_everywhere
from stagedoor.shells.kubernetes.names import SHELL_OF, make_shell_name
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.store.liveness.instances import make_instance_id

TIMING = Timing(lease_s=MINUTE_S)
"""For a minute after this has ended or was replaced, the controllers start no shell: if Helm has given up
meanwhile, the next uninstall finds nothing left to wait for. It is not longer, because a new installation
waits for it too."""


async def stop_shells(settings: Settings, report: Callable[[str], None]) -> None:
    """Take the controllers' Lease, so that none starts a shell again, and stop all shells in the settings.

    `report` is called with one line for each step or problem. The Lease is not released: controllers that
    still run resume their work once it expires (`TIMING`). Raises StagedoorError.
    """

    def problem(_: str, text: str | None) -> None:
        if text is not None:
            report(text)

    wanted = settings.kubernetes
    identity = f"{find_replica_name()}-{make_instance_id()}"
    cluster = connect_cluster(settings, "stagedoor-controller", identity, problem)
    election = build_election(
        settings, cluster, identity, lambda text: problem("", text), timing=TIMING, seizes=True
    )

    async def work() -> None:
        await asyncio.sleep(TIMING.renew_within_s)  # until then the previous leader may still write
        leader = LeaderOnly(cluster, lambda: election.leads)
        namespaces = (*wanted.namespaces.values(), *wanted.leaving)
        if wanted.namespace_selector is not None:
            namespaces = await _find_shells(leader)
        await stop_all(leader, namespaces, report)

    try:
        await election.run(work)
    except ClusterError as error:
        raise StagedoorError(f"the shells could not be stopped: {error.message}") from error
    finally:
        await cluster.close_connections()


async def _find_shells(cluster: Cluster) -> tuple[str, ...]:
    """Return the namespaces with shells where this account may write, and so of this installation."""
    leases = await cluster.list(Kind.LEASE, "", SHELL_OF)
    names = {str(lease["metadata"]["namespace"]) for lease in leases}
    return tuple([name for name in sorted(names) if await may_write(cluster, name)])


POLL_S = 1.0
_LISTED = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP, Kind.LEASE)
_REMOVED = (Kind.DEPLOYMENT, Kind.SECRET, Kind.SERVICE, Kind.CONFIG_MAP, Kind.LEASE)


async def stop_all(
    cluster: Cluster, namespaces: Iterable[str], report: Callable[[str], None]
) -> None:
    """Delete all objects of shells, and return when the last of their pods is gone.

    Sessions have the grace period of the shell's pod to end. `report` is called with a line whenever it
    begins to wait for something else. No controller may run meanwhile. While the cluster does not answer, the
    deletion is repeated. Raises ClusterError if the cluster refuses it.
    """
    reported = ""
    names = tuple(namespaces)
    while True:
        try:
            left = await _remove(cluster, names)
        except ClusterError as error:
            if not error.retry:
                raise
            waits_for = f"the cluster: {error.message}"
        else:
            if not left:
                return
            waits_for = f"the sessions in {', '.join(sorted(left))} to end"
        if waits_for != reported:
            reported = waits_for
            report(f"waiting for {waits_for}")
        await asyncio.sleep(POLL_S)


async def _remove(cluster: Cluster, namespaces: Collection[str]) -> Sequence[str]:
    """Delete all objects of shells once. Return the pods that are left, as `namespace/name`."""
    shells = set()
    for kind in _LISTED:
        for item in await list_everywhere(cluster, kind, namespaces, SHELL_OF):
            if (app := find_shell_app(item)) is not None:
                shells.add((item["metadata"]["namespace"], app))
    for namespace, app in shells:
        for kind in _REMOVED:
            await cluster.delete(kind, namespace, make_shell_name(app))
    pods = await list_everywhere(cluster, Kind.POD, namespaces, SHELL_OF)
    return [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in pods]
