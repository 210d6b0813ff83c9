"""The register of approved shells, a ConfigMap that the cluster's admission policy reads.

The controller creates a shell's Deployment with no replicas. A gateway, under another account, derives the
shell too and compares. If the two agree, it writes the Deployment's uid and generation to the register. The
admission policy (deploy/chart/templates/admission.yaml) lets the controller start this generation and no
other: docs/decisions/0023-fences.md.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.problem import ProblemState
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings, read_settings
from stagedoor.shells.kubernetes.derive.compare import find_differences
from stagedoor.shells.kubernetes.derive.images import find_running_digests, format_selector
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive
from stagedoor.shells.kubernetes.live.namespace_cache import NamespaceCache, is_shell_offered
from stagedoor.shells.kubernetes.names import REGISTER, RUN_ENTRY
from stagedoor.shells.kubernetes.ports import Cluster

RECHECK_PAUSE_S = 1.0
"""Seconds until a shell that has not started is judged again, since its app may have changed."""
OTHER_GATEWAY_S = 0.5
"""Seconds for which a start is left to the gateway that requested it. All gateways see all starts."""
MAX_CONCURRENT = 8
"""The most shells that are judged at the same time. Most of this time is spent waiting for the API."""
MAX_CHARS = 1000
"""The longest entry for a shell, in characters."""


@dataclass(frozen=True, slots=True)
class DeriveContext:
    """The settings of the derivation. If those of gateway and controller differ, no shell is approved."""

    kit: Kit
    defaults: AppSettings


class Register:
    """The writer of the ConfigMap REGISTER in one namespace, with an entry for each shell that should start.

    The chart creates the ConfigMap, since RBAC cannot limit the right to create to one name. Several gateways
    write the same ConfigMap. As an entry names one generation of one object, an old entry lets no shell
    start. `on_problem` is called with one line when the ConfigMap cannot be written, and with None once it
    can.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: NamespaceCache,
        context: DeriveContext,
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._context = context
        self._problem = ProblemState(on_problem)
        self._logins: Counter[str] = Counter()
        """The number of logins that wait for each shell at this gateway."""
        self._due: dict[str, tuple[str, float]] = {}
        """The identity of each shell that should start, and when it is judged next."""
        self._written: set[str] | None = None

    @contextmanager
    def judge_at_once(self, app: str) -> Iterator[None]:
        """Judge the app's shell at once within this context, since a login at this gateway waits for it."""
        self._logins[app] += 1
        try:
            yield
        finally:
            self._logins[app] -= 1
            if not self._logins[app]:
                del self._logins[app]

    async def run(self) -> None:
        """Judge each shell that should start, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            changed = self._cache.changed
            starting = self._cache.list_starting()
            due = self._take_due(starting, loop.time())
            problem = await self._try_write(due, starting)
            self._problem.update(problem)
            times = [at for _, at in self._due.values()]
            if problem is not None:
                times.append(loop.time() + RECHECK_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(times, default=None)):
                    await changed.wait()

    async def _try_write(
        self, due: Mapping[str, Object], starting: Mapping[str, Object]
    ) -> str | None:
        """Write the entries of `due`, and remove those of shells not in `starting`.

        Until a first shell of the namespace should start, nothing is read or written. Return why writing
        failed, or None.
        """
        try:
            if self._written is None:
                if not due:
                    return None
                # Entries from before this process, possibly of shells that have started or were deleted
                # since.
                entries = (await self._merge({})).get("data") or {}
                self._written = {key for key in entries if not key.startswith(RUN_ENTRY)}
            await self._write(due, self._written - starting.keys())
        except ClusterError as error:
            return error.message
        return None

    def _take_due(self, starting: Mapping[str, Object], now: float) -> dict[str, Object]:
        """Return the shells to judge now, and set in `_due` when each shell is judged next."""
        self._due = {app: due for app, due in self._due.items() if app in starting}
        for app, shell in starting.items():
            entry = self._due.get(app)
            if entry is None or entry[0] != identify_shell(shell):
                first_at = now if self._logins[app] else now + OTHER_GATEWAY_S
                self._due[app] = (identify_shell(shell), first_at)
        due = {app: shell for app, shell in starting.items() if self._due[app][1] <= now}
        for app, shell in due.items():
            self._due[app] = (identify_shell(shell), now + RECHECK_PAUSE_S)
        return due

    async def _write(self, due: Mapping[str, Object], obsolete: set[str]) -> None:
        slots = asyncio.Semaphore(MAX_CONCURRENT)

        async def judge(app: str, shell: Object) -> str:
            async with slots:
                try:
                    return await self._judge(app, shell)
                except ClusterError as error:
                    return f"{identify_shell(shell)} cannot be judged: {error.message}"[:MAX_CHARS]
                except Exception as error:
                    # A bug triggered by one app must not keep the others from starting.
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": f"a fault in judging the shell of {app}", "exception": error}
                    )
                    why = "cannot be judged: a fault, see the gateway's log"
                    return f"{identify_shell(shell)} {why}"

        verdicts = await asyncio.gather(*(judge(app, shell) for app, shell in due.items()))
        entries: dict[str, str | None] = dict(zip(due, verdicts, strict=True))
        entries |= dict.fromkeys(obsolete)
        if entries:
            await self._merge(entries)
        self._written = {*(self._written or ()), *due} - obsolete

    async def _merge(self, entries: Mapping[str, str | None]) -> Object:
        return await self._cluster.merge(
            Kind.CONFIG_MAP, self._cache.namespace, REGISTER, {"data": entries}
        )

    async def _judge(self, app: str, shell: Object) -> str:
        """Return the entry for a shell: its identity, followed by a reason if it may not start."""
        result = await fetch_and_derive(self._cluster, self._cache.namespace, app, self._context)
        if isinstance(result, str):
            why = result
        else:
            _, derived = result
            paths = find_differences(derived.deployment, shell)
            if not paths:
                return identify_shell(shell)
            why = f"not what the app has at {', '.join(paths)}"
        return f"{identify_shell(shell)} {why}"[:MAX_CHARS]


async def fetch_app(cluster: Cluster, namespace: str, name: str) -> Object | None:
    """Read from the API the app of that name that offers a shell, or None. Raises ClusterError."""
    for kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET):
        app = await cluster.get(kind, namespace, name)
        if app is not None and is_shell_offered(app):
            return app
    return None


async def fetch_and_derive(
    cluster: Cluster, namespace: str, name: str, context: DeriveContext
) -> tuple[Object, Derived] | str:
    """Read an app from the API and derive its shell, or return why it has none. Raises ClusterError."""
    app = await fetch_app(cluster, namespace, name)
    if app is None:
        return "there is no such app that offers a shell"
    derived = await derive_app(cluster, app, context)
    return "; ".join(derived.problems) if isinstance(derived, WrongSettings) else (app, derived)


async def derive_app(
    cluster: Cluster, app: Object, context: DeriveContext
) -> Derived | WrongSettings:
    """Derive the shell of `app` according to its annotations. Raises ClusterError."""
    settings = read_settings(app, context.defaults)
    if isinstance(settings, WrongSettings):
        return settings
    return await derive_now(cluster, app, settings, context.kit)


def identify_shell(shell: Object) -> str:
    """Return `UID GENERATION` of a Deployment. Any change of its spec, even of its replicas, changes it."""
    return f"{shell['metadata'].get('uid')} {shell['metadata'].get('generation')}"


async def derive_now(
    cluster: Cluster, app: Object, settings: AppSettings, kit: Kit
) -> Derived | WrongSettings:
    """Derive the shell of `app` with the current pods and claims in the API. Raises ClusterError."""
    namespace = app["metadata"]["namespace"]
    pods, claims = await asyncio.gather(
        cluster.list(Kind.POD, namespace, format_selector(app["spec"]["selector"])),
        _claims(cluster, namespace, app),
    )
    return derive(app, settings, kit, digests=find_running_digests(app, pods), claims=claims)


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
