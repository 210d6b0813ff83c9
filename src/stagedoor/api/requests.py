"""The operations on rules of access on request, on requests and on decisions.

Over HTTP users ask, decide and review by the rules, as on the pages. An administrator at the gateway's
machine decides alone.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from stagedoor.admin.requests import access_requests
from stagedoor.api.call import Call, DeniedError, Handler, require_allowed, require_found
from stagedoor.api.views import show_decision, show_request, show_request_rule
from stagedoor.authz.access_request import NOT_YOURS, UNKNOWN, may_see
from stagedoor.authz.roles import check_request_rule
from stagedoor.model.access_request import AccessRequest, RequestRule
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.hours import require_hours
from stagedoor.model.permission import ENTERING
from stagedoor.model.role import ApiScope, Role
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import types as t
from stagedoor.wire.target import require_app

T = TypeVar("T")


def list_rules(call: Call) -> t.Page[t.RequestRuleEntry]:
    """List the rules."""
    call.require(Role.AUDITOR)
    rules = call.policy.request_rules.values()
    return call.list_page(rules, lambda rule: rule.id, show_request_rule)


def add_rule(call: Call) -> t.RequestRuleEntry:
    """Add a rule, but not for oneself."""
    body: i.RequestRuleNew = call.body
    rule = RequestRule(
        0,
        body.subject,
        body.app,
        body.environment,
        frozenset(body.permissions),
        body.longest_s,
        tuple(dict.fromkeys(body.approvers)),
        body.approvals,
        body.reason,
        body.break_glass,
        body.step_up,
        None if body.hours is None else require_hours(body.hours),
        tuple(dict.fromkeys(body.later_approvers)),
        body.later_s or 0.0,
    )
    require_allowed(check_request_rule(call.access, rule))
    return show_request_rule(access_requests.add_rule(call.service, rule))


def remove_rule(call: Call) -> t.RequestRuleEntry:
    """Remove a rule."""
    call.require(Role.ADMINISTRATOR)
    return show_request_rule(access_requests.remove_rule(call.service, call.number))


def list_requests(call: Call) -> t.Page[t.AccessRequestEntry]:
    """List the requests that the caller may see."""
    requests = access_requests.list_requests(call.service, open_only=not call.filters.all)
    seen = [request for request in requests if _may_see(call, request)]
    now = call.service.clock()
    return call.list_page(seen, lambda r: -r.id, lambda r: show_request(r, now))


def get_request(call: Call) -> t.AccessRequestState:
    """Show a request with the decisions on it."""
    record = access_requests.read_request(call.service, call.number)
    visible = record if _may_see(call, record.request) else None
    record = require_found(visible, f"request {call.number}", "request list --all")
    entry = show_request(record.request, call.service.clock())
    decisions = [show_decision(decision) for decision in record.decisions]
    return t.AccessRequestState(**msgspec.structs.asdict(entry), decisions=decisions)


def _may_see(call: Call, request: AccessRequest) -> bool:
    """Return whether the caller may read a request. A token that only asks reads its user's own."""
    scopes = None if call.identity is None else call.identity.scopes
    if scopes is not None and ApiScope.READ not in scopes:
        return request.user == call.access.name
    return call.access.has(Role.AUDITOR) or may_see(call.policy, call.access.name, request)


async def add_request(call: Call) -> t.AccessRequestEntry:
    """Ask for access, as the caller."""
    if call.requests is None or call.identity is None:
        raise RefusedError("an administrator at the gateway's machine asks for nothing")
    body: i.AccessRequestNew = call.body
    made = await call.requests.make(
        call.identity,
        [require_app(name) for name in body.apps],
        body.reason,
        body.lasts_s,
        needs=ENTERING | frozenset(body.permissions),
        break_glass=body.break_glass,
        starts_at=None if body.starts_at is None else body.starts_at.timestamp(),
    )
    return show_request(_require(made), call.service.clock())


async def decide(call: Call) -> t.AccessRequestEntry:
    """Approve or deny a request."""
    body: i.DecisionNew = call.body
    if call.requests is None or call.identity is None:
        decided: AccessRequest | Denial = access_requests.decide(
            call.service, call.number, is_yes=body.yes, lasts_s=body.lasts_s, note=body.note
        )
    else:
        decided = await call.requests.decide(
            call.identity, call.number, is_yes=body.yes, lasts_s=body.lasts_s, note=body.note
        )
    return show_request(_require(decided), call.service.clock())


async def leave_request(call: Call) -> t.AccessRequestEntry:
    """Withdraw the caller's own request, or give back what was approved."""
    if call.requests is None or call.identity is None:
        raise RefusedError("an administrator at the gateway's machine has asked for nothing")
    left = await call.requests.leave(call.identity, call.number)
    return show_request(_require(left), call.service.clock())


def end_request(call: Call) -> t.AccessRequestEntry:
    """End any request, as an operator."""
    call.require(Role.OPERATOR)
    ended = access_requests.leave_request(call.service, call.number)
    return show_request(ended, call.service.clock())


async def review_request(call: Call) -> t.AccessRequestEntry:
    """Record the review of a use of break-glass."""
    if call.requests is None or call.identity is None:
        reviewed: AccessRequest | Denial = access_requests.review_request(call.service, call.number)
    else:
        reviewed = await call.requests.review(call.identity, call.number)
    return show_request(_require(reviewed), call.service.clock())


def _require(result: T | Denial) -> T:
    """Return the result, or raise the denial. A request that the caller may not see counts as missing.

    A refusal by the store (`admin.blocking.call_blocking`) is reported as by operations that use it directly.
    """
    if result is NOT_YOURS:
        raise NotFoundError(UNKNOWN)
    if isinstance(result, Denial):
        if result.reason is Reason.BAD_REQUEST:
            raise RefusedError(result.line)
        raise DeniedError(result)
    return result


HANDLERS: Mapping[str, Handler] = {
    "request-rules.list": list_rules,
    "request-rules.add": add_rule,
    "request-rules.remove": remove_rule,
    "requests.list": list_requests,
    "requests.get": get_request,
    "requests.add": add_request,
    "requests.decide": decide,
    "requests.leave": leave_request,
    "requests.end": end_request,
    "requests.review": review_request,
}
