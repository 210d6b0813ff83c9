"""When a shell is started, replaced, stopped and deleted: one table. Pure; time is an argument.

The controller gathers what is `LifecycleState`, asks `decide`, does the one thing that it says, and asks
again when an object changes or `Keep.look_again_at` comes. A lease that is renewed is the wish for
a shell; the pod's own word, in its log, is what keeps a shell in which somebody works even when
nobody can renew the lease.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stagedoor.model.cluster import Object
from stagedoor.model.units import MINUTE_S
from stagedoor.shells.kubernetes.derive.annotations import AppSettings, WrongSettings
from stagedoor.shells.kubernetes.names import CONTAINER

RENEW_S = 20
"""How often a gateway renews the lease of a target of which it has open sessions."""

IN_USE_S = 3 * RENEW_S
"""A lease renewed within this time says that somebody is inside, or just coming."""

RECHECK_S = MINUTE_S
"""How often a shell is looked at again that should go, and in which somebody still works."""

LOG_LINES = 50
"""How many last lines of the shell's log `AskLog` needs: sshd writes there too."""

_STATE = re.compile(
    r"^stagedoor: (?:busy sessions=(?P<sessions>\d{1,9}) tmux=(?P<tmux>\d{1,9})|idle)\s*$",
    re.ASCII | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a shell says of itself: open sessions, and tmux servers that nobody is attached to."""

    sessions: int
    tmux: int


@dataclass(frozen=True, slots=True)
class ShellStatus:
    """The shell's Deployment and its pod.

    `template`, `stale` and `idle_since` are the annotations (`names.TEMPLATE`, `STALE`,
    `IDLE_SINCE`, the last in seconds since the epoch); `running` is what `is_running` says. `bent`:
    its spec is not the one that was started (`names.SPEC`).
    """

    replicas: int
    template: str
    stale: str | None = None
    idle_since: float | None = None
    running: bool = False
    bent: bool = False


@dataclass(frozen=True, slots=True)
class LifecycleState:
    """All that the decision for one app depends on.

    `offered`: the app bears `names.OPT_IN`. `settings` are wrong too where `derive` finds them so.
    `template` is the hash that the shell would have if it
    were derived now, None if it cannot be. `renewed_at` is the lease's `spec.renewTime`, seconds
    since the epoch, None without a lease. `told_to_stop`: there is a lease and it has no renewTime:
    somebody said `stagedoor app stop`, and means it, sessions or not. `leftovers`: the shell's
    Service or ConfigMap is there. `log` holds the last LOG_LINES lines of the pod's log: None if
    it was not asked for, empty if it could not be read.
    """

    offered: bool
    settings: AppSettings | WrongSettings
    template: str | None
    renewed_at: float | None
    shell: ShellStatus | None
    told_to_stop: bool = False
    leftovers: bool = False
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """Change nothing. `look_again_at` is when time alone may change that, None if it never does."""

    look_again_at: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Make all objects, with a fresh host key, one replica, and neither STALE nor IDLE_SINCE."""


@dataclass(frozen=True, slots=True)
class Replace:
    """As `Start`, over a shell of another template, or a bent one. Nobody is in it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Write both annotations to the shell's Deployment and change nothing else; None removes one."""

    stale: str | None
    idle_since: float | None


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """No replicas; IDLE_SINCE is now, in the same request, since the time to delete runs from it."""


@dataclass(frozen=True, slots=True)
class OnePod:
    """One replica again: somebody asked for more, and a shell has one pod."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete all that belongs to the shell: first the Secret, since nobody may look whether it is
    still there, then Deployment, Service, ConfigMap, and the lease last."""


@dataclass(frozen=True, slots=True)
class AskLog:
    """Decide again with `LifecycleState.log`."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A shell is wanted and cannot be made: an Event on the app for each, FAILURE on the lease.

    `look_again_at` is when it is wanted no longer, unless somebody asks again.
    """

    problems: tuple[str, ...]
    look_again_at: float | None = None


Decision = Keep | Start | Replace | Mark | ScaleToZero | OnePod | Delete | AskLog | Refuse


def activity(log: str) -> Activity | None:
    """The last state line of a shell's log (`stagedoor: busy sessions=2 tmux=1`, `stagedoor: idle`);
    None if there is none."""
    said = list(_STATE.finditer(log))
    if not said:
        return None
    last = said[-1]
    return Activity(int(last["sessions"] or 0), int(last["tmux"] or 0))


def is_running(pods: Iterable[Object]) -> bool:
    """Whether sshd may run in one of a shell's pods.

    In doubt it does: a node that was lost leaves the last status behind. Pods that end already are
    not counted: they have been told to.
    """
    for pod in pods:
        if pod.get("metadata", {}).get("deletionTimestamp"):
            continue
        for status in pod.get("status", {}).get("containerStatuses") or ():
            if status.get("name") == CONTAINER and "running" in (status.get("state") or {}):
                return True
    return False


def decide(seen: LifecycleState, now: float) -> Decision:
    """The next thing to do for one app, at `now` (seconds since the epoch).

    While the app's settings are wrong no shell is started, and one that is there lives by
    `WrongSettings.instead`.
    """
    given = seen.settings
    right = given if isinstance(given, AppSettings) else given.instead
    # A clock ahead of ours must not hold a shell for longer than one renewal would.
    renewed_at = None if seen.renewed_at is None else min(seen.renewed_at, now)
    requested = renewed_at is not None and now - renewed_at < right.idle_stop_s
    wanted = seen.offered and not seen.told_to_stop and (requested or right.warm)
    wanted_until = None if right.warm or renewed_at is None else renewed_at + right.idle_stop_s
    if seen.shell is None:
        if wanted:
            return _make(seen, Start(), wanted_until)
        rest = renewed_at is not None or seen.told_to_stop or seen.leftovers
        return Delete() if rest else Keep()
    if seen.shell.replicas == 0:
        if wanted:
            return _make(seen, Start(), wanted_until)
        return _stopped(seen, seen.shell, right, now)
    if seen.told_to_stop or (not seen.shell.running and not wanted):
        return ScaleToZero() if seen.offered else Delete()
    if seen.shell.replicas > 1:
        return OnePod()
    if not seen.shell.running:
        # Nobody is inside a shell that does not run: what keeps it from running may be mended.
        deed = Replace() if _outdated(seen, seen.shell) else Keep(wanted_until)
        return _make(seen, deed, wanted_until)
    return _running(seen, seen.shell, right, renewed_at, wanted, wanted_until, now)


def _make(seen: LifecycleState, deed: Decision, wanted_until: float | None) -> Decision:
    if isinstance(seen.settings, WrongSettings):
        return Refuse(seen.settings.problems, wanted_until)
    return deed


def _outdated(seen: LifecycleState, shell: ShellStatus) -> bool:
    return seen.template is not None and (shell.bent or seen.template != shell.template)


def _stopped(
    seen: LifecycleState, shell: ShellStatus, settings: AppSettings, now: float
) -> Decision:
    if not seen.offered:
        return Delete()
    if shell.idle_since is None:
        return Mark(shell.stale, now)
    due = min(shell.idle_since, now) + settings.idle_delete_s
    return Delete() if now >= due else Keep(due)


def _running(
    seen: LifecycleState,
    shell: ShellStatus,
    settings: AppSettings,
    renewed_at: float | None,
    wanted: bool,
    wanted_until: float | None,
    now: float,
) -> Decision:
    """Of a shell in which somebody may be: it stays until lease and log both say that nobody is."""
    outdated = _outdated(seen, shell)
    stale = seen.template if outdated else None
    if wanted and not outdated:
        return _marked(shell, Mark(stale, None), wanted_until)
    # The log asked below is the last word; where the idle time is short this one may be as well.
    in_use_s = min(IN_USE_S, settings.idle_stop_s)
    if renewed_at is not None and now - renewed_at < in_use_s:
        return _marked(shell, Mark(stale, None), renewed_at + in_use_s)
    if seen.log is None:
        return AskLog()
    said = activity(seen.log)
    if said is not None and said.sessions:
        return _marked(shell, Mark(stale, None), now + RECHECK_S)
    # A detached tmux has its grace from when it was seen alone; so has a shell whose word is lost.
    if said is None or said.tmux:
        since = shell.idle_since
        if since is None or since > now or (renewed_at is not None and since < renewed_at):
            return Mark(stale, now)
        if now - since < settings.tmux_grace_s:
            again = min(since + settings.tmux_grace_s, now + RECHECK_S)
            return _marked(shell, Mark(stale, since), again)
    if wanted:
        return Replace()
    return ScaleToZero() if seen.offered else Delete()


def _marked(shell: ShellStatus, mark: Mark, look_again_at: float | None) -> Decision:
    if (shell.stale, shell.idle_since) == (mark.stale, mark.idle_since):
        return Keep(look_again_at)
    return mark
