"""The context shared by all connections of an SSH listener."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagedoor.listeners.ssh.direct.driver import DirectParts
from stagedoor.listeners.ssh.options import SshListenerSettings
from stagedoor.listeners.ssh.page import PageParts
from stagedoor.listeners.ssh.pending_keys import PendingLogins
from stagedoor.model.denial import Denial
from stagedoor.model.session import AccessMethod, LoginOrigin
from stagedoor.model.source import Source
from stagedoor.session.flow import Flow

if TYPE_CHECKING:
    from stagedoor.listeners.ssh.connection import ClientConnection
    from stagedoor.listeners.ssh.router import ChannelRouter


@dataclass(frozen=True, slots=True)
class ListenerContext:
    """The parts of a listener that its connections use.

    `end_startup` stops counting a connection as one that has not logged in (`StartupLimits`). It is called
    before a connection waits for its user's sign-in, and after its login. `on_closed` is called when a
    connection has ended; `report_fault` logs an error that is a bug in Stagedoor.
    """

    flow: Flow
    settings: SshListenerSettings
    direct: DirectParts
    page: PageParts
    pending_logins: PendingLogins
    end_startup: Callable[["ClientConnection"], None]
    on_closed: Callable[["ChannelRouter"], None]
    report_fault: Callable[[BaseException], None]

    def record_denial(self, denial: Denial, source: Source) -> None:
        """Record the refusal of a connection without a channel, which counts as a jump until it opens one."""
        self.flow.record_denial(denial, LoginOrigin(AccessMethod.JUMP, source))
