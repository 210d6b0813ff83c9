"""The controller's writes, which create and remove a shell's objects in a fixed order.

The lease is created first and deleted last, and the ConfigMap is next. So the lease or at least the ConfigMap
shows that a controller which died half-way has left objects behind. The app owns all objects.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from stagedoor.controller.mirrors import hash_config
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.grant import Admission
from stagedoor.model.target import Target
from stagedoor.shells.authorized import decide_keys_end
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.compare import find_differences, read_spec_hash
from stagedoor.shells.kubernetes.derive.shell import Derived, with_replicas
from stagedoor.shells.kubernetes.names import (
    CONFIG_HASH,
    IMAGE_NAME,
    KEYS_UNTIL,
    REGISTER,
    SPEC,
    make_shell_name,
)
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.wire.rfc3339 import show_time

APPROVAL_S = (0.02, 0.04, 0.08, 0.16, 0.32, *[0.5] * 14)
"""Seconds to wait after the cluster's admission policy has refused a start, because a gateway has to approve
the Deployment first, which takes about 50 ms."""

NewHostKey = Callable[[tuple[str, ...]], tuple[bytes, str]]
"""Makes a host key with a certificate for some names. Returns OpenSSH's private key text and the
certificate's line."""


class StepError(Exception):
    """Raised for a refused write. `step` describes the write, and `error` is the API's reason."""

    def __init__(self, step: str, error: ClusterError) -> None:
        super().__init__(f"{step}: {error.message}")
        self.step = step
        self.error = error


@contextmanager
def _step(step: str) -> Iterator[None]:
    """Raise StepError for a ClusterError in the block."""
    try:
        yield
    except ClusterError as error:
        raise StepError(step, error) from error


async def merge_when_approved(cluster: Cluster, item: Object, patch: Object) -> Object:
    """Patch a Deployment or Job so that it starts, once a gateway has approved it. Raises ClusterError."""
    kind, metadata = Kind(item["kind"]), item["metadata"]
    for wait_s in APPROVAL_S:
        try:
            return await cluster.merge(kind, metadata["namespace"], metadata["name"], patch)
        except ClusterError as error:
            if not is_unapproved(error):
                raise
        await asyncio.sleep(wait_s)
    return await cluster.merge(kind, metadata["namespace"], metadata["name"], patch)


def is_unapproved(error: ClusterError) -> bool:
    """Return whether the cluster's admission policy waits for the approval of a gateway."""
    return error.status == 403 and REGISTER in error.message


@dataclass(frozen=True)
class ShellWriter:
    """A writer of shells' objects, which creates, updates and removes them.

    `admitted` returns the users that the current policy admits to a target; `user_cas` are the public keys of
    the user CAs; `holder` is this replica's name. `now` returns seconds since the epoch.
    """

    cluster: Cluster
    new_host_key: NewHostKey
    admitted: Callable[[Target], Sequence[Admission]]
    user_cas: Sequence[str]
    holder: str
    now: Callable[[], float] = time.time

    async def create_shell(self, app: Object, target: Target, derived: Derived) -> list[Object]:
        """Create a shell with a new host key and one replica.

        Return its Deployment and ConfigMap as the API has them now. Raises StepError.
        """
        until = self.decide_keys_end(None)
        config = self.build_config(app, target, derived.settings, derived.image, until)
        config, _ = await asyncio.gather(
            self._apply("creating the ConfigMap", config),
            self._apply("creating the Service", derived.service),
        )
        key, certificate = await asyncio.to_thread(self.new_host_key, target.principals)
        await self._apply("creating the host key", objects.build_secret(app, key, certificate))
        deployment = await self._apply_without_pods(derived)
        return [await self._start(deployment, derived.image_name, until), config]

    async def _apply_without_pods(self, derived: Derived) -> Object:
        """Apply the Deployment with no replicas, and return it. Raises StepError.

        The admission policy lets a Deployment start only if a gateway has approved it in exactly this form.
        """
        step, manifest = "creating the Deployment", with_replicas(derived.deployment, 0)
        deployment = await self._apply(step, manifest)
        if not find_differences(derived.deployment, deployment):
            return deployment
        meta = deployment["metadata"]
        if meta.get("generation") == 1:
            # The Deployment is new, so the cluster's webhooks made the differences; the admission policy
            # judges them.
            return deployment
        # The differences belong to another field manager: an apply would leave them there for ever.
        with _step("deleting the modified Deployment"):
            if meta.get("finalizers"):
                patch = {"metadata": {"finalizers": None}}
                await self.cluster.merge(Kind.DEPLOYMENT, meta["namespace"], meta["name"], patch)
            await self.cluster.delete(
                Kind.DEPLOYMENT, meta["namespace"], meta["name"], uid=meta["uid"]
            )
        return await self._apply(step, manifest)

    async def _start(self, deployment: Object, image_name: str, until: float) -> Object:
        """Scale the Deployment to one replica once a gateway has approved it, and return it.

        `image_name` is `Derived.image_name`; `until` is when the keys end. Raises StepError.
        """
        annotations = {
            SPEC: read_spec_hash(deployment),
            IMAGE_NAME: image_name,
            KEYS_UNTIL: show_time(until),
        }
        patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": 1}}
        with _step("starting the Deployment"):
            return await merge_when_approved(self.cluster, deployment, patch)

    def decide_keys_end(self, previous_end: float | None) -> float:
        """Return when keys that are written now will end; see `authorized.decide_keys_end`."""
        return decide_keys_end(previous_end, self.now())

    def build_config(
        self,
        app: Object,
        target: Target,
        settings: AppSettings,
        image: str,
        until: float,
        notice: str = "",
    ) -> Object:
        """Return the ConfigMap of a shell that runs `image`, as it should be now; its keys end at `until`."""
        return objects.build_config_map(
            app,
            target,
            settings,
            image,
            self.admitted(target),
            self.user_cas,
            until=until,
            notice=notice,
        )

    def build_keys(
        self, target: Target, *, offered: bool, until: float
    ) -> dict[str, dict[str, str]]:
        """Return only the keys of the ConfigMap, which decide who may log in; none if no shell is offered."""
        return objects.build_keys(self.admitted(target) if offered else (), until)

    async def refresh(self, config: Object, pods: Sequence[Object]) -> Object:
        """Write the ConfigMap, make the kubelet update the pods' files, and return it. Raises StepError."""
        written = await self._apply("updating the ConfigMap", config)
        await self._update_files(pods, hash_config(config))
        return written

    async def refresh_keys(
        self, namespace: str, app: str, keys: Object, pods: Sequence[Object]
    ) -> Object:
        """Write only the `keys` in the ConfigMap, and then as `refresh` does. Raises StepError."""
        with _step("updating the ConfigMap"):
            written = await self.cluster.merge(
                Kind.CONFIG_MAP, namespace, make_shell_name(app), keys
            )
        await self._update_files(pods, hash_config(written))
        return written

    async def _update_files(self, pods: Sequence[Object], config_hash: str) -> None:
        """Make the kubelet update the files in `pods` at once; `config_hash` is the ConfigMap's."""
        mark = {"metadata": {"annotations": {CONFIG_HASH: config_hash}}}
        for pod in pods:
            meta = pod["metadata"]
            try:
                await self.cluster.merge(Kind.POD, meta["namespace"], meta["name"], mark)
            except ClusterError:
                # This account may not patch pods, or the pod is being deleted. The files follow within a
                # minute.
                continue

    async def create_lease(self, app: Object, now: float) -> Object:
        """Create the lease of a shell that no login has requested (a warm one). Raises StepError."""
        with _step("creating the lease"):
            return await self.cluster.create(objects.build_lease(app, self.holder, now))

    async def update_shell(self, namespace: str, app: str, patch: Object) -> Object:
        """Apply a merge patch to the shell's Deployment, and return it. Raises StepError."""
        with _step("changing the Deployment"):
            return await self.cluster.merge(Kind.DEPLOYMENT, namespace, make_shell_name(app), patch)

    async def remove(self, namespace: str, app: str, lease: Object | None) -> None:
        """Delete all objects of the shell. Raises StepError.

        The `lease` is deleted only in the version given, so that a login that requests the shell meanwhile is
        not lost.
        """
        name = make_shell_name(app)
        for kind in (Kind.SECRET, Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP):
            with _step(f"deleting the {kind}"):
                await self.cluster.delete(kind, namespace, name)
        if lease is not None:
            version = str(lease["metadata"]["resourceVersion"])
            with _step("deleting the Lease"):
                await self.cluster.delete(Kind.LEASE, namespace, name, version=version)

    async def _apply(self, step: str, manifest: Object) -> Object:
        with _step(step):
            return await self.cluster.apply(manifest)
