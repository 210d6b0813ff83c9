"""Access requests that two gateways change at once, in a store of each kind."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService
from stagedoor.model.access_request import AccessRequest, RequestRule, RequestState
from stagedoor.model.errors import RefusedError
from stagedoor.model.target import Target
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store import access_requests as store
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy
from tests.waiting import BOUND_S

RULE = RequestRule(0, "group:dev", "app*", longest_s=7200, approvers=("group:sre",))
ROUNDS = 5
Gateways = tuple[AdminService, AdminService]
Act = Callable[[AdminService], AccessRequest]


@pytest.fixture
def gateways(place: StoreLocation, database: Database, tmp_path: Path) -> Iterator[Gateways]:
    """Return the services of two gateways, each with connections of its own to the store."""
    other = open_database(place, busy_timeout_s=BOUND_S)
    first, second = [
        AdminService(opened, tmp_path, name, lambda: 1000.0)
        for opened, name in ((database, "one"), (other, "two"))
    ]
    for name, group in (("dev", "dev"), ("eve", "dev"), ("bob", "sre"), ("ann", "sre")):
        admin.add_user(first, name, groups=[group])
    yield first, second
    other.close()


def make(service: AdminService, rule: RequestRule, app: str = "app01") -> AccessRequest:
    return requests.make_request(service, "dev", [Target(app)], rule, "INC-42")


def vote(number: int, approver: str, *, is_yes: bool = True) -> Act:
    return lambda service: requests.decide(service, number, approver=approver, is_yes=is_yes)


def act_at_once(gateways: Gateways, *acts: Act) -> list[RequestState | None]:
    """Return the states that result from an act at each gateway, None for one that was refused."""
    start = threading.Barrier(len(acts))
    states: list[RequestState | None] = [None] * len(acts)
    faults: list[Exception] = []

    def run(at: int) -> None:
        start.wait(BOUND_S)
        try:
            states[at] = acts[at](gateways[at]).state
        except RefusedError:
            pass
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    return states


def read(service: AdminService, number: int) -> RequestState:
    return requests.read_request(service, number).request.state


@pytest.mark.access(11)
def test_of_two_decisions_at_once_one_counts_and_the_other_is_refused(gateways: Gateways) -> None:
    rule = requests.add_rule(gateways[0], RULE)
    for at in range(ROUNDS):
        number = make(gateways[at % 2], rule).id
        states = act_at_once(gateways, vote(number, "bob"), vote(number, "ann", is_yes=False))
        assert states.count(None) == 1
        [outcome] = {state for state in states if state is not None}
        assert [read(service, number) for service in gateways] == [outcome] * 2
        assert len(requests.read_request(gateways[0], number).decisions) == 1
        may_enter = number in load_policy(gateways[1].database).requests
        assert may_enter == (outcome is RequestState.APPROVED)
        if may_enter:
            requests.leave_request(gateways[0], number)


@pytest.mark.access(11)
def test_two_approvals_at_once_are_both_counted(gateways: Gateways) -> None:
    rule = requests.add_rule(gateways[0], replace(RULE, approvals=2))
    for _ in range(ROUNDS):
        number = make(gateways[0], rule).id
        states = act_at_once(gateways, vote(number, "bob"), vote(number, "ann"))
        assert sorted(map(str, states)) == ["approved", "pending"]
        assert read(gateways[0], number) is RequestState.APPROVED
        requests.leave_request(gateways[0], number)


def test_a_request_that_is_withdrawn_while_it_is_approved_gives_nothing(gateways: Gateways) -> None:
    rule = requests.add_rule(gateways[0], RULE)
    for _ in range(ROUNDS):
        number = make(gateways[0], rule).id

        def leave(service: AdminService, number: int = number) -> AccessRequest:
            return requests.leave_request(service, number, user="dev")

        approved, left = act_at_once(gateways, vote(number, "bob"), leave)
        assert (approved, left) in (
            (RequestState.APPROVED, RequestState.ENDED),
            (None, RequestState.WITHDRAWN),
        )
        assert number not in load_policy(gateways[1].database).requests


def test_two_hosts_that_ask_at_once_make_one_request(gateways: Gateways) -> None:
    rule = requests.add_rule(gateways[0], RULE)
    for _ in range(ROUNDS):
        act_at_once(gateways, lambda one: make(one, rule), lambda two: make(two, rule))
        [request] = requests.list_requests(gateways[0], open_only=True)
        requests.leave_request(gateways[0], request.id)


def test_break_glass_is_used_once_until_its_review_at_two_gateways(gateways: Gateways) -> None:
    glass = replace(RULE, approvals=0, is_break_glass=True, longest_s=1800)
    rule = requests.add_rule(gateways[0], glass)
    for _ in range(ROUNDS):
        states = act_at_once(
            gateways, lambda one: make(one, rule, "app01"), lambda two: make(two, rule, "app02")
        )
        assert sorted(map(str, states)) == ["None", "approved"]
        [used] = requests.list_requests(gateways[0], open_only=True)
        requests.review_request(gateways[1], used.id, "bob")
        requests.leave_request(gateways[1], used.id)


@pytest.mark.access(21)
def test_no_more_than_so_many_requests_of_all_users_are_pending(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_PENDING_TOTAL", 2)
    rule = requests.add_rule(gateways[0], RULE)
    first = make(gateways[0], rule, "app1")
    make(gateways[1], rule, "app2")
    for service in gateways:
        with pytest.raises(RefusedError, match="of all users are pending"):
            requests.make_request(service, "eve", [Target("app3")], rule, "INC-1")
    requests.decide(gateways[1], first.id, is_yes=True)
    assert requests.make_request(gateways[0], "eve", [Target("app3")], rule, "INC-1").id
