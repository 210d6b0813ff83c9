"""The services that an admitted session uses: access to the shell, audit, recording and presence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagedoor.admin.presence import PresenceService
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import RecordingPlan
from stagedoor.session.flow import Flow
from stagedoor.upstream.login import GatewayLogin


@dataclass(frozen=True, slots=True)
class ShellAccess:
    """The services that terminals, remote commands and file sessions share.

    `find_holder_command` returns the command that runs the holder in the shell of a target, or None if the
    shell has none.
    `plan` determines how terminals are recorded. `presence` has the sessions at terminals; `now` returns
    seconds since the epoch.
    """

    flow: Flow
    upstream: GatewayLogin
    find_holder_command: Callable[[Target], Sequence[str] | None]
    plan: RecordingPlan
    presence: PresenceService
    now: Callable[[], float] = time.time


def make_no_holder_denial(shell_name: str) -> Denial:
    """Return the refusal for a shell that has no known holder."""
    return Denial.with_fix(
        Reason.SHELL_UNAVAILABLE,
        f"no holder of terminals is configured for the shell {shell_name}",
        "an administrator names it in `holder` of its [[shells.static]] entry",
        "log in by ssh, or ask an administrator to set terminals up",
    )
