"""A session at a terminal over one WebSocket, from its admission to its last notice."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import NamedTuple

import anyio

from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.shell_access import ShellAccess, make_no_holder_denial
from stagedoor.listeners.web.terminal.people import (
    PresenceNotices,
    check_guest_terminal,
    make_holder_hello,
    restrict_hello,
)
from stagedoor.listeners.web.terminal.relay import LAST_WORDS_S, TerminalRelay
from stagedoor.listeners.web.terminal.socket import TerminalSocket
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Claim
from stagedoor.model.identity import Identity
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.session import STOPPING, EndReason
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import Source
from stagedoor.recording.channel_audit import ChannelAudit, ChannelRequest
from stagedoor.recording.recorder import RecordingError
from stagedoor.session.end_notices import EndNotices
from stagedoor.session.entered import EnteredSession
from stagedoor.tasks import Tasks
from stagedoor.upstream.login import ShellLoginError
from stagedoor.upstream.session import (
    SessionEndedError,
    ShellSession,
    open_shell_session,
)
from stagedoor.wire.terminal.frames import (
    Feature,
    Hello,
    HolderFrame,
    Mode,
    Notice,
    NoticeKind,
    People,
)

_PTY = "permit-pty"


class TerminalAddress(NamedTuple):
    """The address of a terminal: its target as text, and its name there."""

    target: str
    name: str


class TerminalSession:
    """A client's session at one terminal. Belongs to one event loop.

    `terminal` is None until the client is admitted.
    """

    def __init__(
        self,
        access: ShellAccess,
        client: TerminalSocket,
        source: Source,
        hello: Hello,
        on_change: Callable[[], None],
        explain_sign_in_end: Callable[[], Denial | None],
    ) -> None:
        """Create a session for `run`. `on_change` is called when it begins and ends.

        `explain_sign_in_end` returns why the user's sign-in is over, or None while it lasts.
        """
        self._access = access
        self._client = client
        self._origin = make_web_login_origin(source)
        self._hello = hello
        self._on_change = on_change
        self._explain_sign_in_end = explain_sign_in_end
        self._room = asyncio.Event()
        self._context = copy_context()  # with the client's language
        self._tasks = Tasks("a fault beside the bytes of a terminal")
        """The tasks that send notices and that write presence."""
        self._is_watching = self._has_sent_reason = False
        self._people = PresenceNotices(access.now)
        self.terminal: TerminalAddress | None = None

    async def run(self, identity: Identity, claim: Claim) -> None:
        """Admit the client and serve its terminal. Return once the session is over."""
        denied = await self._enter(identity, claim)
        if denied is not None:
            self._send(Notice(NoticeKind.DENIED, denied))
        await self._tasks.wait()
        await self._client.close()

    def notify_present(self, present: Sequence[PresenceEntry]) -> None:
        """Send the client the people at this terminal, if they have changed.

        This is called repeatedly, with the same object if no session at this terminal has changed.
        """
        assert self.terminal is not None, "the session is at a terminal"
        self._notify_people(self._people.set_present(present))

    async def _enter(self, identity: Identity, claim: Claim) -> str | None:
        """Serve the terminal until the session is over. Return the refusal's line, or None."""
        flow = self._access.flow
        grant = await flow.authorise(identity, claim)
        if not isinstance(grant, Denial) and grant.guest is not None:
            denial = check_guest_terminal(self._hello, grant.guest)
            if denial is not None:
                return flow.record_denial(denial, self._origin, identity, grant.target).line
        entered = await flow.enter(identity, claim, self._origin, self._send_step)
        if isinstance(entered, Denial):
            return entered.line
        guest = entered.grant.guest
        if guest is not None:
            self._hello = restrict_hello(self._hello, guest)
            self._is_watching = not guest.may_type
        return await self._serve_entered(entered)

    async def _serve_entered(self, entered: EnteredSession) -> str | None:
        grant = entered.grant
        holder_command = self._access.find_holder_command(grant.target)
        if holder_command is None:
            missing = make_no_holder_denial(grant.target.shell_name)
            entered.give_up(missing.message)
            return missing.line
        attaching = asyncio.create_task(self._add_presence(entered))
        try:
            async with open_shell_session(entered, self._access.upstream, [_PTY]) as session:
                return await self._run_relay(session, holder_command, attaching)
        except ShellLoginError as error:
            return error.denial.line
        except SessionEndedError as error:
            await self._send_reason(error.end, error.detail)
        except asyncio.CancelledError:
            await self._send_reason(EndReason.DRAINED, STOPPING)
        finally:
            self._tasks.start(self._remove_presence(attaching, entered.opened.id))
        return None

    async def _run_relay(
        self,
        session: ShellSession,
        holder_command: Sequence[str],
        attaching: "asyncio.Task[Denial | None]",
    ) -> str | None:
        grant = session.opened.ready.grant
        joins_only = grant.guest is not None or self._hello.mode is Mode.WATCH
        # The owner must see a guest in the list before the guest sees any output.
        denial = await asyncio.shield(attaching)
        if denial is not None and (joins_only or denial.reason is Reason.OVERLOADED):
            session.set_end(EndReason.UNREACHED, denial.line)
            return denial.line
        try:
            channel = await self._audit(session)
        except RecordingError as error:
            why = (
                f"this terminal has to be recorded and cannot be ({error}); "
                "report this to an administrator"
            )
            session.set_end(EndReason.UNRECORDED, why)
            return why
        relay = TerminalRelay(
            self._client,
            make_holder_hello(self._hello, grant),
            session,
            channel,
            self._room,
            joins_only=joins_only,
            is_watching=self._is_watching,
            on_people=self._take_people,
        )
        notices = EndNotices(self._notify_end, self._access.now)
        if self._hello.features & Feature.ENDING:
            session.on_grant = notices.plan
            notices.plan(session.grant)
        try:
            self.terminal = TerminalAddress(str(grant.target), self._hello.terminal)
            self._on_change()
            session.set_end(*await relay.carry(holder_command))
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await self._send_reason(*(session.requested_end or (EndReason.DRAINED, STOPPING)))
            raise
        finally:
            notices.cancel()
            code = relay.exit.code if relay.exit else None
            channel.record_end(code, session.sent, session.received)
        return None

    async def _add_presence(self, entered: EnteredSession) -> Denial | None:
        grant, hello = entered.grant, self._hello
        return await self._access.presence.attach(
            entered.opened.id,
            grant.target,
            hello.terminal,
            is_watching=hello.mode is Mode.WATCH,
            share=grant.guest.share if grant.guest else None,
        )

    async def _audit(self, session: ShellSession) -> ChannelAudit:
        """Begin the channel's audit. Raises RecordingError if it must be recorded and cannot be."""
        hello = self._hello
        return await session.audit_program(
            self._access.plan,
            ChannelRequest("shell", hello.command, hello.term, hello.size.columns, hello.size.rows),
            self._access.now(),
            partial(self._send, Notice(NoticeKind.RECORDED, "this terminal is recorded")),
            self._room.set,
            "this terminal",
        )

    async def _remove_presence(
        self, attaching: "asyncio.Task[Denial | None]", session_id: str
    ) -> None:
        await attaching
        await self._access.presence.detach(session_id)
        self._on_change()

    # Notices to the client.

    def _send_step(self, step: ProgressStep) -> None:
        self._send(Notice(NoticeKind.PROGRESS, step.line))

    def _take_people(self, people: People) -> None:
        self._notify_people(self._people.set_people(people))

    def _notify_people(self, people: People | None) -> None:
        if people is not None:
            self._send(people)

    def _notify_end(self, line: str) -> None:
        self._send(Notice(NoticeKind.ENDING, line))

    async def _send_reason(self, end: EndReason, detail: str) -> None:
        if self._has_sent_reason:
            return
        self._has_sent_reason = True
        kind = NoticeKind.REVOKED if self._explain_sign_in_end() is None else NoticeKind.SIGNED_OUT
        if end is EndReason.DRAINED:
            kind = NoticeKind.DRAINED
        with suppress(ClientClosedError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._client.send(Notice(kind, detail or end.value))

    def _send(self, frame: HolderFrame) -> None:
        async def send() -> None:
            with suppress(ClientClosedError):
                await self._client.send(frame)

        # A step of a start comes from a task that other clients may wait for too.
        self._context.run(self._tasks.start, send())
