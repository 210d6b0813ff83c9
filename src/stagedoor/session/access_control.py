"""The flow's decisions on a credential and a claim, and the waits after which a refusal may be lifted."""

import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from stagedoor.authn.authenticator import Authenticator
from stagedoor.authz.authoriser import Authoriser
from stagedoor.model.credential import Credential
from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial, Reason
from stagedoor.model.grant import Claim, Grant, SharedTerminal, WatchedTerminal
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.shell import Progress, ProgressStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.session.access_request import ACCESS_WAIT_S, AccessWait, AskReason
from stagedoor.session.person_wait import STEP_UP, wait_for_person
from stagedoor.session.ports import AccessRequests, PolicyReader, StepUps
from stagedoor.session.revoke import require_permission
from stagedoor.shells.ports import Shells

_BY_POLICY = (Reason.CREDENTIAL_WRONG, Reason.NO_GRANT, Reason.STEP_UP_NEEDED)
"""The reasons of refusals that a change of the policy can lift."""
STEP_UP_WAIT_S = 180.0
STEP_UP_REPEAT_S = 10.0
_Result = TypeVar("_Result")
_Wanted = TypeVar("_Wanted", Grant, Target)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl:
    """The stages that decide who a client is and what it may enter. `Flow` adds the sessions."""

    authenticator: Authenticator
    authoriser: Authoriser
    policy: PolicyReader
    shells: Shells
    step_ups: StepUps | None = None
    """None if users cannot give a fresh proof of presence; then logins that need one are refused."""
    access_requests: AccessRequests | None = None
    """None if users cannot ask for access; then logins without a grant are refused."""

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial:
        """Verify a credential.

        The listener decides whether a denial goes into the audit (`record_denial`): an SSH client offers many
        keys before one is accepted.
        """
        return await self.judge_with_newest_policy(
            lambda: self.authenticator.authenticate(credential, source)
        )

    def mark_user_verified(self, identity: Identity) -> Identity:
        """Return `identity` as one whose user was verified just now, by a PIN or a fingerprint.

        The flags in the security key's signature say so, and the listener has verified the signature.
        """
        return self.authenticator.mark_user_verified(identity)

    def check_still_valid(self, credential: Credential, identity: Identity) -> Denial | None:
        """Return why an authenticated connection must end now, or None if it may stay."""
        return self.authenticator.check_still_valid(credential, identity)

    async def authorise(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """Return the grant for a claim without opening a session, for example to list it."""
        return await self._judge_in_memory(lambda: self.authorise_in_memory(identity, claim))

    async def judge_with_newest_policy(
        self, judge: Callable[[], Awaitable[_Result | Denial]]
    ) -> _Result | Denial:
        """Return the verdict of `judge`, called again if it refuses and the store has a newer policy."""
        version, was_unavailable = self.policy.version, self.policy.is_unavailable
        result = await judge()
        if not isinstance(result, Denial):
            return result
        return await self._confirm_refusal(result, version, was_unavailable) or await judge()

    async def _judge_in_memory(self, judge: Callable[[], _Result | Denial]) -> _Result | Denial:
        """Do as `judge_with_newest_policy`, with a `judge` that needs no waiting."""

        async def judge_async() -> _Result | Denial:
            return judge()

        return await self.judge_with_newest_policy(judge_async)

    async def _confirm_refusal(
        self, refusal: Denial, version: int, was_unavailable: bool
    ) -> Denial | None:
        """Return the final refusal, or None if the policy in the store is newer and may lift it.

        `version` and `was_unavailable` describe the policy before the refusal. The policy in memory may be
        half a second old. A token or grant created in that time must work at once, while a removal can wait
        for the next poll. If the policy could not be read for too long, every login is refused with
        `POLICY_UNAVAILABLE`, because the rights may have changed.
        """
        if refusal.reason not in _BY_POLICY:
            return refusal
        # The store may have failed, or recovered, meanwhile.
        if was_unavailable or self.policy.is_unavailable:
            return POLICY_UNAVAILABLE
        return None if await self.policy.read_newer_than(version) else refusal

    async def admit(
        self,
        identity: Identity,
        claim: Claim,
        source: Source,
        progress: Progress | None,
        *,
        needs: Permission | None = None,
        may_wait: bool = False,
        wait_s: float = math.inf,
        ask_reason: AskReason | None = None,
        is_page: bool = False,
    ) -> Grant | Denial:
        """Return the grant for a claim, after waiting for an approver and for a fresh proof if needed.

        The grant includes the permission `needs`. If the client `may_wait`, `progress` shows what
        the person has to do, for at most `wait_s` seconds. Without `progress`, no access is requested. A page
        (`is_page`) asks for the proof itself.
        """
        grant = require_permission(needs, await self.authorise(identity, claim))
        requests = self.access_requests
        if (
            isinstance(grant, Denial)
            and grant.reason is Reason.NO_GRANT
            and isinstance(claim, Target)
            and requests is not None
            and progress is not None
        ):
            wait = AccessWait(
                requests,
                self.policy,
                lambda: require_permission(needs, self.authorise_in_memory(identity, claim)),
                identity,
                claim,
                needs or Permission.ENTER,
            )
            grant = await wait.wait(
                grant, progress, ask_reason, may_wait=may_wait, wait_s=min(wait_s, ACCESS_WAIT_S)
            )
        if isinstance(grant, Denial):
            return grant
        if is_page:
            return await self.check_step_up(identity, grant)
        shown = progress if may_wait else None
        return await self._wait_for_step_up(
            identity, grant, source, shown, min(wait_s, STEP_UP_WAIT_S)
        )

    async def check_step_up(self, identity: Identity, wanted: _Wanted) -> _Wanted | Denial:
        """Return `wanted`, or a denial if its target requires a fresh proof of identity."""
        target = wanted.target if isinstance(wanted, Grant) else wanted
        return await self._judge_in_memory(
            lambda: self.authoriser.check_proof(identity, target) or wanted
        )

    async def _wait_for_step_up(
        self,
        identity: Identity,
        grant: Grant,
        source: Source,
        progress: Progress | None,
        wait_s: float,
    ) -> Grant | Denial:
        """Return `grant` or a denial, after asking the person at a terminal for a fresh proof if needed.

        The denial has the address at which to give the proof. With `progress`, the terminal shows the address
        and waits up to `wait_s` seconds for the proof. A wait shorter than `STEP_UP_WAIT_S` ends with the
        same denial, and the caller repeats the call.
        """
        verdict = await self.check_step_up(identity, grant)
        if isinstance(verdict, Grant) or self.step_ups is None:
            return verdict
        instruction = await self.step_ups.begin(identity, grant.target, source)
        if instruction is None:
            return verdict
        refused = replace(
            verdict, person_message=f"step-up: {instruction}, then connect again. {verdict.line}"
        )
        if progress is None:
            return refused

        def check() -> Grant | Denial | ProgressStep:
            current = self.authoriser.judge_again(grant)
            if isinstance(current, Denial):
                return current
            if self.authoriser.check_proof(identity, grant.target) is None:
                return current
            return ProgressStep(STEP_UP, instruction)

        with self.step_ups.count_waiting(identity) as has_room:
            if not has_room:
                return refused
            outcome = await wait_for_person(
                check, self.policy, progress, wait_s, lambda: STEP_UP_REPEAT_S
            )
        return outcome or (refused if wait_s < STEP_UP_WAIT_S else _make_late_denial(grant.target))

    async def start_access_clock(self, grant: Grant) -> Grant | Denial:
        """Start the clock of the access request behind `grant`, if there is one, and return the grant."""
        number, requests = grant.request, self.access_requests
        request = None if number is None or requests is None else requests.offers.find(number)
        if request is None or requests is None or request.began_at is not None:
            return grant
        version = self.policy.version
        denial = await requests.begin(grant.identity, request.id)
        if denial is not None:
            return denial
        # Access must end on time even if the store becomes unreadable.
        await self.policy.read_newer_than(version)
        return self.authoriser.judge_again(grant)

    def find_language(self, identity: Identity) -> str | None:
        """Return the language that a user has chosen, or None."""
        return self.policy.find_language(identity.name)

    def may_ask(self, identity: Identity, target: Target, refused: Denial) -> bool:
        """Return whether the user, who is `refused` at `target`, may ask for access there."""
        requests = self.access_requests
        if requests is None or refused.reason is not Reason.NO_GRANT:
            return False
        return requests.offers.find_offer(identity, target, Permission.ENTER) is not None

    def explain_asking(self, identity: Identity, target: Target, lacks: Permission | None) -> str:
        """Return how to ask for a permission that the user lacks, as the end of a refusal's line, or ""."""
        if lacks is None or self.access_requests is None:
            return ""
        offer = self.access_requests.offers.find_offer(identity, target, lacks)
        return "" if offer is None else f"; {offer.line}; ask: {offer.where}, then connect again"

    def authorise_in_memory(self, identity: Identity, claim: Claim) -> Grant | Denial:
        """Authorise by the policy in memory, without waiting. For lists, in which refusals are normal."""
        match claim:
            case Target():
                return self.authoriser.authorise(identity, claim)
            case SharedTerminal(share_id):
                return self.authoriser.authorise_share(identity, share_id)
            case WatchedTerminal(target, terminal, host):
                return self.authoriser.authorise_watching(identity, target, terminal, host)

    def list_grants(self, identity: Identity, *, includes_unbegun: bool = True) -> Iterator[Grant]:
        """Yield the grants for the apps that `identity` may enter now, in order of name.

        With `includes_unbegun` False, leave out grants by access requests whose time has not begun.
        """
        for target in self.authoriser.select_targets(identity, self.shells.list_targets()):
            grant = self.authoriser.authorise(identity, target, includes_unbegun=includes_unbegun)
            if isinstance(grant, Grant):
                yield grant


def _make_late_denial(target: Target) -> Denial:
    return Denial.with_fix(
        Reason.STEP_UP_NEEDED,
        f"{target.login_name} requires that you confirm your identity, which did not happen within "
        f"{STEP_UP_WAIT_S / MINUTE_S:.3g} min",
        "step_up.targets",
        "connect again",
    )
