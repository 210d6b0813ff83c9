"""The reconciliation of one app: read its state, decide, and execute the decision."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.controller.app_reader import AppReader
from stagedoor.controller.mirrors import NamespaceMirrors, hash_config, hash_data
from stagedoor.controller.shell_writer import ShellWriter, StepError
from stagedoor.controller.snapshot import AppSnapshot, take_snapshot
from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import Target
from stagedoor.shells.authorized import KEYS_LEASE_S, RENEW_AT
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import WrongSettings
from stagedoor.shells.kubernetes.derive.shell import Derived
from stagedoor.shells.kubernetes.live import lifecycle
from stagedoor.shells.kubernetes.live.lifecycle import (
    AskLog,
    Delete,
    Keep,
    Mark,
    OnePod,
    Refuse,
    Replace,
    ScaleToZero,
    StartShell,
    decide,
)
from stagedoor.shells.kubernetes.live.outdated import (
    choose_marks,
    describe_outdated,
    make_notice,
    read_outdated,
)
from stagedoor.shells.kubernetes.names import CONTAINER, KEYS_UNTIL, SHELL_OF, make_shell_name
from stagedoor.shells.kubernetes.ports import Cause, Cluster
from stagedoor.shells.kubernetes.sentences import explain_refusal
from stagedoor.wire.rfc3339 import show_time

RETRY_PAUSE_S = 1.0
"""Seconds until an app is reconciled again when no decision was possible."""
NEVER = float("-inf")
REPORT_EVERY_S = 60.0
"""The shortest time between two Events for a shell's failures. Its lease shows every failure to the waiting
logins."""


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """The result of a reconciliation."""

    decision: str
    """The name of the decision that was carried out."""
    recheck_at: float | None
    """When to reconcile again (epoch seconds); None if not before something changes."""


@dataclass
class Reconciler:
    """A reconciler of apps, which reads an app, decides, and takes the next step for its shell.

    `namespaces` maps an environment to its mirrors; `now` returns seconds since the epoch.
    """

    cluster: Cluster
    writer: ShellWriter
    reader: AppReader
    namespaces: Mapping[str | None, NamespaceMirrors]
    now: Callable[[], float] = time.time
    _problems: dict[Target, tuple[str, ...]] = field(default_factory=dict)
    """The errors in each app's annotations for which there are Events."""
    _requests: dict[Target, int] = field(default_factory=dict)
    """The number of requests for each shell when its last reconciliation began."""
    _failure_events: dict[Target, float] = field(default_factory=dict)
    """When the last Event for each shell's failure was written."""

    async def reconcile(self, target: Target) -> ReconcileResult:
        """Decide on one app, and take the next step for it. Raises StepError, ClusterError."""
        mirrors = self.namespaces[target.environment]  # even if it loses its label meanwhile
        self._requests[target] = objects.count_requests(mirrors.find_lease(target.app))
        began = self.reader.clock()
        snapshot = await self._read(target, mirrors)
        await self._report_problems(snapshot)
        decision = decide(snapshot.state, self.now())
        if isinstance(decision, StartShell | AskLog | Replace | ScaleToZero | Delete):
            # Mirrors may lag behind, so the basis of the decision is read from the API.
            log = await self._read_log(snapshot) if isinstance(decision, AskLog) else None
            if not isinstance(decision, AskLog):
                await self._read_shell(snapshot)
            if not isinstance(decision, StartShell):
                await self._read_lease(snapshot)
            is_start = isinstance(decision, StartShell | Replace)
            snapshot = await self._read(
                target, mirrors, since=began if is_start else NEVER, log=log
            )
            decision = decide(snapshot.state, self.now())
        return ReconcileResult(type(decision).__name__, await self._do(decision, snapshot))

    async def _read(
        self,
        target: Target,
        mirrors: NamespaceMirrors,
        *,
        since: float = NEVER,
        log: str | None = None,
    ) -> AppSnapshot:
        """Read the state of one app.

        The app itself is read if needed, unless it was already read after `since`.
        """
        derived = await self.reader.derive(target, mirrors, since)
        return take_snapshot(target, mirrors, derived, self.reader.context.defaults, log)

    async def fail(self, target: Target, error: StepError) -> None:
        """Report to the waiting logins why a shell cannot be created. Raises nothing."""
        # A quota or an admission webhook refuses in its own words, with any status that its author chose.
        cause = Cause(*(explain_refusal(error.error.message) or (error.step, error.error.message)))
        mirrors = self.namespaces.get(target.environment)
        if mirrors is None:
            return  # the namespace is no longer served
        await self._write_failure(target, mirrors, cause)
        app = mirrors.find_app(target.app)
        reported_at = self._failure_events.get(target)
        if app is not None and (reported_at is None or self.now() - reported_at >= REPORT_EVERY_S):
            self._failure_events[target] = self.now()
            message = f"{cause.step}: {cause.message}"
            await self.cluster.report(app, reason="ShellFailed", message=message, warning=True)

    async def _do(self, decision: lifecycle.Decision, snapshot: AppSnapshot) -> float | None:
        """Execute a decision. Return when to reconcile again: at once after a change, or None for never."""
        name, now = snapshot.target.app, self.now()
        match decision:
            case Keep(recheck_at):
                times = (recheck_at, await self._keep_config(snapshot))
                return min((at for at in times if at is not None), default=None)
            case Mark(stale, idle_since):
                await self._mark(snapshot, stale, idle_since)
            case StartShell() | Replace():
                await self._make(decision, snapshot)
            case ScaleToZero():
                await self._patch(snapshot, objects.make_stop_patch(now))
                by_request = snapshot.state.stop_requested
                why = "an administrator stopped it" if by_request else "it was idle"
                await self._report(snapshot, "ShellStopped", f"the shell was stopped: {why}")
            case OnePod():
                await self._patch(snapshot, {"spec": {"replicas": 1}})
                await self._report(
                    snapshot, "ShellCorrected", "the Deployment asked for more than one pod"
                )
            case Delete():
                namespace, lease = snapshot.mirrors.namespace, snapshot.mirrors.find_lease(name)
                await self.writer.remove(namespace, name, lease)
                return None
            case Refuse(problems, recheck_at):
                cause = Cause("reading the annotations", "; ".join(problems))
                await self._write_failure(snapshot.target, snapshot.mirrors, cause)
                return recheck_at
            case AskLog():
                return now + RETRY_PAUSE_S
        return now

    async def _make(self, decision: StartShell | Replace, snapshot: AppSnapshot) -> None:
        assert snapshot.app is not None, "a shell is started of an app"
        assert isinstance(snapshot.derived, Derived), "a shell is started of what could be derived"
        mirrors, name = snapshot.mirrors, snapshot.target.app
        if mirrors.find_lease(name) is None:
            mirrors.put(await self.writer.create_lease(snapshot.app, self.now()))
        shell = snapshot.state.shell
        if shell is not None and (shell.stale, shell.idle_since) != (None, None):
            await self._mark(snapshot, None, None)
        for written in await self.writer.create_shell(
            snapshot.app, snapshot.target, snapshot.derived
        ):
            mirrors.put(written)
        await self._write_failure(snapshot.target, mirrors, None)
        if shell is not None and shell.modified and isinstance(decision, Replace):
            changed = "the shell's Deployment was changed, by hand or by a cluster upgrade"
            await self._report(snapshot, "ShellReplaced", f"{changed}; a new shell was made")
        elif isinstance(decision, Replace):
            await self._report(
                snapshot, "ShellReplaced", "the app has changed; its shell was replaced"
            )
        else:
            await self._report(snapshot, "ShellStarted", "the shell was requested")

    async def _keep_config(self, snapshot: AppSnapshot) -> float | None:
        """Bring a running shell's keys up to date with the policy, and clear an old failure in its lease.

        Return when its keys have to be renewed (epoch seconds), None if the shell does not run. Raises
        StepError.
        """
        mirrors, name, writer = snapshot.mirrors, snapshot.target.app, self.writer
        shell = mirrors.find_shell(name)
        if shell is None or not shell["spec"].get("replicas", 1):
            return None
        written, pods = mirrors.find_config(name), mirrors.list_shell_pods(name)
        until = writer.decide_keys_end(None if written is None else written["until"])
        if isinstance(snapshot.derived, Derived):
            assert snapshot.app is not None, "what is derived is derived of an app"
            # The running image, which in an outdated shell is not that of a new shell.
            marks = read_outdated(shell)
            config = writer.build_config(
                snapshot.app,
                snapshot.target,
                snapshot.derived.settings,
                objects.read_image(shell),
                until,
                make_notice(name, marks) if marks else "",
            )
            if written is None or written["digest"] != hash_config(config):
                mirrors.put(await writer.refresh(config, pods))
            await self._write_failure(snapshot.target, mirrors, None)
        elif written is not None:
            # The app's annotations have errors, or it offers no shell. Revoked rights must still be removed.
            keys = writer.build_keys(
                snapshot.target, offered=snapshot.derived is not None, until=until
            )
            if written["keys"] != hash_data(keys):
                mirrors.put(await writer.refresh_keys(mirrors.namespace, name, keys, pods))
        annotation = (shell["metadata"].get("annotations") or {}).get(KEYS_UNTIL)
        if annotation != show_time(until):
            await self._patch(
                snapshot, {"metadata": {"annotations": {KEYS_UNTIL: show_time(until)}}}
            )
        return until - RENEW_AT * KEYS_LEASE_S

    async def _write_failure(
        self, target: Target, mirrors: NamespaceMirrors, cause: Cause | None
    ) -> None:
        """Write to the lease why the shell cannot be created, or clear it (None). Raises nothing.

        Nothing is written if the lease already has it.
        """
        name = target.app
        lease = mirrors.find_lease(name)
        if lease is None:
            return
        answers = self._requests.get(target, 0)
        failure = objects.read_failure(lease)
        if failure == (None if cause is None else (cause, answers)):
            return
        patch = objects.make_failure_patch(cause, self.now(), answers)
        try:
            written = await self.cluster.merge(
                Kind.LEASE, mirrors.namespace, make_shell_name(name), patch
            )
        except ClusterError:
            return  # the next attempt writes it again; the lease may be deleted
        mirrors.put(written)

    async def _report_problems(self, snapshot: AppSnapshot) -> None:
        """Report errors in the app's annotations to its author by Events, once for each text."""
        problems = snapshot.derived.problems if isinstance(snapshot.derived, WrongSettings) else ()
        if self._problems.get(snapshot.target, ()) == problems:
            return
        if not problems:
            self._problems.pop(snapshot.target, None)
            return
        self._problems[snapshot.target] = problems
        assert snapshot.app is not None, "annotations are those of an app"
        for problem in problems:
            await self.cluster.report(
                snapshot.app, reason="WrongAnnotation", message=problem, warning=True
            )

    async def _read_shell(self, snapshot: AppSnapshot) -> None:
        """Read the shell's Deployment and pods from the API into the mirrors. Raises ClusterError."""
        mirrors, name = snapshot.mirrors, snapshot.target.app
        shell = await self.cluster.get(Kind.DEPLOYMENT, mirrors.namespace, make_shell_name(name))
        if shell is None:
            return
        mirrors.put(shell)
        for pod in await self.cluster.list(Kind.POD, mirrors.namespace, f"{SHELL_OF}={name}"):
            mirrors.put(pod)

    async def _read_lease(self, snapshot: AppSnapshot) -> None:
        """Read the lease from the API, and put it into the mirrors if it was renewed. Raises ClusterError."""
        mirrors, name = snapshot.mirrors, snapshot.target.app
        mirrored = mirrors.find_lease(name)
        if mirrored is None:
            return
        lease = await self.cluster.get(Kind.LEASE, mirrors.namespace, make_shell_name(name))
        if lease is not None and objects.read_renewal(lease) != objects.read_renewal(mirrored):
            mirrors.put(lease)

    async def _read_log(self, snapshot: AppSnapshot) -> str:
        """Return the end of the shell's log, empty if it cannot be read.

        Of several running pods, such as during a replacement, it is the log of the one in use. Raises
        ClusterError if a later attempt may succeed.
        """
        logs = []
        for pod in snapshot.mirrors.list_shell_pods(snapshot.target.app):
            if not lifecycle.is_running((pod,)):
                continue
            try:
                log = await self.cluster.read_logs(
                    snapshot.mirrors.namespace,
                    str(pod["metadata"]["name"]),
                    CONTAINER,
                    lines=lifecycle.LOG_LINES,
                )
            except ClusterError as error:
                if error.retry:
                    raise
                log = ""
            logs.append(log)
        return lifecycle.choose_log(logs)

    async def _mark(
        self, snapshot: AppSnapshot, stale: str | None, idle_since: float | None
    ) -> None:
        """Write the marks of the shell, and report by one Event that it has become outdated."""
        shell = snapshot.mirrors.find_shell(snapshot.target.app)
        assert shell is not None, "what is marked is there"
        image_name = snapshot.derived.image_name if isinstance(snapshot.derived, Derived) else ""
        before = read_outdated(shell)
        marks = choose_marks(shell, stale, image_name, self.now())
        await self._patch(snapshot, objects.make_marks_patch(stale, idle_since, marks))
        now = read_outdated(snapshot.mirrors.find_shell(snapshot.target.app))
        if now is not None and now != before:
            await self._report(
                snapshot, "ShellOutdated", describe_outdated(snapshot.target.app, now)
            )

    async def _patch(self, snapshot: AppSnapshot, patch: Object) -> None:
        mirrors, name = snapshot.mirrors, snapshot.target.app
        mirrors.put(await self.writer.update_shell(mirrors.namespace, name, patch))

    async def _report(self, snapshot: AppSnapshot, reason: str, message: str) -> None:
        if snapshot.app is not None:
            await self.cluster.report(snapshot.app, reason=reason, message=message)
