"""Access requests of people at a listener: who is asked for a proof, what they see, and how many wait."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.admin.context import CHANGES, WorkerContext
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.requests.offers import RequestOffers
from stagedoor.admin.requests.request_service import (
    MAX_WAITING,
    MAX_WAITING_PER_USER,
    RequestService,
    describe_end,
)
from stagedoor.authz.access_request import NOT_YOURS
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.access_request import AccessRequest, RequestState
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.store.policy import load_policy
from tests.access.test_requests import APP, NOW, RULE, Desk

SIGN_IN = SignIn(bytes(32), NOW + 2 * 86400)
GLASS = replace(RULE, approvals=0, is_break_glass=True, longest_s=1800)


def person(name: str) -> Identity:
    return Identity(name, frozenset(), Method.SSO, "Company", sign_in=SIGN_IN)


class Counter:
    """The service of a worker, at which people have or have not proved that they are there."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.proved_at: float | None = None
        settings, now = Settings(data_dir=desk.folder), lambda: desk.now
        context = WorkerContext(settings, desk.database, self.policy, now, now)
        apps = (APP, Target("app01", "production"), Target("app01", "staging"))
        offers = RequestOffers(context, lambda: apps, "https://gw.example")
        rules = StepUpRules(url="https://gw.example/step-up")
        self.service = RequestService(context, rules, offers)

    def policy(self) -> Policy:
        policy = load_policy(self.desk.database)
        proofs = {} if self.proved_at is None else {SIGN_IN.id: self.proved_at}
        return replace(policy, stepped_up=proofs)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    desk = Desk(folder)
    yield Counter(desk)
    desk.database.close()


@pytest.mark.access(16)
async def test_break_glass_wants_a_fresh_proof_of_the_person_who_asks(counter: Counter) -> None:
    counter.desk.rule(GLASS)
    service, dev = counter.service, person("dev")
    assert service.offers.find_offer(dev, APP) is None, "it is asked for by its name only"
    stale = await service.make(dev, [APP], "INC-1", break_glass=True)
    assert isinstance(stale, Denial)
    assert stale.reason is Reason.STEP_UP_NEEDED
    assert "https://gw.example/step-up" in stale.line
    counter.proved_at = NOW - 60
    request = await service.make(dev, [APP], "INC-1", break_glass=True)
    assert isinstance(request, AccessRequest)
    assert counter.desk.may_enter()
    own = await service.review(dev, request.id)
    assert isinstance(own, Denial)
    assert counter.desk.audit().count("request.refused") == 1
    counter.desk.now += 86_400
    assert await service.list_requests(person("bob")) == [request], "it needs a review"
    assert isinstance(await service.review(person("bob"), request.id), AccessRequest)
    assert await service.list_requests(person("bob")) == []


@pytest.mark.access(9)
async def test_each_refused_decision_is_audited_and_their_number_is_bounded(
    counter: Counter,
) -> None:
    request = counter.desk.make(counter.desk.rule(replace(RULE, approvers=("user:dev",))))
    for _ in range(CHANGES.burst):
        refused = await counter.service.decide(person("dev"), request.id, is_yes=True)
        assert isinstance(refused, Denial)
        assert "is your own" in refused.line
    late = await counter.service.decide(person("dev"), request.id, is_yes=True)
    assert isinstance(late, Denial)
    assert late.reason is Reason.THROTTLED
    assert counter.desk.audit().count("request.refused") == CHANGES.burst
    assert not counter.desk.may_enter()


async def test_a_request_is_shown_to_its_user_and_to_its_approvers(counter: Counter) -> None:
    request = counter.desk.make(counter.desk.rule())
    for name, is_shown in (("dev", True), ("bob", True), ("eve", False), ("stranger", False)):
        listed = await counter.service.list_requests(person(name))
        assert not isinstance(listed, Denial)
        assert bool(listed) is is_shown
        read = await counter.service.read(person(name), request.id)
        assert (read == NOT_YOURS) is not is_shown
    assert await counter.service.read(person("dev"), request.id + 1) == NOT_YOURS
    assert await counter.service.leave(person("bob"), request.id) == NOT_YOURS


async def test_an_offer_says_where_to_ask_and_then_where_the_request_is(counter: Counter) -> None:
    rule = counter.desk.rule()
    offer = counter.service.offers.find_offer(person("dev"), APP)
    assert offer is not None
    assert offer.where == "https://gw.example/requests?app=app09.production"
    assert (offer.request, offer.page) == (None, None)
    request = counter.desk.make(rule)
    offer = counter.service.offers.find_offer(person("dev"), APP)
    assert offer is not None
    assert offer.page == f"https://gw.example/requests/{request.id}"
    record = requests.read_request(counter.desk.service, request.id)
    assert "has lapsed" in describe_end(record, request.ends_at)
    assert record.request.find_state(request.ends_at) is RequestState.LAPSED


@pytest.mark.access(21)
def test_the_connections_that_wait_are_bounded(counter: Counter) -> None:
    with ExitStack() as waiting:
        for _ in range(MAX_WAITING_PER_USER):
            assert waiting.enter_context(counter.service.count_waiting(person("dev")))
        assert not waiting.enter_context(counter.service.count_waiting(person("dev")))
        for number in range(MAX_WAITING - MAX_WAITING_PER_USER):
            assert waiting.enter_context(counter.service.count_waiting(person(f"user{number}")))
        assert not waiting.enter_context(counter.service.count_waiting(person("eve")))
    with counter.service.count_waiting(person("dev")) as may_wait:
        assert may_wait
