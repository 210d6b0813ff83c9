"""The one flow of all access methods, from a name and a credential to a stream to the shell.

    parse → authenticate → authorise → ensure → audit.open → connect → (carried) → audit.close

Each step takes the result of the step before it. `enter` returns the last result, an `EnteredSession`, or the
`Denial` of the step that refused. A listener translates its protocol before and after that call. It cannot
start in the middle, because `enter` takes an identity, never a grant.
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
    EndReason,
    LoginOrigin,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import Progress, Shell, ShellState
from stagedoor.model.target import Target
from stagedoor.session.access_control import AccessControl
from stagedoor.session.access_request import AskReason
from stagedoor.session.attempt import OPENED, LoginAttempt, OnTrace
from stagedoor.session.entered import EnteredSession, describe_failed_connect
from stagedoor.session.line import (
    LogLine,
    make_denied_line,
    make_ended_line,
    make_not_resumed_line,
    make_resumed_line,
)
from stagedoor.session.ports import Connector, Ledger, RelayHandle, ResumableConnector
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import require_recording
from stagedoor.session.start import start_shell
from stagedoor.wire.target import parse_target

UNDECIDED = (Reason.AUDIT_UNAVAILABLE, Reason.SESSION_OVER)
"""The reasons for which `Flow.adopt` cannot judge a session now: the store cannot be read or written, or the
session was opened by another version or with another store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(AccessControl):
    """The stages of a login, in order.

    `now` returns seconds since the epoch; `write_line` writes a log line, from any thread; `on_trace`
    gets the trace of each attempt with a well-formed target, and is None if traces are not exported.
    """

    ledger: Ledger
    connector: Connector
    registry: Registry
    now: Callable[[], float]
    write_line: Callable[[LogLine], None]
    start_timeout_s: float
    on_trace: OnTrace | None = None

    async def observe(self, target: Target) -> ShellState:
        """Return the state of a target's shell. Probe a shell that the gateway does not start."""
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
        """Return a line for the users of a target's running shell, or None."""
        return self.shells.find_notice(target)

    def has_target(self, target: Target) -> bool:
        """Return whether the shells list the target. Costs nothing."""
        return self.shells.has_target(target)

    # Sessions: from `enter` to `close_session`.

    async def enter_by_name(
        self,
        host: str,
        port: str,
        credential: Credential | None,
        origin: LoginOrigin,
        progress: Progress,
        *,
        may_wait: bool = False,
        ask_reason: AskReason | None = None,
        resumable: ResumableConnector | None = None,
    ) -> EnteredSession | Denial:
        """Enter with a name and a credential that came in one request (CONNECT). See `enter`.

        `resumable` connects to the shell in place of the connector, and may find an earlier session that the
        client resumes.
        """
        target = parse_target(host, port)
        if isinstance(target, Denial):
            return self.record_denial(target, origin)
        with LoginAttempt(origin, self.now, self.on_trace) as attempt:
            attempt.target = target.host_name
            attempt.begin("authenticate")
            identity = await self.authenticate(credential, origin.source)
            if isinstance(identity, Denial):
                attempt.outcome = identity.reason
                return self.record_denial(identity, attempt.origin, target=target)
            return await self._enter(
                identity,
                target,
                attempt,
                progress,
                may_wait=may_wait,
                ask_reason=ask_reason,
                resumable=resumable,
            )

    async def enter(
        self,
        identity: Identity,
        claim: Claim,
        origin: LoginOrigin,
        progress: Progress,
        *,
        start: bool = True,
        needs: Permission | None = None,
        may_wait: bool = False,
        ask_reason: AskReason | None = None,
    ) -> EnteredSession | Denial:
        """Open a session and return it, or a denial, which is in the audit and the log.

        `needs` is a permission that the session requires besides entering: without it the login is
        refused, and the session ends when it is withdrawn.

        If the target requires a fresh proof of identity and the client `may_wait`, `progress` shows how to
        give one, and the call waits for it. Clients that cannot wait are refused with the same line. Users
        without a grant who may request access wait in the same way; `ask_reason` asks them for the reason.

        With `start` False, and for guests, a stopped shell is not started. A cancelled call leaves nothing
        behind.
        """
        with LoginAttempt(origin, self.now, self.on_trace) as attempt:
            return await self._enter(
                identity,
                claim,
                attempt,
                progress,
                start=start,
                needs=needs,
                may_wait=may_wait,
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
        may_wait: bool = False,
        ask_reason: AskReason | None = None,
        resumable: ResumableConnector | None = None,
    ) -> EnteredSession | Denial:
        attempt.identity = identity.name
        attempt.begin("authorise")
        grant = await self.admit(
            identity,
            claim,
            attempt.origin.source,
            progress,
            needs=needs,
            may_wait=may_wait,
            ask_reason=ask_reason,
            is_page=attempt.origin.access_method is AccessMethod.WEB,
        )
        grant = require_recording(attempt.origin.access_method, grant)
        if isinstance(grant, Denial):
            return self._record_refusal(grant, attempt, identity, find_target(claim))
        attempt.target = grant.target.host_name
        on_step = attempt.begin_shell_step(progress)
        trace_number = int(attempt.context.trace_id, 16)
        ready = await self._ensure(
            grant, on_step, trace_number, start=start and grant.guest is None
        )
        opened = ready if isinstance(ready, Denial) else await self._open(ready, attempt, resumable)
        if isinstance(opened, Denial):
            return self._record_refusal(opened, attempt, identity, grant.target)
        attempt.session = opened.id
        attempt.begin("connect")
        entered = await self._connect(opened, needs, resumable)
        attempt.outcome = entered.reason if isinstance(entered, Denial) else OPENED
        return entered

    async def _ensure(
        self, grant: Grant, progress: Progress, trace_number: int, *, start: bool
    ) -> ReadyShell | Denial:
        """Return the running shell, if the grant is still valid by then.

        Without `start`, refuse if the shell does not run. A shell that runs but is not ready may still be
        replaced or started. For a watching guest the cluster's permission is not checked, because the host's
        login was.
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
        current = self.authoriser.judge_again(grant)
        return current if isinstance(current, Denial) else ReadyShell(current, shell, trace_number)

    async def _open(
        self, ready: ReadyShell, attempt: LoginAttempt, resumable: ResumableConnector | None
    ) -> OpenedSession | Denial:
        """Start the clock of the access request, if there is one, and open the session in the audit."""
        grant = await self.start_access_clock(ready.grant)
        if isinstance(grant, Denial):
            return grant
        if grant is not ready.grant:
            ready = ReadyShell(grant, ready.shell, ready.trace_number)
        attempt.begin("audit")
        earlier = None if resumable is None else await resumable.find_earlier(ready)
        if isinstance(earlier, Denial):
            return earlier
        opened = await self.ledger.open(
            ready, attempt.origin.access_method, attempt.origin.source, earlier
        )
        if isinstance(opened, OpenedSession) and earlier is not None:
            self.write_line(make_resumed_line(opened, earlier))
        return opened

    async def _connect(
        self, opened: OpenedSession, needs: Permission | None, resumable: ResumableConnector | None
    ) -> EnteredSession | Denial:
        """Connect a session that is open in the audit. If that fails, end it, or leave an earlier one."""
        self.shells.touch(opened.ready.grant.target)
        self.registry.register(opened, needs)
        try:
            dial = self.connector.connect
            stream = await (
                dial(opened.ready) if resumable is None else resumable.connect(opened, dial)
            )
        except BaseException as error:
            self._close_unconnected(opened, describe_failed_connect(error), resumable)
            raise
        if isinstance(stream, Denial):
            ended = SessionResult(EndReason.UNREACHED, detail=stream.message)
            self._close_unconnected(opened, ended, resumable)
            if opened.continues is not None:
                # The next login of this client must find the session where it is, not here.
                await self.ledger.wait_for_writes()
            return stream
        return EnteredSession(self, opened, stream)

    def _close_unconnected(
        self, opened: OpenedSession, ended: SessionResult, resumable: ResumableConnector | None
    ) -> None:
        """End a session that could not be connected. An earlier one may continue without this login."""
        if opened.continues is None or resumable is None:
            self.close_session(opened, ended)
        elif (over := resumable.find_earlier_end(opened.before)) is not None:
            self.close_session(opened, over)
        else:
            self.ledger.return_session(opened, ended.detail)
            self.shells.release(opened.ready.grant.target)
            self.registry.unregister(opened)
            self.write_line(make_not_resumed_line(opened, ended.detail))

    def _record_refusal(
        self, denial: Denial, attempt: LoginAttempt, identity: Identity, target: Target | None
    ) -> Denial:
        attempt.outcome = denial.reason
        return self.record_denial(denial, attempt.origin, identity, target)

    def record_denial(
        self,
        denial: Denial,
        origin: LoginOrigin,
        identity: Identity | None = None,
        target: Target | None = None,
    ) -> Denial:
        """Record a refused login in the audit and the log, and return `denial`."""
        name = identity.name if identity else None
        self.ledger.record_denial(
            denial, origin.access_method, origin.source, identity=name, target=target
        )
        self.write_line(make_denied_line(denial, origin, name, target))
        return denial

    async def adopt(
        self, packed: str, target: Target, origin: LoginOrigin, earlier: ResumedSession
    ) -> OpenedSession | Denial:
        """Take over a session whose client is away and whose worker has ended. The caller attaches a handle.

        `packed` is its identity (`authn.packed_identity`). A denial with a reason in `UNDECIDED` means that
        this process cannot judge the session now. Any other denial is recorded, and the caller ends the
        session.
        """
        identity = self.authenticator.restore(packed)
        grant = (
            identity
            if isinstance(identity, Denial)
            else self.authoriser.authorise(identity, target, includes_unbegun=False)
        )
        if isinstance(grant, Denial):
            return (
                grant
                if grant.reason in UNDECIDED
                else self.record_denial(grant, origin, target=target)
            )
        shell = await self.shells.resolve(target)
        if shell is None:
            denial = Denial(Reason.SHELL_UNAVAILABLE, f"the shell {target.shell_name} does not run")
            return self.record_denial(denial, origin, grant.identity, target)
        opened = await self.ledger.open(
            ReadyShell(grant, shell), origin.access_method, origin.source, earlier
        )
        if isinstance(opened, OpenedSession):
            self.shells.touch(target)
            self.registry.register(opened)
            self.write_line(make_resumed_line(opened, earlier))
        return opened

    # For `EnteredSession` (`ports.SessionOwner`).

    def attach(self, opened: OpenedSession, handle: RelayHandle) -> None:
        """Ask `handle` to close when the session must end."""
        self.registry.attach(opened, handle)

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        """End a session. Any thread may call it."""
        try:
            self.ledger.close_session(opened, ended)
            self.shells.release(opened.ready.grant.target)
            self.write_line(make_ended_line(opened, ended, self.now()))
        finally:
            # Last, because a stopping gateway closes the audit once no session is registered.
            self.registry.unregister(opened)

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        """Stop carrying a session here: it continues elsewhere. Any thread may call it."""
        self.ledger.release(opened, counts)
        self.shells.release(opened.ready.grant.target)
        self.registry.unregister(opened)
