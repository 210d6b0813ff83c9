"""The one flow of all access methods, from a name and a credential to a stream to the shell.

    parse → authenticate → authorise → ensure → audit.open → connect → (carried) → audit.close

Each step takes the result of the step before it, and `enter` returns the last one: an `Entered`, or
the `Denial` of the step that refused. A listener translates its protocol on both sides of that
call. It cannot start in the middle: `enter` takes an identity, never a grant.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from stagedoor.model.credential import Credential
from stagedoor.model.denial import UNREAD, Denial, Reason
from stagedoor.model.grant import Claim, Grant, SharedTerminal, WatchedTerminal, find_target
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
from stagedoor.model.shell import Progress, Shell, ShellState, StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session import step_up
from stagedoor.session.access_request import ACCESS_WAIT_S, AccessWait, AskReason
from stagedoor.session.attempt import OPENED, LoginAttempt, OnTrace
from stagedoor.session.entered import Entered, never_carried
from stagedoor.session.line import Line, denied_line, ended_line, make_resumed_line
from stagedoor.session.ports import (
    AccessRequests,
    Authenticator,
    Authoriser,
    Connector,
    Ledger,
    Link,
    PolicyReader,
    SessionConnector,
    StepUps,
)
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import needed
from stagedoor.shells.ports import Shells
from stagedoor.wire.target import parse_target

FIRST_STEP = StartStep("asked for")
_BY_POLICY = (Reason.CREDENTIAL_WRONG, Reason.NO_GRANT, Reason.STEP_UP_NEEDED)
"""The refusals that a change of the policy can lift."""
NOT_NOW = (Reason.AUDIT_UNAVAILABLE, Reason.SESSION_OVER)
"""The denials of `Flow.adopt` that say nothing about the session: the store cannot be read or written, or
the session was opened by another version, or with another store."""
_Proof = TypeVar("_Proof")
_Wanted = TypeVar("_Wanted", Grant, Target)


@dataclass(frozen=True, slots=True)
class Flow:
    """The stages in their order.

    `now` returns seconds since the epoch; `write_line` writes a log line, from any thread; `on_trace`
    gets the trace of each attempt, and is None if traces are not exported.
    """

    authenticator: Authenticator
    authoriser: Authoriser
    policy: PolicyReader
    shells: Shells
    ledger: Ledger
    connector: Connector
    registry: Registry
    now: Callable[[], float]
    write_line: Callable[[Line], None]
    start_timeout_s: float
    step_ups: StepUps | None = None
    """None if users cannot be asked for a fresh proof: then those who need one are refused."""
    access_requests: AccessRequests | None = None
    """None if users cannot ask for access: then those without a grant are refused."""
    on_trace: OnTrace | None = None

    # Identities, and what they may do.

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        """Verify a credential.

        The listener decides whether a denial goes into the audit (`deny`): an SSH client offers many
        keys before one is accepted.
        """
        return await self.by_newest_policy(
            lambda: self.authenticator.authenticate(credential, source)
        )

    def present_now(self, identity: Identity) -> Identity:
        """Return `identity` as present now, because its security key asked for a PIN or a finger.

        The listener has verified the key's signature of that.
        """
        return self.authenticator.present_now(identity)

    def still_holds(self, credential: Credential, identity: Identity) -> Denial | None:
        """Return why an authenticated connection must end now, or None if it may stay."""
        return self.authenticator.still_holds(credential, identity)

    async def authorise(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """Return the grant for a claim, for a listener to show. `enter` authorises the claim itself."""
        return await self._judge_in_memory(lambda: self.authorise_in_memory(identity, claim))

    async def by_newest_policy(
        self, verdict: Callable[[], Awaitable[_Proof | Denial]]
    ) -> _Proof | Denial:
        """Return the verdict, asked for again if it is a refusal and the policy in the store is newer."""
        version, unread = self.policy.version, self.policy.unread
        proof = await verdict()
        if not isinstance(proof, Denial):
            return proof
        return await self._stands(proof, version, unread) or await verdict()

    async def _judge_in_memory(self, verdict: Callable[[], _Proof | Denial]) -> _Proof | Denial:
        """Do what `by_newest_policy` does with a verdict that waits for nothing."""
        version, unread = self.policy.version, self.policy.unread
        proof = verdict()
        if not isinstance(proof, Denial):
            return proof
        return await self._stands(proof, version, unread) or verdict()

    async def _stands(self, refusal: Denial, version: int, unread: bool) -> Denial | None:
        """Return the refusal that stands, or None if the policy in the store is newer and may lift it.

        `version` and `unread` are the policy's, from before the refusal. The policy in memory may be half
        a second old. A token or grant that was created meanwhile must work at once; a right that was
        removed meanwhile is noticed at the next poll. A policy that could not be read for too long
        refuses every login, with `UNREAD`: it does not know what is true now.
        """
        if refusal.reason not in _BY_POLICY:
            return refusal
        if unread or self.policy.unread:  # the store may have failed, or recovered, meanwhile
            return UNREAD
        return None if await self.policy.newer_than(version) else refusal

    async def check_step_up(self, identity: Identity, wanted: _Wanted) -> _Wanted | Denial:
        """Return `wanted`, or a denial if its target requires a fresh proof that the person is there."""
        target = wanted.target if isinstance(wanted, Grant) else wanted
        return await self._judge_in_memory(
            lambda: self.authoriser.step_up_needed(identity, target) or wanted
        )

    async def wait_for_step_up(
        self,
        identity: Identity,
        grant: Grant,
        source: Source,
        progress: Progress | None = None,
        wait_s: float = step_up.STEP_UP_WAIT_S,
    ) -> Grant | Denial:
        """Return `grant`, or a denial, after asking the person at a terminal for a fresh proof if needed.

        The denial has the address at which to give the proof. With `progress`, the terminal shows the
        address and waits up to `wait_s` seconds for the proof.
        """
        verdict = await self.check_step_up(identity, grant)
        if isinstance(verdict, Grant) or self.step_ups is None:
            return verdict
        request = step_up.StepUpRequest(
            self.step_ups, self.authoriser, self.policy, identity, grant
        )
        return await request.wait(verdict, source, progress, wait_s)

    async def wait_for_access(
        self,
        identity: Identity,
        claim: Claim,
        refused: Denial,
        progress: Progress,
        *,
        needs: Permission | None = None,
        waits: bool = False,
        ask_reason: AskReason | None = None,
        wait_s: float = ACCESS_WAIT_S,
    ) -> Grant | Denial:
        """Return the grant once an approver has let the user in, or a denial.

        `refused` is the denial so far. A client that `waits` is shown by `progress` how to ask; `ask_reason`
        asks for the reason at a terminal.
        """
        if (
            self.access_requests is None
            or not isinstance(claim, Target)
            or refused.reason is not Reason.NO_GRANT
        ):
            return refused
        wait = AccessWait(
            self.access_requests,
            self.policy,
            lambda: needed(needs, self.authorise_in_memory(identity, claim)),
            identity,
            claim,
            needs or Permission.ENTER,
        )
        return await wait.wait(refused, progress, ask_reason, waits=waits, wait_s=wait_s)

    def may_ask(self, identity: Identity, target: Target, refused: Denial) -> bool:
        """Return whether the user, who is `refused` at `target`, may ask for access there."""
        requests = self.access_requests
        if requests is None or refused.reason is not Reason.NO_GRANT:
            return False
        return requests.find_offer(identity, target, Permission.ENTER) is not None

    def explain_asking(self, identity: Identity, target: Target, lacks: Permission | None) -> str:
        """Return how the user asks for a permission that they lack, for the end of a refusal, or nothing."""
        if lacks is None or self.access_requests is None:
            return ""
        offer = self.access_requests.find_offer(identity, target, lacks)
        return "" if offer is None else f"; {offer.line}; ask: {offer.where}, then connect again"

    def authorise_in_memory(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """Authorise by the policy in memory, at once: for lists, where refusals are the normal case."""
        match claim:
            case Target():
                return self.authoriser.authorise(identity, claim)
            case SharedTerminal(share_id):
                return self.authoriser.by_share(identity, share_id)
            case WatchedTerminal(target, terminal, host):
                return self.authoriser.to_watch(identity, target, terminal, host)

    def grants(self, identity: Identity) -> Iterator[Grant]:
        """Yield the grants for the apps that `identity` may enter now, in order of name."""
        for target in self.shells.targets():
            grant = self.authoriser.authorise(identity, target)
            if isinstance(grant, Grant):
                yield grant

    async def observe(self, target: Target) -> ShellState:
        """Return the state of a target's shell. A shell that we do not start is probed."""
        state = await self.shells.observe(target)
        if state is not ShellState.UNKNOWN:
            return state
        shell = await self.shells.resolve(target)
        if shell is None:
            return ShellState.ABSENT
        answers = await self.connector.answers(shell)
        return ShellState.READY if answers else ShellState.UNREACHABLE

    def notice(self, target: Target) -> str | None:
        """Return a line that people should read about a target's shell as it runs now, or None."""
        return self.shells.notice(target)

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

        If the target requires a fresh proof that the person is there, `progress` shows a client that
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
        attempt.identity, origin = identity.name, attempt.origin
        attempt.begin("authorise")
        grant = needed(needs, await self.authorise(identity, claim))
        if isinstance(grant, Denial):
            grant = await self.wait_for_access(
                identity, claim, grant, progress, needs=needs, waits=waits, ask_reason=ask_reason
            )
        if isinstance(grant, Grant):
            if origin.way is AccessMethod.WEB:  # the page itself asks for the proof
                grant = await self.check_step_up(identity, grant)
            else:
                on_wait = progress if waits else None
                grant = await self.wait_for_step_up(identity, grant, origin.source, on_wait)
        if isinstance(grant, Denial):
            return self._refuse(grant, attempt, identity, find_target(claim))
        attempt.target = grant.target.host_name
        on_step, trace_id = attempt.begin_start(progress), attempt.context.trace_id
        if start and grant.guest is None:
            ready = await self._ensure(grant, on_step, trace_id)
        else:
            ready = await self._find(grant, on_step, trace_id)
        if isinstance(ready, Ready):
            ready = await self._begin_time(ready)
        if isinstance(ready, Denial):
            return self._refuse(ready, attempt, identity, grant.target)
        attempt.begin("audit")
        earlier = None if keeper is None else await keeper.find(ready)
        if isinstance(earlier, Denial):
            return self._refuse(earlier, attempt, identity, grant.target)
        opened = await self.ledger.open(ready, origin.way, origin.source, earlier)
        if isinstance(opened, Denial):
            return self._refuse(opened, attempt, identity, grant.target)
        attempt.session = opened.id
        if earlier is not None:
            self.write_line(make_resumed_line(opened, earlier))
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
        self.write_line(denied_line(denial, origin, name, target))
        return denial

    async def adopt(
        self, kept: str, target: Target, origin: Origin, earlier: RunningSession
    ) -> Opened | Denial:
        """Take over a session whose client is away, and whose worker has ended. Then `attach` its link.

        `kept` is its identity (`authn.kept`). A denial with a reason of `NOT_NOW` says that this process
        cannot judge the session now; any other is recorded, and ends the session.
        """
        identity = self.authenticator.restore(kept)
        grant = (
            identity
            if isinstance(identity, Denial)
            else self.authoriser.authorise(identity, target)
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
            self.write_line(ended_line(opened, ended, self.now()))
        finally:
            # Last: a gateway that stops waits until no session is left, and then closes the audit.
            self.registry.unregister(opened)

    def release(self, opened: Opened, counts: Counts) -> None:
        """Leave a session to another connection or process, in which it goes on. Any thread."""
        self.ledger.release(opened, counts)
        self.shells.release(opened.ready.grant.target)
        self.registry.unregister(opened)

    async def _ensure(self, grant: Grant, progress: Progress, trace_id: str) -> Ready | Denial:
        """Start the shell if it does not run, then check that the grant still holds."""
        shell = self.shells.find_ready(grant) or await self._start(grant, progress)
        if isinstance(shell, Denial):
            return shell
        still = self.authoriser.again(grant)
        return still if isinstance(still, Denial) else Ready(still, shell, int(trace_id, 16))

    async def _begin_time(self, ready: Ready) -> Ready | Denial:
        """Start the time of the access request that the entry rests upon, if there is one."""
        number, requests = ready.grant.request, self.access_requests
        request = None if number is None or requests is None else requests.find(number)
        if request is None or requests is None or request.began_at is not None:
            return ready
        version = self.policy.version
        denial = await requests.begin(ready.grant.identity, request.id)
        if denial is not None:
            return denial
        # The session must end in time even if the store cannot be read from now on.
        await self.policy.newer_than(version)
        still = self.authoriser.again(ready.grant)
        return still if isinstance(still, Denial) else Ready(still, ready.shell, ready.trace)

    async def _start(self, grant: Grant, progress: Progress) -> Shell | Denial:
        """Start the shell within the limit, which grows with the patience that a step asks for."""
        last = FIRST_STEP
        began, allowed_s = asyncio.get_running_loop().time(), self.start_timeout_s

        def remember(step: StartStep) -> None:
            nonlocal last, allowed_s
            last = step
            if self.start_timeout_s + step.patience_s > allowed_s:
                allowed_s = self.start_timeout_s + step.patience_s
                limit.reschedule(began + allowed_s)
            progress(step)

        try:
            async with asyncio.timeout_at(began + allowed_s) as limit:
                return await self.shells.ensure(grant, remember)
        except TimeoutError:
            return Denial(
                Reason.START_TIMEOUT,
                f"the shell {grant.target.shell_name} was not ready after {allowed_s:g} s "
                f"(last step: {last.name}{': ' if last.detail else ''}{last.detail})",
                retry_after_s=5,
            )

    async def _find(self, grant: Grant, progress: Progress, trace_id: str) -> Ready | Denial:
        """Find the shell that runs now. A guest who only watches enters by the host's grant."""
        shell = await self.shells.resolve(grant.target)
        if shell is None:
            return Denial(
                Reason.SHELL_UNAVAILABLE, f"the shell {grant.target.shell_name} does not run now"
            )
        if grant.guest is not None and not grant.guest.may_type:
            still = self.authoriser.again(grant)
            return still if isinstance(still, Denial) else Ready(still, shell, int(trace_id, 16))
        return await self._ensure(grant, progress, trace_id)

    async def _connect(
        self, opened: Opened, needs: Permission | None, keeper: SessionConnector | None
    ) -> Entered | Denial:
        """Connect a session that is open in the audit. If that fails, end it there."""
        self.shells.touch(opened.ready.grant.target)
        self.registry.register(opened, needs)
        try:
            dial = self.connector.connect
            stream = await (dial(opened) if keeper is None else keeper.reach(opened, dial))
        except BaseException as error:
            self.leave(opened, never_carried(error))
            raise
        if isinstance(stream, Denial):
            self.leave(opened, Ended(End.UNREACHED, detail=stream.message))
            return stream
        return Entered(self, opened, stream)
