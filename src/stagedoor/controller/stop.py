"""Stop every shell of some namespaces, even with people inside: before what fences them goes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.shells.kubernetes.live.namespace_cache import shell_of
from stagedoor.shells.kubernetes.names import SHELL_OF, shell_object
from stagedoor.shells.kubernetes.ports import Cluster

AGAIN_S = 1.0
_FOUND_BY = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP, Kind.LEASE)
_REMOVED = (Kind.DEPLOYMENT, Kind.SECRET, Kind.SERVICE, Kind.CONFIG_MAP, Kind.LEASE)


async def stop_all(
    cluster: Cluster, namespaces: Iterable[str], tell: Callable[[str], None]
) -> None:
    """Delete all that belongs to shells, and return when the last of their pods is gone.

    Who is inside has the grace of the shell's pod. `tell` gets a line whenever something else is waited
    for. No controller may work meanwhile. Raises ClusterError when the cluster refuses; while it does not
    answer, it is asked again.
    """
    told = ""
    spaces = tuple(namespaces)
    while True:
        try:
            left = [pod for space in spaces for pod in await _removed(cluster, space)]
        except ClusterError as error:
            if not error.retry:
                raise
            waits_for = f"the cluster: {error.message}"
        else:
            if not left:
                return
            waits_for = f"the sessions in {', '.join(sorted(left))} to end"
        if waits_for != told:
            told = waits_for
            tell(f"waiting for {waits_for}")
        await asyncio.sleep(AGAIN_S)


async def _removed(cluster: Cluster, namespace: str) -> Sequence[str]:
    """Delete once; the pods that are left, as `namespace/name`."""
    apps = set()
    for kind in _FOUND_BY:
        apps |= {shell_of(one) for one in await cluster.list(kind, namespace, SHELL_OF)}
    for app in apps - {None}:
        for kind in _REMOVED:
            await cluster.delete(kind, namespace, shell_object(str(app)))
    pods = await cluster.list(Kind.POD, namespace, SHELL_OF)
    return [f"{namespace}/{pod['metadata']['name']}" for pod in pods]
