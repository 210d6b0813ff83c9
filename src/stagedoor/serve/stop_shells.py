"""`stagedoor controller --stop-shells`: the first step of an uninstall."""

import asyncio
from collections.abc import Callable

from stagedoor.admin.kubernetes import cluster_of, election_of, replica
from stagedoor.controller.guard import LeaderOnly
from stagedoor.controller.stop import stop_all
from stagedoor.kube.lease import Timing
from stagedoor.model.cluster import ClusterError
from stagedoor.model.errors import StagedoorError
from stagedoor.settings.settings import Settings
from stagedoor.store.liveness.instances import new_instance_id


async def stop_shells(settings: Settings, report: Callable[[str], None]) -> None:
    """Take the controllers' Lease, so that none starts a shell again, and stop all shells of the settings.

    `report` is called with one line for each step or problem. The Lease is not released: controllers that
    still run resume their work once it expires. Raises StagedoorError.
    """

    def problem(_: str, text: str | None) -> None:
        if text is not None:
            report(text)

    wanted = settings.kubernetes
    identity = f"{replica()}-{new_instance_id()}"
    cluster = cluster_of(settings, "stagedoor-controller", identity, problem)
    timing = Timing()
    election = election_of(
        settings, cluster, identity, lambda text: problem("", text), timing=timing, seizes=True
    )

    async def work() -> None:
        await asyncio.sleep(timing.renew_within_s)  # until then the previous leader may still write
        namespaces = (*wanted.namespaces.values(), *wanted.leaving)
        await stop_all(LeaderOnly(cluster, lambda: election.leads), namespaces, report)

    try:
        await election.run(work)
    except ClusterError as error:
        raise StagedoorError(f"the shells could not be stopped: {error.message}") from error
    finally:
        await cluster.close()
