"""The checks of a cluster's API: reachable, and what this account may look at."""

import asyncio
from collections.abc import Sequence

from stagedoor.admin.kubernetes import cluster_of, kit_of, replica
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.finding import Finding, fail, ok
from stagedoor.settings.settings import Settings

ANSWER_S = 10.0
LOOKED_AT = (Kind.DEPLOYMENT, Kind.POD)


def cluster_findings(settings: Settings) -> Sequence[Finding]:
    """Of every namespace that the settings name. Raises SettingsError. Blocks."""
    return asyncio.run(_look(settings))


async def _look(settings: Settings) -> Sequence[Finding]:
    cluster = cluster_of(settings, "stagedoor-doctor", replica(), lambda part, problem: None)
    found = []
    try:
        for namespace in settings.kubernetes.namespaces.values():
            for kind in LOOKED_AT:
                try:
                    async with asyncio.timeout(ANSWER_S):
                        listed = await cluster.list(kind, namespace)
                except (ClusterError, TimeoutError) as error:
                    why = error.message if isinstance(error, ClusterError) else "no answer"
                    fix = (
                        "the chart's roles have the right; check kubernetes.kubeconfig and the API"
                    )
                    found.append(fail(f"{kind} of {namespace} cannot be listed: {why}", fix))
                else:
                    found.append(ok(f"{namespace} has {len(listed)} {kind}"))
    finally:
        await cluster.close()
    kit = kit_of(settings)
    if kit is not None:
        found.append(ok(f"shells get the kit {kit.image}"))
    elif settings.kubernetes.controller:
        found.append(fail("controller.kit_image is not set", "name the image of deploy/kit there"))
    return found
