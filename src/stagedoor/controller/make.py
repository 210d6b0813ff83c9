"""The controller's writes: what belongs to a shell is made and removed here, in this order only.

The lease is there before anything else and goes last, so whatever a controller that died half-way
has left is found by its lease, or at the latest by the Service; and all of it is owned by the app.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagedoor.controller.mirrors import digest
from stagedoor.model.admission import Admission
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target
from stagedoor.shells.authorized import KEYS_LEASE_S, keys_until
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.compare import differences, spec_hash
from stagedoor.shells.kubernetes.derive.shell import Derived, with_replicas
from stagedoor.shells.kubernetes.names import (
    ASKED_IMAGE,
    KEYS_UNTIL,
    PREFIX,
    REGISTER,
    SPEC,
    shell_object,
)
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.wire.rfc3339 import show_time

POLICY = PREFIX + "policy"
"""Annotation of a shell's pod: the hash of its ConfigMap. Writing it makes the kubelet bring the
pod's files up to date at once, which it does once a minute otherwise."""

APPROVAL_S = (0.02, 0.04, 0.08, 0.16, 0.32, *[0.5] * 14)
"""How long to wait after each refusal of a start by the cluster's own fence: a gateway has to look at
the Deployment first, which takes some 50 ms."""

NewHostKey = Callable[[tuple[str, ...]], tuple[bytes, str]]
"""Makes a host key with a certificate for some names: OpenSSH's private text, the certificate's line."""


class StepError(Exception):
    """A write was refused: `step` says which, `error` why."""

    def __init__(self, step: str, error: ClusterError) -> None:
        super().__init__(f"{step}: {error.message}")
        self.step = step
        self.error = error


@dataclass(frozen=True)
class ShellWriter:
    """Makes and removes the objects of shells.

    `admitted` says who may enter a target by the policy of now; `user_cas` are the public keys of
    the user CAs; `holder` is this replica's name; `keys_lease_s` is how long keys are good without
    being renewed. `now` is seconds since the epoch.
    """

    cluster: Cluster
    new_host_key: NewHostKey
    admitted: Callable[[Target], Sequence[Admission]]
    user_cas: Sequence[str]
    holder: str
    keys_lease_s: float = KEYS_LEASE_S
    now: Callable[[], float] = time.time

    async def make(
        self, app: Object, target: Target, settings: AppSettings, derived: Derived
    ) -> list[Object]:
        """A shell with a fresh host key and one replica: its objects as they are now, but the Secret.

        Raises StepError.
        """
        until = self.keys_until(None)
        config = self.config(app, target, settings, derived.image, until)
        service, config = await asyncio.gather(
            self._apply("creating the Service", derived.service),
            self._apply("creating the ConfigMap", config),
        )
        names = (target.host_name, target.shell_name)
        key, certificate = await asyncio.to_thread(self.new_host_key, names)
        await self._apply("creating the host key", objects.secret(app, key, certificate))
        made = await self._without_pods(derived)
        return [await self._started(made, derived.asked, until), service, config]

    async def _without_pods(self, derived: Derived) -> Object:
        """The Deployment of no replicas: the fence lets one start that was looked at, and only as it
        stands. Raises StepError."""
        step, manifest = "creating the Deployment", with_replicas(derived.deployment, 0)
        made = await self._apply(step, manifest)
        if not differences(derived.deployment, made):
            return made
        meta = made["metadata"]
        if meta.get("generation") == 1:
            # Just made, so the cluster's own webhooks want it so; the fence judges that.
            return made
        # Fields of another manager: an apply would leave them there for ever.
        try:
            if meta.get("finalizers"):
                patch = {"metadata": {"finalizers": None}}
                await self.cluster.merge(Kind.DEPLOYMENT, meta["namespace"], meta["name"], patch)
            await self.cluster.delete(
                Kind.DEPLOYMENT, meta["namespace"], meta["name"], uid=meta["uid"]
            )
        except ClusterError as error:
            raise StepError("deleting the Deployment that somebody changed", error) from error
        return await self._apply(step, manifest)

    async def _started(self, made: Object, asked: str, until: float) -> Object:
        """One replica of the Deployment as it stands; waits until a gateway has looked at it. Raises
        StepError. `asked` is `Derived.asked`."""
        meta = made["metadata"]
        patch = {
            "metadata": {
                "annotations": {
                    SPEC: spec_hash(made),
                    ASKED_IMAGE: asked,
                    KEYS_UNTIL: show_time(until),
                }
            },
            "spec": {"replicas": 1},
        }
        for wait_s in (*APPROVAL_S, None):
            try:
                return await self.cluster.merge(
                    Kind.DEPLOYMENT, meta["namespace"], meta["name"], patch
                )
            except ClusterError as error:
                unseen = error.status == 403 and REGISTER in error.message
                if not unseen or wait_s is None:
                    raise StepError("starting the Deployment", error) from error
                await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def keys_until(self, known: float | None) -> float:
        """When keys end that are written now; `known` as in `authorized.keys_until`."""
        return keys_until(known, self.now(), self.keys_lease_s)

    def config(
        self,
        app: Object,
        target: Target,
        settings: AppSettings,
        image: str,
        until: float,
        notice: str = "",
    ) -> Object:
        """The ConfigMap as it should be now, of a shell that runs `image`, with keys that end at `until`."""
        return objects.config_map(
            app,
            target,
            settings,
            image,
            self.admitted(target),
            self.user_cas,
            until=until,
            notice=notice,
        )

    def keys(self, target: Target, *, offered: bool, until: float) -> dict[str, dict[str, str]]:
        """Of the ConfigMap that part alone that says who may log in: nobody where no shell is offered."""
        return objects.keys(self.admitted(target) if offered else (), until)

    async def refresh(self, config: Object, pods: Sequence[Object]) -> Object:
        """Write the ConfigMap, and have the pods take note of it. Raises StepError."""
        written = await self._apply("updating the ConfigMap", config)
        await self._take_note(pods, digest(config))
        return written

    async def refresh_keys(
        self, namespace: str, app: str, keys: Object, pods: Sequence[Object]
    ) -> Object:
        """The same of `keys` alone. Raises StepError."""
        try:
            written = await self.cluster.merge(Kind.CONFIG_MAP, namespace, shell_object(app), keys)
        except ClusterError as error:
            raise StepError("updating the ConfigMap", error) from error
        await self._take_note(pods, digest(written))
        return written

    async def _take_note(self, pods: Sequence[Object], policy: str) -> None:
        mark = {"metadata": {"annotations": {POLICY: policy}}}
        for pod in pods:
            meta = pod["metadata"]
            try:
                await self.cluster.merge(Kind.POD, meta["namespace"], meta["name"], mark)
            except ClusterError:
                # Without the right to, or when the pod is just going: it takes the minute then.
                continue

    async def lease(self, app: Object, now: float) -> Object:
        """The lease of a shell that nobody has asked for (a warm one). Raises StepError."""
        manifest = objects.lease(app, self.holder, now)
        try:
            return await self.cluster.create(manifest)
        except ClusterError as error:
            raise StepError("creating the lease", error) from error

    async def patch_shell(self, namespace: str, app: str, patch: Object) -> Object:
        """A merge patch of the shell's Deployment. Raises StepError."""
        try:
            return await self.cluster.merge(Kind.DEPLOYMENT, namespace, shell_object(app), patch)
        except ClusterError as error:
            raise StepError("changing the Deployment", error) from error

    async def remove(self, namespace: str, app: str, lease: Object | None) -> None:
        """All that belongs to the shell; `lease` only if it has not changed since: somebody who asks
        meanwhile must not be forgotten. Raises StepError."""
        kinds = [Kind.SECRET, Kind.DEPLOYMENT, Kind.SERVICE, Kind.CONFIG_MAP]
        version = None
        if lease is not None:
            kinds.append(Kind.LEASE)
            version = str(lease["metadata"]["resourceVersion"])
        for kind in kinds:
            try:
                await self.cluster.delete(
                    kind,
                    namespace,
                    shell_object(app),
                    version=version if kind is Kind.LEASE else None,
                )
            except ClusterError as error:
                raise StepError(f"deleting the {kind}", error) from error

    async def _apply(self, step: str, manifest: Object) -> Object:
        try:
            return await self.cluster.apply(manifest)
        except ClusterError as error:
            raise StepError(step, error) from error
