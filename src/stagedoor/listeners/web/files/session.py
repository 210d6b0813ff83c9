"""A session that moves files: let in by the flow, sftp to the shell's sshd, and out again.

Each request is a session of its own: grants are asked, the audit names it, and a session that has to
end ends in the middle of a file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from stagedoor.listeners.shell_session import SessionEndedError, ShellSession, shell_session
from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.files.fields import FilesError, shown
from stagedoor.listeners.web.guard import web
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.session import End
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest
from stagedoor.upstream.connection import hung_up
from stagedoor.upstream.login import UnreachedError
from stagedoor.wire.sftp import FileEvent

SFTP_TIMEOUT_S = 15.0
"""The shell's sftp must be there within this time of the login."""


class DeniedError(Exception):
    """The flow said no, or said later that it is over."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.line)
        self.denial = denial


class SftpSession:
    """Made by `sftp_session` only. The code that moves bytes adds them to `sent` and `received`."""

    def __init__(
        self, session: ShellSession, sftp: asyncssh.SFTPClient, channel: ChannelAudit
    ) -> None:
        self.sftp = sftp
        self._session = session
        self._channel = channel

    @property
    def sent(self) -> int:
        return self._session.sent

    @sent.setter
    def sent(self, sent: int) -> None:
        self._session.sent = sent

    @property
    def received(self) -> int:
        return self._session.received

    @received.setter
    def received(self, received: int) -> None:
        self._session.received = received

    def moved(self, path: bytes, did: str = "transfer", *, whole: bool = True) -> None:
        """Write down what happened to a file of this session."""
        self._channel.files_done(
            [FileEvent(did, shown(path), None, self.sent, self.received, whole)]
        )


@asynccontextmanager
async def sftp_session(
    access: ShellAccess, source: Source, identity: Identity, target: Target
) -> AsyncIterator[SftpSession]:
    """Inside, until the block ends. Raises DeniedError: at once, or when it is over in the middle;
    FilesError where the shell hangs up."""
    # The terminal beside it shows how far a shell is.
    entered = await access.flow.enter(
        identity, target, web(source), lambda step: None, needs=Permission.FILES
    )
    if isinstance(entered, Denial):
        raise DeniedError(entered)
    try:
        async with shell_session(entered, access.login()) as session:
            sftp = await _start_sftp(session)
            with session.channel(ChannelRequest("subsystem", "sftp")) as channel:
                try:
                    yield SftpSession(session, sftp, channel)
                except ClientClosedError:
                    session.end_as(End.DOWNSTREAM_LOST)
                    raise
                except FilesError:
                    session.end_as(End.CLOSED)  # the developer is told, and it is over
                    channel.ended(0, session.sent, session.received)
                    raise
                channel.ended(0, session.sent, session.received)
    except SessionEndedError as error:
        reason = Reason.DRAINING if error.end is End.DRAINED else Reason.NO_GRANT
        raise DeniedError(Denial(reason, str(error))) from None
    except UnreachedError as error:
        raise DeniedError(Denial(Reason.UPSTREAM_REFUSED, str(error))) from None
    except (asyncssh.Error, OSError) as error:
        raise FilesError(502, hung_up(target.shell_name, error)) from None


async def _start_sftp(session: ShellSession) -> asyncssh.SFTPClient:
    """Raises UnreachedError."""
    try:
        async with asyncio.timeout(SFTP_TIMEOUT_S):
            # Bytes in, bytes out: not every name is UTF-8.
            return await session.shell.start_sftp_client(path_encoding=None)
    except (asyncssh.Error, TimeoutError):
        shell_name = session.opened.ready.grant.target.shell_name
        raise UnreachedError(
            f"the shell {shell_name} has no sftp, by which files are moved"
        ) from None
