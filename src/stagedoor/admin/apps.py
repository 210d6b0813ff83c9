"""The apps of a cluster and their shells, for `stagedoor app`.

It reads the cluster's API, so it needs no running gateway.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from stagedoor.admin.kubernetes import (
    find_replica_name,
    list_namespaces,
    open_cluster,
    read_defaults,
    read_kit,
    read_leader,
)
from stagedoor.kube.cluster import KubeCluster
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, StagedoorError
from stagedoor.model.shell import Progress, ShellState
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.shells.kubernetes.adapter import KubernetesShells
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import WrongSettings, read_settings
from stagedoor.shells.kubernetes.derive.explain import ShellReport, explain
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.policies import find_egress_problem
from stagedoor.shells.kubernetes.derive.shell import list_pod_labels
from stagedoor.shells.kubernetes.live.mirror import list_everywhere
from stagedoor.shells.kubernetes.live.opt_in import (
    SUITABLE_KINDS,
    UNSUITABLE_KINDS,
    find_opt_in_problem,
)
from stagedoor.shells.kubernetes.live.outdated import describe_outdated
from stagedoor.shells.kubernetes.live.register import derive_now
from stagedoor.shells.kubernetes.names import CONTAINER, OPT_IN, SHELL_OF, make_shell_name
from stagedoor.shells.kubernetes.ports import Cause

SYNC_S = 15.0
"""The time within which the cluster has to list its objects."""
STOP_S = 60.0
UNNAMED_KIT = Kit("(controller.kit_image)")
"""The kit in an explanation if only the controller's settings name it."""


@dataclass(frozen=True, slots=True)
class ClusterApp:
    """An app that offers a shell.

    `kind` is `kubernetes`, or the kind of an object that can have no shell. `detail` is the progress of a
    start, the reason why it failed, or a note that the shell is of an older version.
    """

    target: Target
    kind: str
    state: ShellState
    detail: str = ""
    address: str = ""


class Apps:
    """The apps of a cluster, while `open_apps` keeps it open."""

    def __init__(self, settings: Settings, cluster: KubeCluster, shells: KubernetesShells) -> None:
        self._settings = settings
        self._cluster = cluster
        self._shells = shells

    async def list(self, inside: Mapping[str, Sequence[str]]) -> list[ClusterApp]:
        """List all apps by name. `inside` has the user of each open session, by target."""
        with suppress(TimeoutError):  # `list_unserved` is complete then
            async with asyncio.timeout(SYNC_S):
                await self._shells.access.checked_all.wait()
        rows = [
            await self.describe(target, inside.get(str(target), ()))
            for target in self._shells.list_targets()
        ]
        return sorted([*rows, *await self._unsuitable()], key=lambda row: str(row.target))

    def list_unserved(self) -> dict[str, tuple[str | None, str]]:
        """Return environment and reason for each namespace that is not served, by its name."""
        namespaces = self._shells.directory.by_environment
        reasons = self._shells.list_unserved()
        unserved = {namespaces[name]: (name, why) for name, why in reasons.items()}
        return {
            **unserved,
            **{name: (name, why) for name, why in self._shells.directory.refused.items()},
        }

    async def explain_ending(self) -> Mapping[str, str]:
        """Return a sentence about each namespace that is no longer served and has shells left, by its name.

        The controller that leads reports them; without its report the result is empty.
        """
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(SYNC_S):
                return (await read_leader(self._settings, self._cluster)).explain_ending()
        return {}

    async def _unsuitable(self) -> Sequence[ClusterApp]:
        """Return the objects that offer a shell but can have none, with the reason."""
        rows = []
        served = self._shells.directory.by_environment
        environments = {namespace: name for name, namespace in served.items()}
        for kind in (*SUITABLE_KINDS, *UNSUITABLE_KINDS):
            opted_in: Iterable[Object] = ()
            with suppress(ClusterError):  # no right to list them
                opted_in = await list_everywhere(
                    self._cluster, kind, environments, f"{OPT_IN}=true"
                )
            for item in opted_in:
                if (why := find_opt_in_problem(item)) is not None:
                    metadata = item["metadata"]
                    target = Target(metadata["name"], environments[metadata["namespace"]])
                    rows.append(ClusterApp(target, str(kind), ShellState.FAILED, why))
        return rows

    async def describe(self, target: Target, inside: Sequence[str] = ()) -> ClusterApp:
        """Return an app with the state of its shell. `inside` has the user of each open session in it."""
        start = self._shells.diagnose_start(target)
        behind = self._shells.read_outdated(target)
        detail = ""
        if behind:
            detail = f"{describe_outdated(target.app, behind, inside)} (now by: stagedoor app stop {target})"
        state = await self._shells.observe(target)
        if isinstance(start, Cause):
            detail = f"{start.step}: {start.message}"
        elif state is ShellState.STARTING and start is not None:
            detail = start.line
        shell = await self._shells.resolve(target)
        address = f"{shell.host}:{shell.port}" if shell else ""
        return ClusterApp(target, "kubernetes", state, detail, address)

    async def explain(self, target: Target) -> ShellReport:
        """Report how the shell is made, or would be. Raises NotFoundError, ClusterError."""
        namespace = self._namespace(target)
        app = await self._app(namespace, target)
        settings = read_settings(app, read_defaults(self._settings))
        derived = await derive_now(
            self._cluster,
            app,
            settings.instead if isinstance(settings, WrongSettings) else settings,
            read_kit(self._settings) or UNNAMED_KIT,
        )
        return explain(target, app, settings, derived, await self._egress_problem(namespace, app))

    async def _egress_problem(self, namespace: str, app: Object) -> str | None:
        try:
            policies = await self._cluster.list(Kind.NETWORK_POLICY, namespace)
        except ClusterError:
            return None  # no right to list them
        labels = (app["spec"]["template"].get("metadata") or {}).get("labels") or {}
        shell = list_pod_labels(app, read_kit(self._settings) or UNNAMED_KIT)
        return find_egress_problem(app["metadata"]["name"], labels, policies, shell)

    async def start(self, target: Target, progress: Progress) -> ClusterApp:
        """Request the shell's start, and wait for it. Raises NotFoundError, StagedoorError."""
        self._require_known(target)
        outcome = await self._shells.start_without_grant(target, progress)
        if isinstance(outcome, Denial):
            raise StagedoorError(outcome.message)
        return await self.describe(target)

    async def stop(self, target: Target) -> bool:
        """Stop the shell, even with open sessions, and wait until it is gone. Return False if none was up.

        Raises NotFoundError, StagedoorError.
        """
        self._require_known(target)
        namespace = self._namespace(target)
        if await self._shells.observe(target) is ShellState.ABSENT:
            return False
        try:
            await self._cluster.merge(
                Kind.LEASE, namespace, make_shell_name(target.app), objects.make_stop_request()
            )
            async with asyncio.timeout(STOP_S):
                # There is no event for a state that several mirrors show together.
                while await self._shells.observe(target) is not ShellState.ABSENT:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise StagedoorError(
                f"the shell of {target} was asked to stop and still runs after {STOP_S:g} s; "
                "does a controller run? Its log says more"
            ) from None
        return True

    async def read_logs(self, target: Target, lines: int) -> str:
        """Return the last lines of the shell's log. Raises NotFoundError, ClusterError."""
        namespace = self._namespace(target)
        pods = await self._cluster.list(Kind.POD, namespace, f"{SHELL_OF}={target.app}")
        if not pods:
            raise NotFoundError.with_fix(
                f"{target} has no shell now", f"start one with: stagedoor app start {target}"
            )
        newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return await self._cluster.read_logs(
            namespace, str(newest["metadata"]["name"]), CONTAINER, lines=lines
        )

    def _require_known(self, target: Target) -> None:
        """Raise StagedoorError if the cluster cannot be queried, NotFoundError if it has no such app."""
        why = self._shells.directory.problem or self._shells.list_unserved().get(target.environment)
        if why is not None:
            raise StagedoorError(f"the cluster cannot be queried: {why}")
        if not self._shells.has_target(target):
            raise NotFoundError.with_fix(
                f"there is no app {target} that offers a shell", "see: stagedoor app list"
            )

    def _namespace(self, target: Target) -> str:
        directory = self._shells.directory
        namespace = directory.by_environment.get(target.environment)
        if namespace is None:
            fix = "stagedoor app list names the namespaces that are not served, and why"
            raise NotFoundError.with_fix(
                f"there is no environment {target.environment!r}",
                "kubernetes.namespaces has all" if directory.is_fixed else fix,
            )
        return namespace

    async def _app(self, namespace: str, target: Target) -> Object:
        for kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET):
            app = await self._cluster.get(kind, namespace, target.app)
            if app is not None:
                return app
        raise NotFoundError(
            f"there is no Deployment or StatefulSet {target.app} in the namespace {namespace}"
        )


@asynccontextmanager
async def open_apps(settings: Settings) -> AsyncIterator[Apps]:
    """Open the cluster's apps as they are now. Raises StagedoorError if no namespace can be listed."""
    with _explain_cluster():
        async with _follow_shells(settings, SYNC_S) as (cluster, shells):
            unserved = shells.list_unserved()
            why = shells.directory.problem
            if unserved and len(unserved) == len(shells.directory.by_environment):
                why = next(iter(unserved.values()))
            if why is not None:
                raise StagedoorError(f"the cluster cannot be queried: {why}")
            yield Apps(settings, cluster, shells)


@asynccontextmanager
async def open_running_apps(settings: Settings, shells: KubernetesShells) -> AsyncIterator[Apps]:
    """Open the cluster's apps that a worker follows anyway. Raises StagedoorError."""
    with _explain_cluster():
        async with open_cluster(settings) as cluster:
            yield Apps(settings, cluster, shells)


async def list_targets(settings: Settings, *, within_s: float) -> list[Target]:
    """List the targets that are known within `within_s` seconds. Raises SettingsError."""
    async with _follow_shells(settings, within_s) as (_, shells):
        return list(shells.list_targets())


@asynccontextmanager
async def _follow_shells(
    settings: Settings, within_s: float
) -> AsyncIterator[tuple[KubeCluster, KubernetesShells]]:
    """Follow the cluster's shells, after waiting at most `within_s` seconds until all are known."""
    async with open_cluster(settings) as cluster:
        instance = f"{find_replica_name()}/admin"
        shells = KubernetesShells(cluster, list_namespaces(settings), instance)
        shells.start()
        try:
            await shells.wait_until_synced(within_s)
            yield cluster, shells
        finally:
            await shells.stop_watching()


@contextmanager
def _explain_cluster() -> Iterator[None]:
    """Raise StagedoorError if the cluster refuses or does not answer."""
    try:
        yield
    except ClusterError as error:
        raise StagedoorError(error.message) from error
