"""A stay in a shell to move files: let in by the flow, sftp to the shell's sshd, and out again.

Each request is a session of its own: grants are asked, the audit names it, and whoever has to
leave leaves in the middle of a file.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncssh

from stagedoor.listeners.web.backstage import Backstage
from stagedoor.listeners.web.files_words import FilesError, shown
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.session import Counts, End, Ended, Opened, Way
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.witness import Asked, Witness
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, OnEnd
from stagedoor.upstream.connection import hung_up
from stagedoor.upstream.login import UnreachedError
from stagedoor.wire.sftp import FileEvent

SFTP_TIMEOUT_S = 15.0
"""The shell's sftp must be there within this time of the login."""


class DeniedError(Exception):
    """The flow said no, or said later that it is over."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.message)
        self.denial = denial


class GoneError(Exception):
    """The developer's side has gone, or fell silent."""


class Stay:
    """Satisfies `session.ports.Door` and `session.ports.Link`. Belongs to one event loop.

    `sftp` is there inside `entered`. Whoever moves bytes adds them to `sent` and `received`.
    """

    way = Way.WEB

    def __init__(self, backstage: Backstage, source: Source) -> None:
        self.source = source
        self.sent = 0
        self.received = 0
        self._backstage = backstage
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._denial: Denial | None = None
        self._sftp: asyncssh.SFTPClient | None = None
        self._shell: asyncssh.SSHClientConnection | None = None
        self._witness: Witness | None = None
        self._on_end: OnEnd | None = None
        self._end: tuple[End, str] | None = None

    @property
    def sftp(self) -> asyncssh.SFTPClient:
        assert self._sftp is not None, "only inside `entered`"
        return self._sftp

    @asynccontextmanager
    async def entered(self, identity: Identity, target: Target) -> AsyncIterator["Stay"]:
        """Inside, until the block ends. Raises DeniedError: at once, or when it is over in the middle."""
        end, detail = End.FAULT, "a fault in the gateway; its log has more"
        try:
            await self._backstage.flow.enter_as(identity, target, self)
            if self._denial is not None:
                raise DeniedError(self._denial)
            yield self
            if self._end is not None:
                await asyncio.sleep(0)  # told to end at the last moment: it ends here
            end, detail = End.CLOSED, ""
        except asyncio.CancelledError:
            end, detail = self._end or (End.DRAINED, "the gateway is stopping")
            if self._end is None or self._task is None:
                raise
            self._task.uncancel()
            reason = Reason.DRAINING if end is End.DRAINED else Reason.NO_GRANT
            raise DeniedError(Denial(reason, detail or end.value)) from None
        except GoneError:
            end, detail = End.DOWNSTREAM_LOST, ""
            raise
        except FilesError:
            end, detail = End.CLOSED, ""  # told to the developer, and over
            raise
        except (asyncssh.Error, OSError) as error:
            end, detail = End.UPSTREAM_LOST, hung_up(target.shell_name, error)
            raise FilesError(502, detail) from None
        finally:
            self._leave(end, detail)

    def moved(self, path: bytes, did: str = "transfer", *, whole: bool = True) -> None:
        """Write down what happened to a file of this stay."""
        if self._witness is not None:
            self._witness.files_done(
                [FileEvent(did, shown(path), None, self.sent, self.received, whole)]
            )

    # What the flow asks for: a door.

    async def refuse(self, denial: Denial) -> None:
        self._denial = denial

    def progress(self, step: StartStep) -> None:
        """The terminal beside it shows how far a shell is."""

    async def open(self, opened: Opened, upstream: Stream, on_end: OnEnd) -> Link:
        grant = opened.ready.grant
        try:
            self._shell = await self._backstage.log_in(grant, upstream)
            async with asyncio.timeout(SFTP_TIMEOUT_S):
                # Bytes in, bytes out: not every name is UTF-8.
                self._sftp = await self._shell.start_sftp_client(path_encoding=None)
        except UnreachedError as error:
            return self._not_carried(str(error), on_end)
        except (asyncssh.Error, TimeoutError):
            if self._shell is not None:
                self._shell.abort()
            why = f"the shell {grant.target.shell_name} has no sftp, by which files are moved"
            return self._not_carried(why, on_end)
        self._on_end = on_end
        self._witness = Witness(
            self._backstage.note, opened, 1, Asked("subsystem", "sftp"), recording=None
        )
        return self

    def _not_carried(self, why: str, on_end: OnEnd) -> Link:
        self._denial = Denial(Reason.UPSTREAM_REFUSED, why)
        on_end(Ended(End.UNREACHED, detail=why))
        return self

    # What the flow asks for: a link.

    def counts(self) -> Counts:
        return Counts(self.sent, self.received)

    def close(self, end: End, detail: str = "") -> None:
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    def _close(self, end: End, detail: str) -> None:
        if self._end is None and self._on_end is not None and self._task is not None:
            self._end = (end, detail)
            self._task.cancel()

    def _leave(self, end: End, detail: str) -> None:
        """Every way out; a second one does nothing."""
        on_end, self._on_end = self._on_end, None
        if self._shell is not None:
            # Not `close`, which would wait for what a shell that hangs has not taken yet.
            self._shell.abort()
        if on_end is None:
            return
        if self._witness is not None:
            self._witness.ended(0 if end is End.CLOSED else None, self.sent, self.received)
        on_end(Ended(end, self.counts(), detail))
