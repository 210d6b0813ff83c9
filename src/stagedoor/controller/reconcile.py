"""One app looked at: what is seen of it, what is decided, and that done."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.controller.make import ShellWriter, StepError
from stagedoor.controller.mirrors import NamespaceMirrors, digest, digest_of
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target
from stagedoor.shells.authorized import RENEW_AT
from stagedoor.shells.kubernetes.cause import Cause
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import (
    DEFAULT_SETTINGS,
    AppSettings,
    WrongSettings,
    is_offered,
    read_settings,
)
from stagedoor.shells.kubernetes.derive.compare import spec_hash
from stagedoor.shells.kubernetes.derive.kit import Kit
from stagedoor.shells.kubernetes.derive.shell import Derived, derive, running_digests
from stagedoor.shells.kubernetes.live import lifecycle
from stagedoor.shells.kubernetes.live.lifecycle import (
    AskLog,
    Delete,
    Keep,
    LifecycleState,
    Mark,
    OnePod,
    Refuse,
    Replace,
    ScaleToZero,
    ShellStatus,
    Start,
    decide,
)
from stagedoor.shells.kubernetes.live.outdated import notice, outdated, outdated_marks, sentence
from stagedoor.shells.kubernetes.names import (
    CONTAINER,
    IDLE_SINCE,
    KEYS_UNTIL,
    SPEC,
    STALE,
    TEMPLATE,
    shell_object,
)
from stagedoor.shells.kubernetes.ports import Cluster
from stagedoor.shells.kubernetes.sentences import refusal
from stagedoor.wire.rfc3339 import parse_time, show_time

UNDECIDED_S = 1.0
REPORT_EVERY_S = 60.0
"""Events tell of a shell's failures no more often. A lease shows each to the waiting logins."""

MAX_STEPS = 6
"""Decisions that may follow each other before a key goes to the back of the queue: to read a log, to
look at the lease once more, to mark, to act."""


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """The outcome: the names of the decisions, one after the other, and when time alone may change the
    last (epoch seconds)."""

    decisions: tuple[str, ...]
    again_at: float | None


@dataclass
class Reconciler:
    """Of all namespaces. `worlds` and `targets` go by environment; `now` is seconds since the epoch."""

    cluster: Cluster
    maker: ShellWriter
    kit: Kit
    worlds: Mapping[str | None, NamespaceMirrors]
    defaults: AppSettings = DEFAULT_SETTINGS
    now: Callable[[], float] = time.time
    _complained: dict[Target, tuple[str, ...]] = field(default_factory=dict)
    _tried: dict[Target, int] = field(default_factory=dict)
    """Of each that is looked at: how often it had been asked for when that began."""
    _reported: dict[Target, float] = field(default_factory=dict)
    """When an Event last said that it failed."""

    async def reconcile(self, target: Target) -> ReconcileResult:
        """Look at one app, and do what is to be done. Raises StepError, ClusterError."""
        look = _Look(self, target)
        self._tried[target] = objects.asked(self.worlds[target.environment].lease(target.app))
        made: list[str] = []
        while len(made) < MAX_STEPS:
            decision = look.decide()
            again_at = await look.do(decision)
            made.append(type(decision).__name__)
            if isinstance(decision, Keep) or look.finished:
                return ReconcileResult(tuple(made), again_at)
        return ReconcileResult(tuple(made), self.now() + UNDECIDED_S)

    async def fail(self, target: Target, error: StepError) -> None:
        """Tell the waiting logins why a shell cannot be made. Raises nothing."""
        # A quota or an admission says no in its own words, with whatever status its author chose.
        cause = Cause(*(refusal(error.error.message) or (error.step, error.error.message)))
        await _Look(self, target).tell_failure(cause)
        app = self.worlds[target.environment].app(target.app)
        known_at = self._reported.get(target)
        if app is not None and (known_at is None or self.now() - known_at >= REPORT_EVERY_S):
            self._reported[target] = self.now()
            told = f"{cause.step}: {cause.message}"
            await self.cluster.report(app, reason="ShellFailed", message=told, warning=True)


class _Look:
    """One look at one app."""

    def __init__(self, by: Reconciler, target: Target) -> None:
        self._by = by
        self._target = target
        self._world = by.worlds[target.environment]
        self._log: str | None = None
        self._lease_read = False
        self.finished = False
        self.app: Object | None = None
        self._settings: AppSettings | WrongSettings = by.defaults
        self._derived: Derived | WrongSettings | None = None

    def decide(self) -> lifecycle.Decision:
        world, name = self._world, self._target.app
        self.app = world.app(name)
        offered = world.offers and self.app is not None and is_offered(self.app)
        defaults = self._by.defaults
        self._settings = read_settings(self.app, defaults) if self.app and offered else defaults
        self._derived = self._derive(self.app) if self.app and offered else None
        lease, shell = world.lease(name), world.shell(name)
        renewed_at = objects.renewed_at(lease) if lease else None
        wrong = self._derived if isinstance(self._derived, WrongSettings) else None
        return decide(
            LifecycleState(
                offered=offered,
                settings=wrong or self._settings,
                template=self._derived.template if isinstance(self._derived, Derived) else None,
                renewed_at=renewed_at,
                told_to_stop=lease is not None and renewed_at is None,
                shell=_seen_shell(shell, lifecycle.is_running(world.shell_pods(name))),
                leftovers=lease is not None or world.service(name) is not None,
                log=self._log,
            ),
            self._by.now(),
        )

    def _derive(self, app: Object) -> Derived | WrongSettings:
        if isinstance(self._settings, WrongSettings):
            return self._settings
        return derive(
            app,
            self._settings,
            self._by.kit,
            digests=running_digests(app, self._world.app_pods()),
            claims=self._world.claims(),
        )

    async def do(self, decision: lifecycle.Decision) -> float | None:
        """Do it; when to look again, None if at once unless it was to keep or is `finished`."""
        await self._complain()
        if isinstance(decision, Replace | ScaleToZero | Delete) and await self._lease_has_changed():
            return None
        match decision:
            case Keep(again_at):
                return _sooner(again_at, await self._keep_config())
            case AskLog():
                self._log = await self._read_log()
            case Mark(stale, idle_since):
                await self._mark(stale, idle_since)
            case Start() | Replace():
                await self._make(decision)
            case ScaleToZero():
                await self._patch(objects.stop_patch(self._by.now()))
                await self._report("ShellStopped", "nobody has used the shell; it was stopped")
            case OnePod():
                await self._patch({"spec": {"replicas": 1}})
                await self._report("ShellCorrected", "somebody asked for more pods than one")
            case Delete():
                name = self._target.app
                await self._by.maker.remove(self._world.namespace, name, self._world.lease(name))
                self.finished = True
            case Refuse(problems, again_at):
                await self.tell_failure(Cause("reading the annotations", "; ".join(problems)))
                self.finished = True
                return again_at
        return None

    async def _make(self, decision: Start | Replace) -> None:
        assert self.app is not None, "a shell is started of an app"
        assert isinstance(self._derived, Derived), "a shell is started of what could be derived"
        assert isinstance(self._settings, AppSettings), "and its settings were right"
        world, name = self._world, self._target.app
        if world.lease(name) is None:
            world.put(await self._by.maker.lease(self.app, self._by.now()))
        seen = _seen_shell(world.shell(name), False)
        if seen is not None and (seen.stale, seen.idle_since) != (None, None):
            await self._mark(None, None)
        for written in await self._by.maker.make(
            self.app, self._target, self._settings, self._derived
        ):
            world.put(written)
        await self.tell_failure(None)
        if seen is not None and seen.bent and isinstance(decision, Replace):
            changed = (
                "somebody changed the shell's Deployment, or the cluster does since an upgrade"
            )
            await self._report("ShellReplaced", f"{changed}; a new shell was made")
        elif isinstance(decision, Replace):
            await self._report("ShellReplaced", "the app has changed; its shell was replaced")
        else:
            await self._report("ShellStarted", "somebody asked for the shell")

    async def _keep_config(self) -> float | None:
        """A shell that runs has the policy of now, and its waiting logins see no old failure; when its
        keys are to be renewed."""
        world, name, maker = self._world, self._target.app, self._by.maker
        shell = world.shell(name)
        if shell is None or not shell["spec"].get("replicas", 1):
            return None
        written, ends_at = world.keys(name)
        until, pods = maker.keys_until(ends_at), world.shell_pods(name)
        if isinstance(self._derived, Derived) and isinstance(self._settings, AppSettings):
            assert self.app is not None, "what is derived is derived of an app"
            # What runs, which is not what would be made now while the shell is outdated.
            config = maker.config(
                self.app,
                self._target,
                self._settings,
                objects.image_of(shell),
                until,
                self._notice(),
            )
            if world.config(name) != digest(config):
                world.put(await maker.refresh(config, pods))
            await self.tell_failure(None)
        elif written is not None:
            # No shell could be made of the app now, or it offers none. Who loses a right loses it here too.
            keys = maker.keys(self._target, offered=self._derived is not None, until=until)
            if written != digest_of(keys):
                world.put(await maker.refresh_keys(world.namespace, name, keys, pods))
        said = (shell["metadata"].get("annotations") or {}).get(KEYS_UNTIL)
        if said != show_time(until):
            await self._patch({"metadata": {"annotations": {KEYS_UNTIL: show_time(until)}}})
        return until - RENEW_AT * maker.keys_lease_s

    async def tell_failure(self, cause: Cause | None) -> None:
        """Write to the lease why the shell cannot be made, or that it can; once. Raises nothing."""
        world, name = self._world, self._target.app
        lease = world.lease(name)
        if lease is None:
            return
        answers = self._by._tried.get(self._target, 0)
        known = objects.answered_failure(lease)
        if known == (None if cause is None else (cause, answers)):
            return
        patch = objects.failure_patch(cause, self._by.now(), answers)
        try:
            written = await self._by.cluster.merge(
                Kind.LEASE, world.namespace, shell_object(name), patch
            )
        except ClusterError:
            return  # it is told again at the next try, and the lease may be gone
        world.put(written)

    async def _complain(self) -> None:
        """Wrong annotations are reported where their author looks: in an Event, once for each text."""
        wrong = self._derived if isinstance(self._derived, WrongSettings) else None
        problems = wrong.problems if wrong else ()
        if self._by._complained.get(self._target, ()) == problems:
            return
        if not problems:
            self._by._complained.pop(self._target, None)
            return
        self._by._complained[self._target] = problems
        assert self.app is not None, "annotations are those of an app"
        for problem in problems:
            await self._by.cluster.report(
                self.app, reason="WrongAnnotation", message=problem, warning=True
            )

    async def _lease_has_changed(self) -> bool:
        """Whether somebody asked a moment ago, which the watch may not have brought yet."""
        if self._lease_read:
            return False
        self._lease_read = True
        world, name = self._world, self._target.app
        known = world.lease(name)
        if known is None:
            return False
        found = await self._by.cluster.get(Kind.LEASE, world.namespace, shell_object(name))
        if found is None:
            return False
        world.put(found)
        return objects.renewed_at(found) != objects.renewed_at(known)

    async def _read_log(self) -> str:
        for pod in self._world.shell_pods(self._target.app):
            if not pod["metadata"].get("deletionTimestamp"):
                try:
                    return await self._by.cluster.logs(
                        self._world.namespace,
                        str(pod["metadata"]["name"]),
                        CONTAINER,
                        lines=lifecycle.LOG_LINES,
                    )
                except ClusterError as error:
                    if error.retry:
                        raise
        return ""

    def _notice(self) -> str:
        """That the shell is outdated, as a line for people; empty if it is not."""
        found = outdated(self._world.shell(self._target.app))
        return notice(self._target.app, found) if found else ""

    async def _mark(self, stale: str | None, idle_since: float | None) -> None:
        """Write the marks of the shell. That its app has moved on is told once, by an Event."""
        shell = self._world.shell(self._target.app)
        assert shell is not None, "what is marked is there"
        wanted = self._derived.asked if isinstance(self._derived, Derived) else ""
        before = outdated(shell)
        marks = outdated_marks(shell, stale, wanted, self._by.now())
        await self._patch(objects.marks_patch(stale, idle_since, marks))
        now = outdated(self._world.shell(self._target.app))
        if now is not None and now != before:
            await self._report("ShellOutdated", sentence(self._target.app, now))

    async def _patch(self, patch: Object) -> None:
        world, name = self._world, self._target.app
        world.put(await self._by.maker.patch_shell(world.namespace, name, patch))

    async def _report(self, reason: str, message: str) -> None:
        if self.app is not None:
            await self._by.cluster.report(self.app, reason=reason, message=message)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _seen_shell(shell: Object | None, running: bool) -> ShellStatus | None:
    if shell is None:
        return None
    said = shell["metadata"].get("annotations") or {}
    return ShellStatus(
        replicas=int(shell["spec"].get("replicas", 1)),
        template=str(said.get(TEMPLATE, "")),
        stale=said.get(STALE),
        idle_since=parse_time(str(said.get(IDLE_SINCE, ""))),
        running=running,
        bent=said.get(SPEC) != spec_hash(shell),
    )
