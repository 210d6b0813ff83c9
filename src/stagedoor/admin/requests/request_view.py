"""The details that an approver needs to decide on an access request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stagedoor.authz.access_request import is_approver
from stagedoor.authz.decide import combine_permissions, list_matching
from stagedoor.model.access_request import AccessRequest, RequestState
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.store.database import Database
from stagedoor.store.sessions import list_sessions

READ, SHOWN = 100, 5
"""How many of the requester's last sessions are read, and how many of those in these apps are shown."""
_DUTIES = frozenset({Permission.RECORD})
"""The permissions that give no right."""


@dataclass(frozen=True, slots=True)
class RequestView:
    """An access request with the details.

    `permissions` are those that it gives by the current rule. `present` has the requester's permissions
    without it, by app, if there are any. If it is approved, terminals in `recorded` apps are recorded. `last`
    are the requester's last sessions in its apps: the app, and the time of the opening. `decides_from` is
    when the viewer, a later approver, may decide. Times are seconds since the epoch.
    """

    request: AccessRequest
    state: RequestState
    permissions: Permissions
    present: Mapping[Target, Permissions]
    recorded: Sequence[Target]
    last: Sequence[tuple[str, float]]
    may_decide: bool
    decides_from: float | None = None


def describe_request(
    database: Database, policy: Policy, name: str, request: AccessRequest, now: float
) -> RequestView:
    """Return a request as `name` sees it, who may be its approver. Raises StoreError."""
    rule = policy.request_rules.get(request.rule)
    permissions = request.permissions if rule is None else request.permissions & rule.permissions
    others = {target: _find_others(policy, request, target, now) for target in request.targets}
    present = {target: rights for target, given in others.items() if (rights := given - _DUTIES)}
    recorded = [target for target, given in others.items() if _DUTIES & (permissions | given)]
    apps = {str(target) for target in request.targets}
    sessions = list_sessions(database, open_only=False, identity=request.user, limit=READ)
    last = [(s.target, s.opened_at) for s in sessions if s.target in apps]
    may_decide, decides_from = False, None
    if rule is not None and name != request.user:
        may_decide = is_approver(policy, rule, name, now - request.created_at)
        if not may_decide and is_approver(policy, rule, name):
            decides_from = request.created_at + rule.later_s
    state = request.find_state(now)
    return RequestView(
        request, state, permissions, present, recorded, last[:SHOWN], may_decide, decides_from
    )


def _find_others(policy: Policy, request: AccessRequest, target: Target, now: float) -> Permissions:
    """Return the permissions that the requester has in an app now without `request`."""
    user = policy.users.get(request.user)
    rules = () if user is None else list_matching(policy, user, target, now)
    return combine_permissions(tuple(rule for rule in rules if rule.request != request.id))
