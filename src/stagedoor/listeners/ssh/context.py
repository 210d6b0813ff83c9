"""The context shared by all connections of an SSH listener."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stagedoor.listeners.ssh.direct.driver import DirectParts
from stagedoor.listeners.ssh.options import SshListenerSettings
from stagedoor.listeners.ssh.page import PageParts
from stagedoor.listeners.ssh.pending_keys import PendingLogins
from stagedoor.session.flow import Flow

if TYPE_CHECKING:
    from stagedoor.listeners.ssh.router import ChannelRouter


@dataclass(frozen=True, slots=True)
class ListenerContext:
    """The parts of a listener that its connections use.

    `on_login` and `on_closed` are called when a connection has
    logged in and when it has ended; `report_fault` logs an error that is a bug in Stagedoor.
    """

    flow: Flow
    settings: SshListenerSettings
    direct: DirectParts
    page: PageParts
    pending_logins: PendingLogins
    on_login: Callable[["ChannelRouter"], None]
    on_closed: Callable[["ChannelRouter"], None]
    report_fault: Callable[[BaseException], None]
