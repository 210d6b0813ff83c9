"""Decides to start, replace, stop or delete a shell. Pure; time is an argument.

The controller builds a `LifecycleState`, calls `decide`, carries out what it returns, and calls it again when
an object changes or at `Keep.recheck_at`. A renewed lease requests the shell. While no gateway can renew the
lease, the last state line in the pod's log keeps a shell that is in use.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stagedoor.model.cluster import Object
from stagedoor.model.units import MINUTE_S
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings
from stagedoor.shells.kubernetes.names import CONTAINER

RENEW_S = 20
"""Seconds after which a gateway renews the lease of a shell in which it has open sessions."""

IN_USE_S = 3 * RENEW_S
"""Seconds for which a renewal of the lease shows that the shell is in use, or soon will be."""

RECHECK_S = MINUTE_S
"""Seconds between two checks of a shell that should end but is still in use."""

LOG_LINES = 50
"""The number of lines at the end of the shell's log that `AskLog` needs, as sshd writes there too."""

_STATE = re.compile(
    r"^stagedoor: (?:busy sessions=(?P<sessions>\d{1,9}) tmux=(?P<tmux>\d{1,9})|idle)\s*$",
    re.ASCII | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity that a shell reports: its open sessions, and tmux servers and kept terminals (`tmux`)."""

    sessions: int
    tmux: int


@dataclass(frozen=True, slots=True)
class ShellStatus:
    """The state of the shell's Deployment and its pod.

    `template`, `stale` and `idle_since` are the annotations `names.TEMPLATE`, `STALE` and `IDLE_SINCE`, the
    last in seconds since the epoch. `running` is the result of `is_running`. `modified` is True if the spec
    is not the one that was started (`names.SPEC`).
    """

    replicas: int
    template: str
    stale: str | None = None
    idle_since: float | None = None
    running: bool = False
    modified: bool = False


@dataclass(frozen=True, slots=True)
class LifecycleState:
    """Everything that the decision for one app depends on.

    `offered` is True if the app has `names.OPT_IN`. `settings` are WrongSettings also if `derive` returns
    them. `template` is the hash of the shell that would be derived now, None if it cannot be derived.
    `renewed_at` is the lease's `spec.renewTime` in seconds since the epoch, None without a lease.
    `stop_requested` is True if the lease has no renewTime: an administrator ran `stagedoor app stop`, so the
    shell ends even with open sessions. `leftovers` is True if the shell's lease or ConfigMap exists. `log` is
    the last LOG_LINES lines of the pod's log, None if it was not read, empty if it could not be read.
    """

    offered: bool
    settings: AppSettings | WrongSettings
    template: str | None
    renewed_at: float | None
    shell: ShellStatus | None
    stop_requested: bool = False
    leftovers: bool = False
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Change nothing. `recheck_at` is when time alone may change that, None for never."""

    recheck_at: float | None = None


@dataclass(frozen=True, slots=True)
class StartShell:
    """Create all objects, with a new host key, one replica, and neither STALE nor IDLE_SINCE."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Start a new shell in place of an unused one that has another template or was modified."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Write both annotations to the shell's Deployment and change nothing else; None removes one."""

    stale: str | None
    idle_since: float | None


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """Set the replicas to 0 and, in the same request, IDLE_SINCE to now, from which the deletion is timed."""


@dataclass(frozen=True, slots=True)
class OnePod:
    """Set the replicas to one: a shell has one pod, and its Deployment was scaled up."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete all objects of the shell.

    The Secret comes first, since the controller has no right to check later whether it still exists.
    Deployment, Service and ConfigMap follow, and the lease is last.
    """


@dataclass(frozen=True, slots=True)
class AskLog:
    """Decide again with `LifecycleState.log`."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Report why a desired shell cannot be created, by an Event on the app for each problem and on the lease.

    `recheck_at` is when the shell is no longer desired, unless a login requests it again.
    """

    problems: tuple[str, ...]
    recheck_at: float | None = None


Decision = Keep | StartShell | Replace | Mark | ScaleToZero | OnePod | Delete | AskLog | Refuse


def read_activity(log: str) -> Activity | None:
    """Read the last state line of a shell's log: `stagedoor: busy sessions=2 tmux=1` or `stagedoor: idle`.

    Return None if it has none.
    """
    lines = list(_STATE.finditer(log))
    if not lines:
        return None
    last = lines[-1]
    return Activity(int(last["sessions"] or 0), int(last["tmux"] or 0))


def choose_log(logs: Iterable[str]) -> str:
    """Return the one of the pods' logs that keeps the shell for longest, "" if there are none."""

    def rank(log: str) -> int:
        use = read_activity(log)
        if use is not None and use.sessions:
            return 2
        return 1 if use is None or use.tmux else 0

    return max(logs, key=rank, default="")


def is_running(pods: Iterable[Object]) -> bool:
    """Return whether sshd may be running in one of a shell's pods.

    When in doubt, return True: the pod of a lost node keeps its last status. A pod that is being deleted does
    not count.
    """
    for pod in pods:
        if pod.get("metadata", {}).get("deletionTimestamp"):
            continue
        for status in pod.get("status", {}).get("containerStatuses") or ():
            if status.get("name") == CONTAINER and "running" in (status.get("state") or {}):
                return True
    return False


def decide(state: LifecycleState, now: float) -> Decision:
    """Return the next step for one app at `now` (seconds since the epoch).

    While the app's settings are wrong, no shell is started, and `WrongSettings.instead` applies to an
    existing one.
    """
    settings = state.settings if isinstance(state.settings, AppSettings) else state.settings.instead
    # A gateway whose clock is ahead must not keep a shell for longer than a renewal may.
    renewed_at = None if state.renewed_at is None else min(state.renewed_at, now)
    is_requested = renewed_at is not None and now - renewed_at < settings.idle_stop_s
    is_desired = state.offered and not state.stop_requested and (is_requested or settings.warm)
    desired_until = (
        None if settings.warm or renewed_at is None else renewed_at + settings.idle_stop_s
    )
    if state.shell is None:
        if is_desired:
            return _make(state, StartShell(), desired_until)
        rest = renewed_at is not None or state.stop_requested or state.leftovers
        return Delete() if rest else Keep()
    if state.shell.replicas == 0:
        if is_desired:
            return _make(state, StartShell(), desired_until)
        return _decide_stopped(state, state.shell, settings, now)
    if state.stop_requested or (not state.shell.running and not is_desired):
        return ScaleToZero() if state.offered else Delete()
    if state.shell.replicas > 1:
        return OnePod()
    if not state.shell.running:
        # A shell that does not run has no sessions, and a change of the app may make it start.
        decision = Replace() if _is_outdated(state, state.shell) else Keep(desired_until)
        return _make(state, decision, desired_until)
    return _decide_running(state, state.shell, settings, renewed_at, is_desired, desired_until, now)


def _make(state: LifecycleState, decision: Decision, desired_until: float | None) -> Decision:
    """Return `decision`, or Refuse if the settings are wrong."""
    if isinstance(state.settings, WrongSettings):
        return Refuse(state.settings.problems, desired_until)
    return decision


def _is_outdated(state: LifecycleState, shell: ShellStatus) -> bool:
    return state.template is not None and (shell.modified or state.template != shell.template)


def _decide_stopped(
    state: LifecycleState, shell: ShellStatus, settings: AppSettings, now: float
) -> Decision:
    if not state.offered:
        return Delete()
    if shell.idle_since is None:
        return Mark(shell.stale, now)
    due = min(shell.idle_since, now) + settings.idle_delete_s
    return Delete() if now >= due else Keep(due)


def _decide_running(
    state: LifecycleState,
    shell: ShellStatus,
    settings: AppSettings,
    renewed_at: float | None,
    is_desired: bool,
    desired_until: float | None,
    now: float,
) -> Decision:
    """Decide on a shell that may be in use. It stays until both its lease and its log show that it is not."""
    is_outdated = _is_outdated(state, shell)
    stale = state.template if is_outdated else None
    if is_desired and not is_outdated:
        return _mark(shell, Mark(stale, None), desired_until)
    # The log is read below anyway, so a short idle time may shorten this time too.
    in_use_s = min(IN_USE_S, settings.idle_stop_s)
    if renewed_at is not None and now - renewed_at < in_use_s:
        return _mark(shell, Mark(stale, None), renewed_at + in_use_s)
    if state.log is None:
        return AskLog()
    use = read_activity(state.log)
    if use is not None and use.sessions:
        return _mark(shell, Mark(stale, None), now + RECHECK_S)
    # The grace of a detached tmux begins when it is first seen without sessions; so does that of an
    # unreadable log.
    if use is None or use.tmux:
        since = shell.idle_since
        if since is None or since > now or (renewed_at is not None and since < renewed_at):
            return Mark(stale, now)
        if now - since < settings.tmux_grace_s:
            recheck_at = min(since + settings.tmux_grace_s, now + RECHECK_S)
            return _mark(shell, Mark(stale, since), recheck_at)
    if is_desired:
        return Replace()
    return ScaleToZero() if state.offered else Delete()


def _mark(shell: ShellStatus, mark: Mark, recheck_at: float | None) -> Decision:
    """Return `mark`, or Keep if the shell has these marks already."""
    if (shell.stale, shell.idle_since) == (mark.stale, mark.idle_since):
        return Keep(recheck_at)
    return mark
