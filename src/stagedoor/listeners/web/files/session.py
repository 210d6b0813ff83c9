"""A session that moves files by sftp to the shell's sshd.

Each request is a separate session: the flow checks the user's grant, the audit records the session, and a
session that must end does so even in the middle of a file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh

from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.files.fields import FilesError, escape_path
from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.session import EndReason
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest
from stagedoor.upstream.connection import explain_hang_up
from stagedoor.upstream.login import ShellLoginError
from stagedoor.upstream.session import SessionEndedError, ShellSession, open_shell_session
from stagedoor.wire.ssh.sftp import FileEvent

SFTP_TIMEOUT_S = 15.0
"""How long the shell's sftp may take to start after the login, seconds."""


class FilesDeniedError(Exception):
    """Raised when the flow refuses the session, or ends it."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.line)
        self.denial = denial


class SftpSession:
    """An admitted session with its sftp client, made by `open_sftp_session`.

    The code that moves bytes adds them to the `sent` and `received` of `session`.
    """

    def __init__(
        self, session: ShellSession, sftp: asyncssh.SFTPClient, channel: ChannelAudit
    ) -> None:
        self.session = session
        self.sftp = sftp
        self._channel = channel

    def record_file_event(
        self, path: bytes, action: str = "transfer", *, whole: bool = True
    ) -> None:
        """Audit an action on a file; `whole` is False for an incomplete transfer."""
        sent, received = self.session.sent, self.session.received
        self._channel.record_files(
            [FileEvent(action, escape_path(path), None, sent, received, whole)]
        )


@asynccontextmanager
async def open_sftp_session(
    access: ShellAccess, source: Source, identity: Identity, target: Target
) -> AsyncIterator[SftpSession]:
    """Open a session for the time of the block.

    Raises FilesDeniedError if the flow refuses the session or ends it during the block, and FilesError if the
    shell hangs up.
    """
    # The terminal of the same page shows the progress of a starting shell.
    entered = await access.flow.enter(
        identity, target, make_web_login_origin(source), lambda step: None, needs=Permission.FILES
    )
    if isinstance(entered, Denial):
        raise FilesDeniedError(entered)
    try:
        async with open_shell_session(entered, access.upstream) as session:
            sftp = await _start_sftp(session)
            with session.audit_only_channel(ChannelRequest("subsystem", "sftp")) as channel:
                try:
                    yield SftpSession(session, sftp, channel)
                except ClientClosedError:
                    session.set_end(EndReason.DOWNSTREAM_LOST)
                    raise
                except FilesError:
                    session.set_end(EndReason.CLOSED)  # the answer explains the error
                    channel.record_end(0, session.sent, session.received)
                    raise
                channel.record_end(0, session.sent, session.received)
    except SessionEndedError as error:
        reason = Reason.DRAINING if error.end is EndReason.DRAINED else Reason.NO_GRANT
        raise FilesDeniedError(Denial(reason, str(error))) from None
    except ShellLoginError as error:
        raise FilesDeniedError(error.denial) from None
    except (asyncssh.Error, OSError) as error:
        raise FilesError(502, explain_hang_up(target.shell_name, error)) from None


async def _start_sftp(session: ShellSession) -> asyncssh.SFTPClient:
    """Start sftp in the shell. Raises ShellLoginError."""
    try:
        async with asyncio.timeout(SFTP_TIMEOUT_S):
            # Names are bytes, since not all of them are UTF-8.
            return await session.shell.start_sftp_client(path_encoding=None)
    except (asyncssh.Error, TimeoutError):
        shell_name = session.opened.ready.grant.target.shell_name
        why = f"the shell {shell_name} has no sftp, which moving files needs"
        raise ShellLoginError(Denial(Reason.UPSTREAM_REFUSED, why)) from None
