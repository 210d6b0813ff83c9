"""What an admitted session needs: the access to the shell, and the audit and recording of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagedoor.admin.terminals.presence import PresenceService
from stagedoor.listeners.shell_session import ShellLogin
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import Note
from stagedoor.recording.plan import RecordingPlan
from stagedoor.session.flow import Flow
from stagedoor.upstream.login import Upstream


@dataclass(frozen=True, slots=True)
class ShellAccess:
    """What terminals, errands and stays share.

    `holder` is the command that runs the holder in the shell of a target, None where a shell has none.
    Terminals that must be recorded are by `plan`. `note`
    writes an event of a session to the audit; `presence` is who else is at terminals; `now` is seconds
    since the epoch.
    """

    flow: Flow
    upstream: Upstream
    holder: Callable[[Target], Sequence[str] | None]
    plan: RecordingPlan
    note: Note
    presence: PresenceService
    now: Callable[[], float] = time.time

    def login(self, extensions: Sequence[str] = ()) -> ShellLogin:
        """How shells are logged in to; `extensions` are what the certificate permits besides commands."""
        return ShellLogin(self.upstream, self.note, extensions)


def no_holder(shell_name: str) -> Denial:
    """Return the refusal for a shell of which no holder of terminals is known."""
    return Denial.with_mend(
        Reason.SHELL_UNAVAILABLE,
        f"no command is known that holds terminals in the shell {shell_name}",
        "an administrator names it in `holder` of its [[shells.static]] entry",
        "log in by ssh, or ask an administrator to set terminals up",
    )
