"""Access requests at a listener, where users ask, wait, and decide.

The store is used in a thread. A failure of the store and a refusal are both returned as a Denial.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from stagedoor.admin.blocking import call_blocking, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.requests import access_requests
from stagedoor.admin.requests.offers import RequestOffers
from stagedoor.admin.requests.request_view import RequestView, describe_request
from stagedoor.admin.service import AdminService
from stagedoor.authz.access_request import (
    NOT_YOURS,
    check_decider,
    check_fresh,
    find_rule_to_ask,
    may_see,
)
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.access_request import (
    AccessRequest,
    RequestState,
    explain_over,
    show_period,
)
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity
from stagedoor.model.permission import ENTERING, Permissions
from stagedoor.model.target import Target
from stagedoor.model.wait_limit import WaitLimit
from stagedoor.wire.rfc3339 import show_time

MAX_WAITING_PER_USER = 5
"""The most waiting connections of one user in one worker."""
MAX_WAITING = 200
"""The most waiting connections of all users in one worker."""


class RequestService:
    """Implements `session.ports.AccessRequests`, and the commands of `ssh gw request`.

    Belongs to one event loop.
    """

    def __init__(self, context: WorkerContext, step_up: StepUpRules, offers: RequestOffers) -> None:
        self._context = context
        self._policy, self._now = context.policy, context.now
        self._step_up = step_up
        self.offers = offers
        self._waiting = WaitLimit(MAX_WAITING_PER_USER, MAX_WAITING)

    # A login that waits.

    def count_waiting(self, identity: Identity) -> AbstractContextManager[bool]:
        """Count a waiting connection for the length of a block. Yield False if too many are waiting."""
        return self._waiting.count(identity.name)

    async def explain_end(self, number: int) -> Denial:
        """Return why a request that was pending now gives no access."""
        record = await call_blocking(access_requests.read_request, self._service("gateway"), number)
        if isinstance(record, Denial):
            return record
        return Denial(Reason.NO_GRANT, describe_end(record, self._now()))

    async def begin(self, identity: Identity, number: int) -> Denial | None:
        """Start the time of an approved request, if this is the first entry."""
        begun = await call_blocking(
            access_requests.begin_request, self._service(identity.name), number
        )
        return begun if isinstance(begun, Denial) else None

    # People who ask and decide.

    async def make(
        self,
        identity: Identity,
        targets: Sequence[Target],
        reason: str,
        lasts_s: float | None = None,
        *,
        needs: Permissions = ENTERING,
        break_glass: bool = False,
        starts_at: float | None = None,
    ) -> AccessRequest | Denial:
        """Make a request, or join one that is pending for the same. Its rule gives all that it `needs`."""
        policy, now = self._policy(), self._now()
        rule = find_rule_to_ask(
            policy, identity, targets, now, needs, break_glass=break_glass, starts_at=starts_at
        )
        if rule is None:
            return Denial(
                Reason.NO_GRANT,
                "you may not ask for that; ask an administrator",
            )
        if break_glass:
            stale = check_fresh(policy, identity, "break-glass", self._step_up, now)
            if stale is not None:
                return stale
        if (limit := self._context.count_change(identity)) is not None:
            return limit
        service = self._service(identity.name)
        return await call_blocking(
            access_requests.make_request,
            service,
            identity.name,
            targets,
            rule,
            reason,
            lasts_s,
            starts_at,
        )

    async def list_requests(self, identity: Identity) -> Sequence[AccessRequest] | Denial:
        """Return the requests that are open or need a review and that the user may see, the newest first."""
        requests = await call_blocking(
            access_requests.list_requests, self._service(identity.name), open_only=True
        )
        if isinstance(requests, Denial):
            return requests
        policy = self._policy()
        return [request for request in requests if may_see(policy, identity.name, request)]

    async def read(self, identity: Identity, number: int) -> access_requests.RequestRecord | Denial:
        """Return a request that the user may see."""
        return await call_blocking(self._read, identity, number)

    async def describe(self, identity: Identity, request: AccessRequest) -> RequestView | Denial:
        """Return a request that the user has read, with the details that an approver needs."""
        now = self._now()
        return await call_blocking(
            describe_request, self._context.database, self._policy(), identity.name, request, now
        )

    async def decide(
        self,
        identity: Identity,
        number: int,
        *,
        is_yes: bool,
        lasts_s: float | None = None,
        note: str = "",
    ) -> AccessRequest | Denial:
        """Decide on a request as an approver."""
        decide = partial(access_requests.decide, is_yes=is_yes, lasts_s=lasts_s, note=note)
        return await self._act(identity, number, decide)

    async def review(self, identity: Identity, number: int) -> AccessRequest | Denial:
        """Record an approver's review of a use of break-glass."""
        return await self._act(identity, number, access_requests.review_request)

    async def _act(
        self, identity: Identity, number: int, act: Callable[..., AccessRequest]
    ) -> AccessRequest | Denial:
        """Perform an approver's act on a request. A refusal, as for one's own request, is audited."""
        if (limit := self._context.count_change(identity)) is not None:
            return limit

        def check_and_act() -> AccessRequest | Denial:
            service, record = self._service(identity.name), self._read(identity, number)
            if isinstance(record, Denial):
                return record
            request = record.request
            refusal = check_decider(self._policy(), identity, request, self._step_up, self._now())
            try:
                if refusal is None:
                    return act(service, number, approver=identity.name)
            except access_requests.ApproverError as error:
                refusal = Denial(Reason.NO_GRANT, str(error))
            access_requests.record_refusal(service, request, refusal.message)
            return refusal

        return await call_blocking(check_and_act)

    @run_in_thread
    def leave(self, identity: Identity, number: int) -> AccessRequest | Denial:
        """Withdraw the user's own request, or give back what was approved."""
        service = self._service(identity.name)
        try:
            return access_requests.leave_request(service, number, user=identity.name)
        except NotFoundError:
            return NOT_YOURS

    def _read(self, identity: Identity, number: int) -> access_requests.RequestRecord | Denial:
        try:
            record = access_requests.read_request(self._service(identity.name), number)
        except NotFoundError:
            return NOT_YOURS
        return record if may_see(self._policy(), identity.name, record.request) else NOT_YOURS

    def _service(self, name: str) -> AdminService:
        return self._context.make_service(name, "request")


def describe_end(record: access_requests.RequestRecord, now: float) -> str:
    """Return a line about a request after a wait for its decision, for its requester."""
    request = record.request
    match request.find_state(now):
        case RequestState.PENDING:
            return f"request {request.id} stays open: it is not decided yet"
        case RequestState.APPROVED:
            line = f"request {request.id} is approved for {show_period(request.lasts_s)}"
            if request.starts_at is None or not request.is_later(now):
                return line
            return f"{line}, from {show_time(request.starts_at)} on"
        case RequestState.DENIED:
            no = next((d for d in reversed(record.decisions) if not d.is_yes), None)
            by = "" if no is None else f" by {no.approver}{f': {no.note}' if no.note else ''}"
            return f"request {request.id} was denied{by}"
    return explain_over(request, now)
