"""The reads for the derivation of one app's shell. A gateway's account has the rights for these only."""

import asyncio
from collections.abc import Mapping, Sequence

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings
from stagedoor.shells.kubernetes.derive.images import running_digests, selector_text
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive
from stagedoor.shells.kubernetes.ports import Cluster


async def derive_now(
    cluster: Cluster, app: Object, settings: AppSettings, kit: Kit
) -> Derived | WrongSettings:
    """Derive the shell of `app` with its pods and claims as the API has them now. Raises ClusterError."""
    namespace = app["metadata"]["namespace"]
    pods, claims = await asyncio.gather(
        cluster.list(Kind.POD, namespace, selector_text(app["spec"]["selector"])),
        _claims(cluster, namespace, app),
    )
    return derive(app, settings, kit, digests=running_digests(app, pods), claims=claims)


async def _claims(cluster: Cluster, namespace: str, app: Object) -> Mapping[str, Sequence[str]]:
    """Read the access modes of the claims in the app's template, by the claim's name."""
    volumes = app["spec"]["template"]["spec"].get("volumes") or ()
    names = [
        volume["persistentVolumeClaim"]["claimName"] for volume in volumes if _is_claim(volume)
    ]
    claims = await asyncio.gather(
        *(cluster.get(Kind.PERSISTENT_VOLUME_CLAIM, namespace, name) for name in names)
    )
    return {
        name: tuple((claim.get("spec") or {}).get("accessModes") or ())
        for name, claim in zip(names, claims, strict=True)
        if claim is not None
    }


def _is_claim(volume: Object) -> bool:
    return bool((volume.get("persistentVolumeClaim") or {}).get("claimName"))
