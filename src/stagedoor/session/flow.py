"""The one flow of all access methods, from a name and a credential to a stream to the shell.

    parse → authenticate → authorise → ensure → audit.open → connect → (carried) → audit.close

Each step takes the result of the step before it, and `enter` returns the last one: an `Entered`, or
the `Denial` of the step that refused. A listener translates its protocol on both sides of that
call. It cannot start in the middle: `enter` takes an identity, never a grant.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.model.credential import Credential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Claim, Grant, find_target
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    End,
    Ended,
    Opened,
    Origin,
    Ready,
    RunningSession,
)
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.session.access_control import AccessControl
from stagedoor.session.access_request import AskReason
from stagedoor.session.attempt import OPENED, LoginAttempt, OnTrace
from stagedoor.session.entered import Entered, describe_failed_hand_over
from stagedoor.session.line import Line, make_denied_line, make_ended_line, make_resumed_line
from stagedoor.session.ports import Connector, Ledger, Link, SessionConnector
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import require_recording
from stagedoor.session.start import start_shell
from stagedoor.wire.target import parse_target

NOT_NOW = (Reason.AUDIT_UNAVAILABLE, Reason.SESSION_OVER)
"""The denials of `Flow.adopt` that say nothing about the session: the store cannot be read or written, or
the session was opened by another version, or with another store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(AccessControl):
    """The stages in their order.

    `now` returns seconds since the epoch; `write_line` writes a log line, from any thread; `on_trace`
    gets the trace of each attempt, and is None if traces are not exported.
    """

    ledger: Ledger
    connector: Connector
    registry: Registry
    now: Callable[[], float]
    write_line: Callable[[Line], None]
    start_timeout_s: float
    on_trace: OnTrace | None = None

    async def observe(self, target: Target) -> ShellState:
        """Return the state of a target's shell. A shell that we do not start is probed."""
        state = await self.shells.observe(target)
        if state is not ShellState.UNKNOWN:
            return state
        shell = await self.shells.resolve(target)
        if shell is None:
            return ShellState.ABSENT
        answers = await self.connector.is_answering(shell)
        return ShellState.READY if answers else ShellState.UNREACHABLE

    async def observe_grants(self, identity: Identity) -> list[tuple[Grant, ShellState]]:
        """Return what `list_grants` yields, each with the state of its shell."""
        grants = list(self.list_grants(identity))
        states = await asyncio.gather(*(self.observe(grant.target) for grant in grants))
        return list(zip(grants, states, strict=True))

    def find_notice(self, target: Target) -> str | None:
        """Return a line that people should read about a target's shell as it runs now, or None."""
        return self.shells.find_notice(target)

    def has_target(self, target: Target) -> bool:
        """Return whether the target is one of those that the shells list, at no cost."""
        return self.shells.has_target(target)

    # Sessions: from `enter` to `leave`.

    async def enter_by_name(
        self,
        host: str,
        port: str,
        credential: Credential | None,
        origin: Origin,
        progress: Progress,
        *,
        waits: bool = False,
        ask_reason: AskReason | None = None,
        keeper: SessionConnector | None = None,
    ) -> Entered | Denial:
        """Enter by a protocol that has name and credential in one request (CONNECT). See `enter`.

        `keeper` takes the place of the connection to the shell, and may know the session to which the client
        comes back.
        """
        target = parse_target(host, port)
        if isinstance(target, Denial):
            return self.deny(target, origin)
        with LoginAttempt(origin, self.now, self.on_trace) as attempt:
            attempt.target = target.host_name
            attempt.begin("authenticate")
            identity = await self.authenticate(credential, origin.source)
            if isinstance(identity, Denial):
                attempt.outcome = identity.reason
                return self.deny(identity, attempt.origin, target=target)
            return await self._enter(
                identity,
                target,
                attempt,
                progress,
                waits=waits,
                ask_reason=ask_reason,
                keeper=keeper,
            )

    async def enter(
        self,
        identity: Identity,
        claim: Claim,
        origin: Origin,
        progress: Progress,
        *,
        start: bool = True,
        needs: Permission | None = None,
        waits: bool = False,
        ask_reason: AskReason | None = None,
    ) -> Entered | Denial:
        """Open a session and return it, or a denial, which is in the audit and the log.

        `needs` is a permission that the session requires besides entering: without it the login is
        refused, and the session ends when it is withdrawn.

        If the target requires a fresh proof of identity, `progress` shows a client that
        `waits` how to give one, and the call waits for it. Other clients are refused with the same line.
        The same goes for a user without a grant who may ask for access; `ask_reason` asks for the reason.

        With `start` False, and for guests, a shell that does not run is not started. A cancelled
        call leaves nothing behind.
        """
        with LoginAttempt(origin, self.now, self.on_trace) as attempt:
            return await self._enter(
                identity,
                claim,
                attempt,
                progress,
                start=start,
                needs=needs,
                waits=waits,
                ask_reason=ask_reason,
            )

    async def _enter(
        self,
        identity: Identity,
        claim: Claim,
        attempt: LoginAttempt,
        progress: Progress,
        *,
        start: bool = True,
        needs: Permission | None = None,
        waits: bool = False,
        ask_reason: AskReason | None = None,
        keeper: SessionConnector | None = None,
    ) -> Entered | Denial:
        attempt.identity = identity.name
        attempt.begin("authorise")
        grant = await self.admit(
            identity,
            claim,
            attempt.origin.source,
            progress,
            needs=needs,
            waits=waits,
            ask_reason=ask_reason,
            is_page=attempt.origin.way is AccessMethod.WEB,
        )
        grant = require_recording(attempt.origin.way, grant)
        if isinstance(grant, Denial):
            return self._refuse(grant, attempt, identity, find_target(claim))
        attempt.target = grant.target.host_name
        on_step, trace = attempt.begin_start(progress), int(attempt.context.trace_id, 16)
        ready = await self._ensure(grant, on_step, trace, start=start and grant.guest is None)
        opened = ready if isinstance(ready, Denial) else await self._open(ready, attempt, keeper)
        if isinstance(opened, Denial):
            return self._refuse(opened, attempt, identity, grant.target)
        attempt.session = opened.id
        attempt.begin("connect")
        entered = await self._connect(opened, needs, keeper)
        attempt.outcome = entered.reason if isinstance(entered, Denial) else OPENED
        return entered

    def _refuse(
        self, denial: Denial, attempt: LoginAttempt, identity: Identity, target: Target | None
    ) -> Denial:
        attempt.outcome = denial.reason
        return self.deny(denial, attempt.origin, identity, target)

    def deny(
        self,
        denial: Denial,
        origin: Origin,
        identity: Identity | None = None,
        target: Target | None = None,
    ) -> Denial:
        """Record a refused login in the audit and the log, and return `denial`."""
        name = identity.name if identity else None
        self.ledger.deny(denial, origin.way, origin.source, identity=name, target=target)
        self.write_line(make_denied_line(denial, origin, name, target))
        return denial

    async def adopt(
        self, packed: str, target: Target, origin: Origin, earlier: RunningSession
    ) -> Opened | Denial:
        """Take over a session whose client is away, and whose worker has ended. Then `attach` its link.

        `packed` is its identity (`authn.packed_identity`). A denial with a reason of `NOT_NOW` says that this
        process cannot judge the session now; any other is recorded, and ends the session.
        """
        identity = self.authenticator.restore(packed)
        grant = (
            identity
            if isinstance(identity, Denial)
            else self.authoriser.authorise(identity, target, begins=False)
        )
        if isinstance(grant, Denial):
            return grant if grant.reason in NOT_NOW else self.deny(grant, origin, target=target)
        shell = await self.shells.resolve(target)
        if shell is None:
            gone = Denial(Reason.SHELL_UNAVAILABLE, f"the shell {target.shell_name} does not run")
            return self.deny(gone, origin, grant.identity, target)
        opened = await self.ledger.open(Ready(grant, shell), origin.way, origin.source, earlier)
        if isinstance(opened, Opened):
            self.shells.touch(target)
            self.registry.register(opened)
            self.write_line(make_resumed_line(opened, earlier))
        return opened

    # For `Entered` (`ports.SessionOwner`).

    def attach(self, opened: Opened, link: Link) -> None:
        """Ask `link` to close when the session must end."""
        self.registry.attach(opened, link)

    def leave(self, opened: Opened, ended: Ended) -> None:
        """End a session. May be called from any thread."""
        try:
            self.ledger.close_session(opened, ended)
            self.shells.release(opened.ready.grant.target)
            self.write_line(make_ended_line(opened, ended, self.now()))
        finally:
            # Last: a gateway that stops waits until no session is left, and then closes the audit.
            self.registry.unregister(opened)

    def release(self, opened: Opened, counts: Counts) -> None:
        """Leave a session to another connection or process, in which it goes on. Any thread."""
        self.ledger.release(opened, counts)
        self.shells.release(opened.ready.grant.target)
        self.registry.unregister(opened)

    async def _ensure(
        self, grant: Grant, progress: Progress, trace: int, *, start: bool
    ) -> Ready | Denial:
        """Return the running shell, if the grant still holds then. A shell is started only with `start`.

        A guest who only watches enters by the host's grant.
        """
        shell: Shell | Denial | None = None
        if not start:
            shell = await self.shells.resolve(grant.target)
            if shell is None:
                return Denial(
                    Reason.SHELL_UNAVAILABLE,
                    f"the shell {grant.target.shell_name} does not run now",
                )
        if shell is None or grant.guest is None or grant.guest.may_type:
            shell = self.shells.find_ready(grant) or await start_shell(
                self.shells, grant, progress, self.start_timeout_s
            )
        if isinstance(shell, Denial):
            return shell
        still = self.authoriser.judge_again(grant)
        return still if isinstance(still, Denial) else Ready(still, shell, trace)

    async def _open(
        self, ready: Ready, attempt: LoginAttempt, keeper: SessionConnector | None
    ) -> Opened | Denial:
        """Start the time of the access request, if there is one, and open the session in the audit."""
        grant = await self.begin_time(ready.grant)
        if isinstance(grant, Denial):
            return grant
        if grant is not ready.grant:
            ready = Ready(grant, ready.shell, ready.trace)
        attempt.begin("audit")
        earlier = None if keeper is None else await keeper.find(ready)
        if isinstance(earlier, Denial):
            return earlier
        opened = await self.ledger.open(ready, attempt.origin.way, attempt.origin.source, earlier)
        if isinstance(opened, Opened) and earlier is not None:
            self.write_line(make_resumed_line(opened, earlier))
        return opened

    async def _connect(
        self, opened: Opened, needs: Permission | None, keeper: SessionConnector | None
    ) -> Entered | Denial:
        """Connect a session that is open in the audit. If that fails, end it there."""
        self.shells.touch(opened.ready.grant.target)
        self.registry.register(opened, needs)
        try:
            dial = self.connector.connect
            stream = await (dial(opened.ready) if keeper is None else keeper.reach(opened, dial))
        except BaseException as error:
            self.leave(opened, describe_failed_hand_over(error))
            raise
        if isinstance(stream, Denial):
            self.leave(opened, Ended(End.UNREACHED, detail=stream.message))
            return stream
        return Entered(self, opened, stream)
