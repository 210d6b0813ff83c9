"""Rules that let others decide after a while, and access that begins later."""

from dataclasses import replace

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.authz.access_request import find_rule_to_ask, is_approver
from stagedoor.model.access_request import (
    REQUEST_PENDING_S,
    UNUSED_S,
    AccessRequest,
    RequestRule,
    RequestState,
    begin,
)
from stagedoor.model.errors import RefusedError
from stagedoor.model.hours import parse_hours
from stagedoor.model.identity import Identity, Method
from stagedoor.model.selector import ALL_USERS
from stagedoor.store.policy import load_policy
from tests.access.test_requests import APP, NOW, RULE, Desk, desk

__all__ = ["desk"]
LATER = replace(RULE, later_approvers=("group:leads",), later_s=900.0)


def test_later_approvers_see_a_request_and_decide_only_after_the_time(desk: Desk) -> None:
    admin.add_user(desk.service, "zoe", groups=["leads"])
    request = desk.make(desk.rule(LATER))
    policy, rule = load_policy(desk.database), LATER
    assert is_approver(policy, rule, "zoe")
    assert not is_approver(policy, rule, "zoe", 899)
    desk.now += 899
    with pytest.raises(
        RefusedError, match=r"you may decide on request 1 from 2027-01-15T08:15:00Z on"
    ):
        desk.decide(request, "zoe")
    desk.now += 1
    assert desk.decide(request, "zoe").state is RequestState.APPROVED
    assert rule.deciders == "group:sre, and group:leads after 15 min"


def test_the_first_approvers_decide_before_and_after_the_time(desk: Desk) -> None:
    rule = desk.rule(LATER)
    assert desk.decide(desk.make(rule), "bob").state is RequestState.APPROVED
    slow = desk.make(rule, "eve")
    desk.now += 1000
    assert desk.decide(slow, "bob").state is RequestState.APPROVED


@pytest.mark.parametrize(
    "rule",
    [
        replace(RULE, later_approvers=("group:leads",)),
        replace(RULE, later_s=900),
        replace(LATER, later_s=REQUEST_PENDING_S),
        replace(LATER, approvers=(), approvals=0),
        replace(LATER, approvals=0, is_break_glass=True, longest_s=600),
        replace(LATER, later_approvers=(ALL_USERS,)),
    ],
)
def test_a_rule_with_later_approvers_that_cannot_be_meant_is_refused(
    desk: Desk, rule: RequestRule
) -> None:
    with pytest.raises(RefusedError):
        desk.rule(rule)


def make_later(desk: Desk, rule: RequestRule, wait_s: float) -> AccessRequest:
    return requests.make_request(
        desk.service, "dev", [APP], rule, "INC-42", None, desk.now + wait_s
    )


def test_access_begins_at_the_time_and_is_judged_again_then(desk: Desk) -> None:
    request = make_later(desk, desk.rule(), 86_400)
    desk.now += 2 * REQUEST_PENDING_S
    approved = desk.decide(request)
    assert (approved.state, approved.ends_at) == (RequestState.APPROVED, NOW + 86_400 + UNUSED_S)
    requests.begin_request(desk.service, request.id)
    desk.now = NOW + 86_399
    assert not desk.may_enter()
    desk.now += 1
    assert desk.may_enter()
    assert begin(approved, desk.now).ends_at == desk.now + 3600
    admin.change_groups(desk.service, "dev", remove=["dev"])
    assert not desk.may_enter()


def test_an_older_gateway_finds_no_rule_for_access_that_begins_later(desk: Desk) -> None:
    rule = desk.rule()
    request = make_later(desk, rule, 60)
    assert request.rule == rule.id
    with desk.database.read() as transaction:
        stored = transaction.exec_driver_sql("SELECT rule FROM access_requests").scalar_one()
    assert stored not in (rule.id, 0)
    assert desk.decide(request).rule == rule.id


def test_access_begins_within_a_week_and_break_glass_now(desk: Desk) -> None:
    with pytest.raises(RefusedError, match="within 7 d"):
        make_later(desk, desk.rule(), 7 * 86_400 + 1)
    glass = desk.rule(replace(RULE, is_break_glass=True, approvals=0, longest_s=600))
    with pytest.raises(RefusedError, match="begins at once"):
        make_later(desk, glass, 60)
    assert make_later(desk, desk.rule(), -5).starts_at is None


def test_the_hours_of_a_rule_hold_when_access_begins(desk: Desk) -> None:
    """It is asked for on a Friday, and begins on the Monday after; or on the Sunday, and is refused."""
    desk.rule(replace(RULE, hours=parse_hours("Mon 08:00-20:00 UTC")))
    policy, identity = load_policy(desk.database), Identity("dev", frozenset(), Method.CERTIFICATE)
    friday = 1_799_999_999.0  # 2027-01-15, 07:59:59
    for days, fits in ((3, True), (2, False), (0, False)):
        at = friday + 1 + days * 86_400
        rule = find_rule_to_ask(policy, identity, [APP], friday, starts_at=at)
        assert (rule is not None) == fits, days
