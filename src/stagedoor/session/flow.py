"""The one flow of every access method, from a name and a credential to a stream to the shell.

    parse → authenticate → authorise → ensure → audit.open → connect → (carried) → audit.close

Each step takes what the step before it proved, and `enter` returns the last proof: `Entered`, or the
`Denial` of the step that said no. A listener translates its protocol on both sides of that call. It
cannot start in the middle: no method here takes a grant.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from stagedoor.model.credential import Credential
from stagedoor.model.denial import UNREAD, Denial, Reason
from stagedoor.model.grant import Claim, Grant, SharedTerminal, WatchedTerminal, target_of
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.session import AccessMethod, End, Ended, Opened, Origin, Ready
from stagedoor.model.shell import Progress, ShellState, StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session import step_up
from stagedoor.session.attempt import OPENED, LoginAttempt, OnTrace, no_trace
from stagedoor.session.connect import Connector
from stagedoor.session.entered import Entered, never_carried
from stagedoor.session.line import Line, denied_line, ended_line
from stagedoor.session.ports import Authenticator, Authoriser, Ledger, Link, PolicyReader, StepUps
from stagedoor.session.registry import Registry
from stagedoor.session.revoke import needed
from stagedoor.shells.ports import Shells
from stagedoor.wire.target import parse_target

FIRST_STEP = StartStep("asked for")
_BY_POLICY = (Reason.CREDENTIAL_WRONG, Reason.NO_GRANT, Reason.STEP_UP_NEEDED)
"""The refusals that a change of the policy can turn into a yes."""
_Proof = TypeVar("_Proof")
_Wanted = TypeVar("_Wanted", Grant, Target)


@dataclass(frozen=True, slots=True)
class Flow:
    """The stages in their order.

    `now` gives seconds since the epoch; `write_line` writes a log line from any thread; `on_trace` has
    the steps of each attempt.
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
    """None where nobody can be asked: then users who have to prove it are refused."""
    on_trace: OnTrace = no_trace

    # Who somebody is, and what they may do.

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        """Verify a credential. The listener decides whether a denial is written down (`deny`): an
        SSH client offers many keys before one fits."""

        async def verdict() -> Identity | Denial:
            return await self.authenticator.authenticate(credential, source)

        return await self.by_newest_policy(verdict)

    def present_now(self, identity: Identity) -> Identity:
        """`identity`, whose security key says that it asked for a PIN or a finger. The listener has verified
        that: the key signed so."""
        return self.authenticator.present_now(identity)

    def still_holds(self, credential: Credential, identity: Identity) -> Denial | None:
        """Why a connection that was authenticated has to end now; None if it may stay."""
        return self.authenticator.still_holds(credential, identity)

    async def authorise(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """What the policy says now, for a listener to show; `enter` asks by itself."""

        async def verdict() -> Grant | Denial:
            return self.authorised(identity, claim)

        return await self.by_newest_policy(verdict)

    async def by_newest_policy(
        self, verdict: Callable[[], Awaitable[_Proof | Denial]]
    ) -> _Proof | Denial:
        """`verdict`, asked for again if it is a refusal by a policy that has changed in the store.

        The policy in memory may be half a second old. A token or a grant that was made meanwhile must
        let in at once; a right that was taken away is found at the next poll, as ever. A policy that lets
        nobody in, since it could not be read for too long, says nothing of anybody.
        """
        version, unread = self.policy.version, self.policy.unread
        found = await verdict()
        if not isinstance(found, Denial) or found.reason not in _BY_POLICY:
            return found
        if unread or self.policy.unread:  # it may have become so, or be read again, meanwhile
            return UNREAD
        return await verdict() if await self.policy.newer_than(version) else found

    async def stepped_up(self, identity: Identity, wanted: _Wanted) -> _Wanted | Denial:
        """`wanted`, unless its target asks for a fresh proof that a person is there, and there is none."""
        target = wanted.target if isinstance(wanted, Grant) else wanted

        async def verdict() -> _Wanted | Denial:
            return self.authoriser.step_up_needed(identity, target) or wanted

        return await self.by_newest_policy(verdict)

    async def proved(
        self,
        identity: Identity,
        grant: Grant,
        source: Source,
        progress: Progress | None = None,
        wait_s: float = step_up.STEP_UP_WAIT_S,
    ) -> Grant | Denial:
        """The same, for a terminal at `source`, which is told where its person gives a proof; with
        `progress` it waits for that."""
        found = await self.stepped_up(identity, grant)
        if isinstance(found, Grant) or self.step_ups is None:
            return found
        ask = step_up.StepUpRequest(self.step_ups, self.authoriser, identity, grant)
        return await ask.answered(found, source, progress, wait_s)

    def authorised(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """What the policy in memory says, at once: for lists, where a refusal is the normal case."""
        match claim:
            case Target():
                return self.authoriser.authorise(identity, claim)
            case SharedTerminal(share_id):
                return self.authoriser.by_share(identity, share_id)
            case WatchedTerminal(target, terminal, host):
                return self.authoriser.to_watch(identity, target, terminal, host)

    def grants(self, identity: Identity) -> Iterator[Grant]:
        """The apps that `identity` may enter now, in order of name."""
        for target in self.shells.targets():
            grant = self.authoriser.authorise(identity, target)
            if isinstance(grant, Grant):
                yield grant

    async def observe(self, target: Target) -> ShellState:
        """The state of a target's shell; of one that we do not start, whether it answers."""
        state = await self.shells.observe(target)
        if state is not ShellState.UNKNOWN:
            return state
        shell = await self.shells.resolve(target)
        if shell is None:
            return ShellState.ABSENT
        answers = await self.connector.answers(shell)
        return ShellState.READY if answers else ShellState.UNREACHABLE

    def notice(self, target: Target) -> str | None:
        """What people should know of a target's shell as it runs now, in one line."""
        return self.shells.notice(target)

    # In, and out.

    async def enter_by_name(
        self,
        host: str,
        port: str,
        credential: Credential | None,
        origin: Origin,
        progress: Progress,
        *,
        waits: bool = False,
    ) -> Entered | Denial:
        """`enter` for a protocol that brings name and credential in one request (CONNECT)."""
        target = parse_target(host, port)
        if isinstance(target, Denial):
            return self.deny(target, origin)
        attempt = LoginAttempt(origin, self.now)
        with attempt.reported_to(self.on_trace):
            attempt.target = target.host_name
            with attempt.step("authenticate"):
                identity = await self.authenticate(credential, origin.source)
            if isinstance(identity, Denial):
                attempt.outcome = identity.reason
                return self.deny(identity, attempt.origin, target=target)
            return await self._enter(identity, target, attempt, progress, waits=waits)

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
    ) -> Entered | Denial:
        """Let somebody in: the session as it was opened, or why not, which is then written down.

        It ends as well when what it `needs` besides entering is not permitted any more.

        Where the target wants a proof that somebody is there, one who `waits` is told by `progress` how to
        give it; others are refused with the same line.

        With `start` False, and for guests, a shell that does not run is not started. A cancelled
        call leaves nothing behind.
        """
        attempt = LoginAttempt(origin, self.now)
        with attempt.reported_to(self.on_trace):
            return await self._enter(
                identity, claim, attempt, progress, start=start, needs=needs, waits=waits
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
    ) -> Entered | Denial:
        attempt.identity, origin = identity.name, attempt.origin
        with attempt.step("authorise"):
            grant = needed(needs, await self.authorise(identity, claim))
            if isinstance(grant, Grant):
                if origin.way is AccessMethod.WEB:  # the page has asked for it
                    grant = await self.stepped_up(identity, grant)
                else:
                    asking = progress if waits else None
                    grant = await self.proved(identity, grant, origin.source, asking)
        if isinstance(grant, Denial):
            return self._refused(grant, attempt, identity, target_of(claim))
        attempt.target = grant.target.host_name
        with attempt.start(progress) as told:
            if start and grant.guest is None:
                ready = await self._ensure(grant, told)
            else:
                ready = await self._find(grant, told)
        if isinstance(ready, Denial):
            return self._refused(ready, attempt, identity, grant.target)
        ready = replace(ready, trace_id=attempt.context.trace_id)
        with attempt.step("audit"):
            opened = await self.ledger.open(ready, attempt.origin.way, attempt.origin.source)
        if isinstance(opened, Denial):
            return self._refused(opened, attempt, identity, grant.target)
        attempt.session = opened.id
        with attempt.step("connect"):
            entered = await self._connect(opened, needs)
        attempt.outcome = entered.reason if isinstance(entered, Denial) else OPENED
        return entered

    def _refused(
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
        """Write down that somebody was not let in; returns `denial`."""
        name = identity.name if identity else None
        self.ledger.deny(denial, origin.way, origin.source, identity=name, target=target)
        self.write_line(denied_line(denial, origin, name, target))
        return denial

    # What `Entered` asks for (`ports.SessionOwner`).

    def attach(self, opened: Opened, link: Link) -> None:
        """Have `link` close when the session has to end."""
        self.registry.attach(opened, link)

    def leave(self, opened: Opened, ended: Ended) -> None:
        """End a session, in whatever thread its stream was carried."""
        try:
            self.ledger.close(opened, ended)
            self.shells.release(opened.ready.grant.target)
            self.write_line(ended_line(opened, ended, self.now()))
        finally:
            # Last: a gateway that stops waits until nobody is in, and then closes what records.
            self.registry.unregister(opened)

    async def _ensure(self, grant: Grant, progress: Progress) -> Ready | Denial:
        """The shell, started if need be; and the grant again, which may be gone by then."""
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
                shell = await self.shells.ensure(grant, remember)
        except TimeoutError:
            return Denial(
                Reason.START_TIMEOUT,
                f"the shell {grant.target.shell_name} was not ready after {allowed_s:g} s "
                f"(last step: {last.name}{': ' if last.detail else ''}{last.detail})",
                retry_after_s=5,
            )
        if isinstance(shell, Denial):
            return shell
        still = self.authoriser.again(grant)
        return still if isinstance(still, Denial) else Ready(still, shell)

    async def _find(self, grant: Grant, progress: Progress) -> Ready | Denial:
        """The shell as it runs. A guest who only watches enters on the host's grant."""
        shell = await self.shells.resolve(grant.target)
        if shell is None:
            return Denial(
                Reason.SHELL_UNAVAILABLE, f"the shell {grant.target.shell_name} does not run now"
            )
        if grant.guest is not None and not grant.guest.may_type:
            still = self.authoriser.again(grant)
            return still if isinstance(still, Denial) else Ready(still, shell)
        return await self._ensure(grant, progress)

    async def _connect(self, opened: Opened, needs: Permission | None) -> Entered | Denial:
        """From the durable record to a stream; every other way out of here closes the record."""
        self.shells.touch(opened.ready.grant.target)
        self.registry.register(opened, needs)
        try:
            stream = await self.connector.connect(opened)
        except BaseException as error:
            self.leave(opened, never_carried(error))
            raise
        if isinstance(stream, Denial):
            self.leave(opened, Ended(End.UNREACHED, detail=stream.message))
            return stream
        return Entered(self, opened, stream)
