"""The details that an approver needs to decide on an access request."""

from collections.abc import Sequence
from dataclasses import dataclass

from stagedoor.authz.access_request import is_approver
from stagedoor.authz.decide import authorise
from stagedoor.authz.explain import identify_by_name
from stagedoor.model.access_request import AccessRequest, RequestState
from stagedoor.model.grant import Grant
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.store.database import Database
from stagedoor.store.sessions import list_sessions

READ, SHOWN = 100, 5
"""The last sessions of the requester that are read, and those in these apps that are shown."""


@dataclass(frozen=True, slots=True)
class RequestView:
    """An access request with the details. `present` are the apps that the requester may enter without it.

    `last` are the requester's last sessions in its apps: the app, and when it was opened. `decides_from` is
    when the viewer, a later approver, may decide. Times are seconds since the epoch.
    """

    request: AccessRequest
    state: RequestState
    present: Sequence[Target]
    last: Sequence[tuple[str, float]]
    may_decide: bool
    decides_from: float | None = None


def describe_request(
    database: Database, policy: Policy, name: str, request: AccessRequest, now: float
) -> RequestView:
    """Return a request as `name` sees it, who may be its approver. Raises StoreError."""
    requester = identify_by_name(policy, request.user)
    present = [
        target
        for target in request.targets
        if isinstance(grant := authorise(policy, requester, target, now), Grant)
        and grant.rule_id != 0
    ]
    apps = {str(target) for target in request.targets}
    sessions = list_sessions(database, open_only=False, identity=request.user, limit=READ)
    last = [(s.target, s.opened_at) for s in sessions if s.target in apps]
    rule = policy.request_rules.get(request.rule)
    may_decide, decides_from = False, None
    if rule is not None and name != request.user:
        may_decide = is_approver(policy, rule, name, now - request.created_at)
        if not may_decide and is_approver(policy, rule, name):
            decides_from = request.created_at + rule.later_s
    state = request.find_state(now)
    return RequestView(request, state, present, last[:SHOWN], may_decide, decides_from)
