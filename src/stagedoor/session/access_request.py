"""The wait of a login without a grant, until an approver decides on its user's access request.

The wait ends when the authoriser returns any grant, by the approved request or by an administrator. This
module creates no grants.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from stagedoor.model.access_request import Offer, show_period
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.shell import Progress, ProgressStep
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.session.person_wait import ACCESS_GRANTED, ACCESS_REQUEST, wait_for_person
from stagedoor.session.ports import AccessRequests, PolicyReader
from stagedoor.wire.rfc3339 import show_time

ACCESS_WAIT_S = 15.0 * MINUTE_S
"""The longest wait of one connection. The request stays open, and the next connection waits for it again."""
ASK_S = 120.0
"""How long a user has to type a reason."""
ACCESS_REPEAT_S = 30.0
"""The longest interval at which the step is repeated: `stagedoor tunnel` reads 16 KiB of steps, and is
patient for 150 s by default."""

_NO_LONGER_PENDING = Denial(Reason.NO_GRANT, "")
"""Compared by identity, and never shown: `AccessWait` says how the request ended."""
AskReason = Callable[[str], Awaitable[str | None]]
"""Shows a line to the user and returns the reason that they type: empty if they give none, None if the client
has no terminal."""


def answer_with_reason(reason: str | None) -> AskReason | None:
    """Return a function that gives the `reason` sent with a CONNECT, or None without one."""

    async def answer(_: str) -> str | None:
        return reason

    return answer if reason else None


@dataclass(frozen=True, slots=True)
class AccessWait:
    """The wait of `identity` for `target`, as long as `judge` refuses them by the policy in memory."""

    requests: AccessRequests
    policy: PolicyReader
    judge: Callable[[], Grant | Denial]
    identity: Identity
    target: Target
    needs: Permission

    async def wait(
        self,
        refused: Denial,
        progress: Progress,
        ask_reason: AskReason | None,
        *,
        may_wait: bool,
        wait_s: float,
    ) -> Grant | Denial:
        """Return the grant once an approver has agreed, or a denial.

        If the user may not ask, `refused` is returned unchanged. If the client does not wait and no request
        is pending, the denial says how to ask. `ask_reason` asks a user at a terminal. A wait shorter than
        `ACCESS_WAIT_S` ends with `refused` too, and the caller repeats the call.
        """
        offer = self._offer()
        if offer is None:
            return refused
        refused = replace(refused, person_message=_explain(offer))
        if not may_wait and offer.request is None:
            return refused
        with self.requests.count_waiting(self.identity) as has_room:
            if not has_room:
                return refused
            if offer.request is None and ask_reason is not None:
                denial = await self._ask(offer, ask_reason, refused)
                if denial is not None:
                    return denial
            return await self._wait(refused, progress, wait_s)

    async def _ask(self, offer: Offer, ask_reason: AskReason, refused: Denial) -> Denial | None:
        """Make a request if the user gives a reason. Return why the login is refused now, or None."""
        try:
            async with asyncio.timeout(ASK_S):
                reason = await ask_reason(offer.line)
        except TimeoutError:
            return refused
        if not reason:
            return None if reason is None else refused
        request = await self.requests.make(
            self.identity, [self.target], reason, needs=frozenset({self.needs})
        )
        if isinstance(request, Denial):
            return request
        await self.policy.read_newer_than(self.policy.version)  # so that the wait knows the request
        return None

    async def _wait(self, refused: Denial, progress: Progress, wait_s: float) -> Grant | Denial:
        pending: int | None = None
        pause_s = ACCESS_REPEAT_S

        def check() -> Grant | Denial | ProgressStep:
            nonlocal pending, pause_s
            verdict = self.judge()
            if isinstance(verdict, Grant):
                return verdict
            offer = self._offer()
            if offer is None:
                return verdict
            if offer.request is None:
                if pending is not None:
                    return _NO_LONGER_PENDING
                where = f"{offer.line}; ask: {offer.where}. This login waits"
                return ProgressStep(ACCESS_REQUEST, where)
            pending = offer.request.id
            pause_s = min(ACCESS_REPEAT_S, offer.left_s)
            return ProgressStep(
                ACCESS_REQUEST,
                f"request {pending} waits for {offer.rule.deciders}"
                f"{f' ({offer.page})' if offer.page else ''}; Ctrl-C leaves it open",
            )

        verdict = await wait_for_person(check, self.policy, progress, wait_s, lambda: pause_s)
        if verdict is _NO_LONGER_PENDING and pending is not None:
            # The policy may have changed since the first check.
            verdict = self.judge()
            if isinstance(verdict, Denial):
                return await self.requests.explain_end(pending)
        if isinstance(verdict, Grant):
            request = (
                None if verdict.request is None else self.requests.offers.find(verdict.request)
            )
            lasts = "" if request is None else f"for {show_period(request.lasts_s)}"
            progress(ProgressStep(ACCESS_GRANTED, lasts))
        if verdict is not None:
            return verdict
        if wait_s < ACCESS_WAIT_S:
            return refused
        return Denial(
            Reason.NO_GRANT,
            f"no approver has opened {self.target.login_name} within {show_period(wait_s)}; the request "
            "stays open, so connect again to wait for it",
        )

    def _offer(self) -> Offer | None:
        return self.requests.offers.find_offer(self.identity, self.target, self.needs)


def _explain(offer: Offer) -> str:
    """Return the refusal of a user who may ask, and mention their request that opens the target later."""
    line = f"{offer.line}; ask: {offer.where}"
    if offer.later is None or offer.later.starts_at is None:
        return line
    return f"request {offer.later.id} opens it at {show_time(offer.later.starts_at)}. {line}"
