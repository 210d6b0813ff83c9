"""What a shell is derived from, read from the cluster for one app. A gateway's account may read no more."""

import asyncio
from collections.abc import Mapping, Sequence

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings
from stagedoor.shells.kubernetes.derive.images import running_digests, selector_text
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive
from stagedoor.shells.kubernetes.ports import Cluster


async def derived_now(
    cluster: Cluster, app: Object, settings: AppSettings, kit: Kit
) -> Derived | WrongSettings:
    """The shell of `app` by what the API says now of its pods and claims. Raises ClusterError."""
    namespace = app["metadata"]["namespace"]
    pods, claims = await asyncio.gather(
        cluster.list(Kind.POD, namespace, selector_text(app["spec"]["selector"])),
        _claims(cluster, namespace, app),
    )
    return derive(app, settings, kit, digests=running_digests(app, pods), claims=claims)


async def _claims(cluster: Cluster, namespace: str, app: Object) -> Mapping[str, Sequence[str]]:
    """The access modes of the claims that the app's pods have."""
    volumes = app["spec"]["template"]["spec"].get("volumes") or ()
    named = [one["persistentVolumeClaim"]["claimName"] for one in volumes if _is_claim(one)]
    found = await asyncio.gather(
        *(cluster.get(Kind.PERSISTENT_VOLUME_CLAIM, namespace, name) for name in named)
    )
    return {
        name: tuple((claim.get("spec") or {}).get("accessModes") or ())
        for name, claim in zip(named, found, strict=True)
        if claim is not None
    }


def _is_claim(volume: Object) -> bool:
    return bool((volume.get("persistentVolumeClaim") or {}).get("claimName"))
