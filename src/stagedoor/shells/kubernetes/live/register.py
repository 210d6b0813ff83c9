"""Which shells of a namespace may start, in a ConfigMap that the cluster's own fence looks into.

The controller makes a shell's Deployment with no replicas. A gateway, which is another account,
derives the shell by itself and compares; if the two agree it writes the Deployment's uid and
generation here. The fence (deploy/chart/templates/admission.yaml) lets the controller start that
generation, and nothing else: docs/decisions/0023-fences.md.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings, read_settings
from stagedoor.shells.kubernetes.derive.compare import differences
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived
from stagedoor.shells.kubernetes.live.namespace_cache import NamespaceCache, offers_shell
from stagedoor.shells.kubernetes.live.reading import derived_now
from stagedoor.shells.kubernetes.names import REGISTER
from stagedoor.shells.kubernetes.ports import Cluster

AGAIN_S = 1.0
"""A shell that is still to start is judged again after this: its app may have moved on."""
OTHERS_S = 0.5
"""How long a start is left to the gateway that somebody asked for it. All gateways see all starts."""
AT_ONCE = 8
"""Shells that are judged at the same time. Most of it is waiting for the API."""
MAX_CHARS = 1000
"""Of what is written of one shell."""

OnProblem = Callable[[str | None], None]
"""Told in one line why it cannot be written, and None when it can again."""


@dataclass(frozen=True, slots=True)
class DeriveContext:
    """How shells are derived: the same as the controller's, or none would ever agree."""

    kit: Kit
    defaults: AppSettings
    on_problem: OnProblem


class Register:
    """Keeps the ConfigMap REGISTER of one namespace: an entry for each shell that is to start.

    The ConfigMap is there already (the chart makes it): a right to make some cannot be bound to a
    name. Several gateways write the same. An entry names one generation of one object, so an old
    one lets nothing start.
    """

    def __init__(self, cluster: Cluster, cache: NamespaceCache, judging: DeriveContext) -> None:
        self._cluster = cluster
        self._cache = cache
        self._judging = judging
        self._asked: Counter[str] = Counter()
        self._due: dict[str, tuple[str, float]] = {}
        """Of each shell that is to start its identity, and when it is judged next."""
        self._written: set[str] | None = None

    @contextmanager
    def asking(self, app: str) -> Iterator[None]:
        """Meanwhile somebody waits for that shell, here: it is judged at once."""
        self._asked[app] += 1
        try:
            yield
        finally:
            self._asked[app] -= 1
            if not self._asked[app]:
                del self._asked[app]

    async def run(self) -> None:
        """Judge each shell that is to start, until cancelled."""
        loop = asyncio.get_running_loop()
        problem: str | None = None
        for mirror in self._cache.mirrors:
            await mirror.synced.wait()
        while True:
            pulse = self._cache.pulse
            starting = self._cache.starting()
            due = self._due_now(starting, loop.time())
            before, problem = problem, await self._tried(due, starting)
            if (problem is None) != (before is None):
                self._judging.on_problem(problem)
            times = [at for _, at in self._due.values()]
            if problem is not None:
                times.append(loop.time() + AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(times, default=None)):
                    await pulse.wait()

    async def _tried(self, due: Mapping[str, Object], starting: Mapping[str, Object]) -> str | None:
        """Write what has to be written; why that was not possible."""
        try:
            if self._written is None:
                # What was there before us: of shells that have started or gone meanwhile.
                self._written = set((await self._merge({})).get("data") or {})
            await self._write(due, self._written - starting.keys())
        except ClusterError as error:
            return error.message
        return None

    def _due_now(self, starting: Mapping[str, Object], now: float) -> dict[str, Object]:
        """Those to be judged now; when the others are goes into `_due`."""
        self._due = {app: due for app, due in self._due.items() if app in starting}
        for app, shell in starting.items():
            known = self._due.get(app)
            if known is None or known[0] != identity(shell):
                first = now if self._asked[app] else now + OTHERS_S
                self._due[app] = (identity(shell), first)
        due = {app: shell for app, shell in starting.items() if self._due[app][1] <= now}
        for app, shell in due.items():
            self._due[app] = (identity(shell), now + AGAIN_S)
        return due

    async def _write(self, due: Mapping[str, Object], gone: set[str]) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def judged(app: str, shell: Object) -> str:
            async with places:
                try:
                    return await self._judge(app, shell)
                except ClusterError as error:
                    return f"{identity(shell)} cannot be judged: {error.message}"[:MAX_CHARS]
                except Exception as error:
                    # A bug with one app is no reason to keep the others from starting.
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": f"a fault in judging the shell of {app}", "exception": error}
                    )
                    return f"{identity(shell)} cannot be judged: a fault, see the gateway's log"

        said = await asyncio.gather(*(judged(app, shell) for app, shell in due.items()))
        entries: dict[str, str | None] = dict(zip(due, said, strict=True))
        entries |= dict.fromkeys(gone)
        if entries:
            await self._merge(entries)
        self._written = {*(self._written or ()), *due} - gone

    async def _merge(self, entries: Mapping[str, str | None]) -> Object:
        return await self._cluster.merge(
            Kind.CONFIG_MAP, self._cache.namespace, REGISTER, {"data": entries}
        )

    async def _judge(self, app: str, shell: Object) -> str:
        """What is written of it: its identity alone, or with why it may not start."""
        wanted = await self._derived(app)
        if isinstance(wanted, Derived):
            found = differences(wanted.deployment, shell)
            if not found:
                return identity(shell)
            why = f"not what the app has at {', '.join(found)}"
        else:
            why = wanted
        return f"{identity(shell)} {why}"[:MAX_CHARS]

    async def _derived(self, name: str) -> Derived | str:
        """The shell as it should be by what the API says now, or why there is none."""
        app = await self._app(name)
        if app is None:
            return "there is no such app that offers a shell"
        settings = read_settings(app, self._judging.defaults)
        if isinstance(settings, WrongSettings):
            return "; ".join(settings.problems)
        found = await derived_now(self._cluster, app, settings, self._judging.kit)
        return found if isinstance(found, Derived) else "; ".join(found.problems)

    async def _app(self, name: str) -> Object | None:
        for kind in (Kind.DEPLOYMENT, Kind.STATEFUL_SET):
            found = await self._cluster.get(kind, self._cache.namespace, name)
            if found is not None and offers_shell(found):
                return found
        return None


def identity(shell: Object) -> str:
    """`UID GENERATION` of a Deployment: what it is, its number of replicas included."""
    return f"{shell['metadata'].get('uid')} {shell['metadata'].get('generation')}"
