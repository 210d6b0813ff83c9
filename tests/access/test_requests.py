"""Access requests in a store: each attack first, then what a request gives and how it ends."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin import service as admin
from stagedoor.admin.audit.chain import remove_delivered
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService
from stagedoor.authz.access_request import check_decider, find_rule_to_ask
from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.access_request import (
    LONGEST_S,
    MAX_PENDING,
    MAX_PER_HOUR,
    MAX_REASON_CHARS,
    REQUEST_PENDING_S,
    UNUSED_S,
    AccessRequest,
    Decision,
    RequestRule,
    RequestState,
    begin,
    check_reason,
    end,
    judge,
)
from stagedoor.model.denial import Denial
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.store.database import open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_policy, read_changes
from stagedoor.store.sign_in.identities import ProviderAccount, link

NOW = 1_800_000_000.0
APP = Target("app09", "production")
RULE = RequestRule(0, "group:dev", "app*", "production", longest_s=7200, approvers=("group:sre",))


class Desk:
    """An administrator's store with developers and approvers, and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.folder = folder
        self.database = open_database(folder / "stagedoor.db")
        self.service = AdminService(self.database, folder, "root@here", lambda: self.now)
        for name, group in (
            ("dev", "dev"),
            ("eve", "dev"),
            ("bob", "sre"),
            ("ann", "sre"),
            ("lee", "sre"),
        ):
            admin.add_user(self.service, name, groups=[group])

    def rule(self, rule: RequestRule = RULE) -> RequestRule:
        return requests.add_rule(self.service, rule)

    def make(self, rule: RequestRule, user: str = "dev", *targets: Target) -> AccessRequest:
        wanted = targets or (APP,)
        return requests.make_request(self.service, user, wanted, rule, "INC-42 stuck")

    def decide(
        self, request: AccessRequest, approver: str | None = "bob", *, is_yes: bool = True
    ) -> AccessRequest:
        return requests.decide(self.service, request.id, approver=approver, is_yes=is_yes)

    def list_open(self) -> list[AccessRequest]:
        """Return the open requests, the oldest first."""
        return list(reversed(requests.list_requests(self.service, open_only=True)))

    def verdict(self, user: str = "dev", target: Target = APP) -> Grant | Denial:
        identity = Identity(user, frozenset(), Method.CERTIFICATE)
        return authorise(load_policy(self.database), identity, target, self.now)

    def may_enter(self, user: str = "dev", target: Target = APP) -> bool:
        return isinstance(self.verdict(user, target), Grant)

    def audit(self) -> list[str]:
        fields = [entry.event.fields for entry in read_entries(self.database)]
        return [str(f["action"]) for f in fields if str(f.get("action", "")).startswith("request")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    desk = Desk(folder)
    yield desk
    desk.database.close()


# Attacks.


@pytest.mark.access(9)
def test_no_user_approves_their_own_request(desk: Desk) -> None:
    request = desk.make(desk.rule(replace(RULE, approvers=("group:sre", "user:dev"))))
    with pytest.raises(requests.ApproverError):
        desk.decide(request, "dev")
    assert not desk.may_enter()


def make_as_another_account(desk: Desk, rule: RequestRule) -> AccessRequest:
    """Make a request by `dev`, whose account at the provider becomes that of `bob` afterwards."""
    account = ProviderAccount("https://id.example", "sub-1")
    with desk.service.change("link") as change:
        link(change.transaction, account, "dev", NOW)
    request = desk.make(rule)
    with desk.service.change("unlink") as change:
        change.transaction.exec_driver_sql("DELETE FROM identities")
        link(change.transaction, account, "bob", NOW)
    return request


@pytest.mark.access(9)
def test_a_second_account_of_the_same_person_approves_nothing(desk: Desk) -> None:
    request = make_as_another_account(desk, desk.rule())
    with pytest.raises(requests.ApproverError):
        desk.decide(request, "bob")
    assert isinstance(desk.decide(request, "ann"), AccessRequest)


@pytest.mark.access(9, 16)
def test_a_second_account_of_the_same_person_reviews_no_break_glass(desk: Desk) -> None:
    rule = desk.rule(replace(RULE, approvals=0, is_break_glass=True, longest_s=1800))
    request = make_as_another_account(desk, rule)
    with pytest.raises(requests.ApproverError):
        requests.review_request(desk.service, request.id, "bob")
    requests.review_request(desk.service, request.id, "ann")


@pytest.mark.parametrize(
    "identity",
    [
        Identity("bob", frozenset(), Method.TOKEN, "t1"),
        Identity("bob", frozenset(), Method.MACHINE, "ci"),
        Identity("bob", frozenset(), Method.PUBLIC_KEY, "SHA256:x"),
        Identity("bob", frozenset(), Method.CERTIFICATE, "c"),
        Identity("bob", frozenset(), Method.SSO, "Company", scopes=("connect:app01",)),
        Identity("dev", frozenset(), Method.SSO, "Company"),
        Identity("eve", frozenset(), Method.SSO, "Company"),
        Identity("stranger", frozenset(), Method.SSO, "Company"),
    ],
    ids=lambda identity: f"{identity.name} by {identity.method}",
)
@pytest.mark.access(9)
def test_programs_requesters_and_other_users_decide_nothing(desk: Desk, identity: Identity) -> None:
    request = desk.make(desk.rule())
    policy = load_policy(desk.database)
    assert isinstance(check_decider(policy, identity, request, StepUpRules(), NOW), Denial)
    person = Identity("bob", frozenset(), Method.SSO, "Company")
    assert check_decider(policy, person, request, StepUpRules(), NOW) is None


@pytest.mark.access(9)
def test_a_password_that_was_changed_decides_nothing(desk: Desk) -> None:
    request = desk.make(desk.rule())
    stolen = Identity("bob", frozenset(), Method.PASSWORD, password_hash="the old one")
    denial = check_decider(load_policy(desk.database), stolen, request, StepUpRules(), NOW)
    assert denial is not None
    assert denial.message == "the password of 'bob' was changed"


def test_a_rule_with_step_up_wants_a_proof_that_is_fresh(desk: Desk) -> None:
    request = desk.make(desk.rule(replace(RULE, needs_step_up=True)))
    sign_in = SignIn(bytes(32), NOW + 3600)
    bob = Identity("bob", frozenset(), Method.SSO, "Company", sign_in=sign_in)
    policy = load_policy(desk.database)
    assert isinstance(check_decider(policy, bob, request, StepUpRules(), NOW), Denial)
    proved = replace(policy, stepped_up={bytes(32): NOW - 60})
    assert check_decider(proved, bob, request, StepUpRules(), NOW) is None
    assert check_decider(proved, bob, request, StepUpRules(), NOW + 3600) is not None
    elsewhere = replace(bob, sign_in=SignIn(bytes([1] * 32), NOW + 3600))
    assert isinstance(check_decider(proved, elsewhere, request, StepUpRules(), NOW), Denial)


@pytest.mark.access(10)
def test_a_vote_is_lost_with_the_group_that_gave_it(desk: Desk) -> None:
    rule = desk.rule(replace(RULE, approvals=2))
    request = desk.make(rule)
    desk.decide(request, "bob")
    desk.decide(request, "bob")
    assert not desk.may_enter(), "one approver counts once"
    admin.change_groups(desk.service, "bob", remove=["sre"])
    desk.decide(request, "ann")
    assert not desk.may_enter()
    desk.decide(request, "lee")
    assert desk.may_enter()


@pytest.mark.access(10)
@pytest.mark.parametrize("needed", [1, 3])
def test_of_approvers_who_decide_at_once_no_vote_is_lost_or_counted_twice(
    desk: Desk, needed: int
) -> None:
    rule, votes = desk.rule(replace(RULE, approvals=needed)), (True, True, True, False)
    approvers = [f"approver{number}" for number in range(len(votes))]
    for name in approvers:
        admin.add_user(desk.service, name, groups=["sre"])
    for number in range(5):
        request = desk.make(rule, "dev", Target(f"app{number}", "production"))
        together = Barrier(len(votes))

        def decide(
            name: str, vote: bool, request: AccessRequest = request, together: Barrier = together
        ) -> RequestState | None:
            together.wait()
            try:
                return desk.decide(request, name, is_yes=vote).state
            except RefusedError:
                return None

        with ThreadPoolExecutor(len(votes)) as pool:
            states = [state for state in pool.map(decide, approvers, votes) if state is not None]
        record = requests.read_request(desk.service, request.id)
        last = [state for state in states if state is not RequestState.PENDING]
        assert last == [record.request.state], "one decision is the last"
        assert len(record.decisions) == len(states)
        if record.request.state is RequestState.APPROVED:
            assert [decision.is_yes for decision in record.decisions] == [True] * needed
            requests.leave_request(desk.service, request.id)


def test_an_approver_who_has_left_or_is_disabled_decides_nothing(desk: Desk) -> None:
    request = desk.make(desk.rule())
    admin.change_groups(desk.service, "bob", remove=["sre"])
    with pytest.raises(RefusedError):
        desk.decide(request, "bob")
    with desk.service.change("disable") as change:
        change.transaction.exec_driver_sql("UPDATE users SET disabled_at = 1 WHERE name = 'ann'")
    with pytest.raises(RefusedError):
        desk.decide(request, "ann")
    assert not desk.may_enter()


def test_a_request_that_is_over_cannot_be_approved(desk: Desk) -> None:
    rule = desk.rule()
    denied, withdrawn = desk.make(rule), desk.make(rule, "eve")
    desk.decide(denied, is_yes=False)
    requests.leave_request(desk.service, withdrawn.id, user="eve")
    lapsed = desk.make(rule, "dev", Target("app01", "production"))
    desk.now += REQUEST_PENDING_S
    for request in (denied, withdrawn, lapsed):
        with pytest.raises(RefusedError):
            desk.decide(request)
    assert not desk.may_enter()
    assert not desk.may_enter("eve")


def test_a_rule_that_was_removed_gives_nothing_any_more(desk: Desk) -> None:
    rule = desk.rule()
    approved, pending = desk.make(rule), desk.make(rule, "eve")
    desk.decide(approved)
    assert desk.may_enter()
    requests.remove_rule(desk.service, rule.id)
    assert not desk.may_enter()
    with pytest.raises(RefusedError):
        desk.decide(pending)


@pytest.mark.access(14)
def test_what_was_approved_is_lost_with_the_right_to_ask(desk: Desk) -> None:
    desk.decide(desk.make(desk.rule()))
    assert desk.may_enter()
    admin.change_groups(desk.service, "dev", remove=["dev"])
    assert not desk.may_enter()


def test_the_next_user_of_a_name_inherits_no_request(desk: Desk) -> None:
    desk.decide(desk.make(desk.rule()))
    admin.remove_user(desk.service, "dev")
    admin.add_user(desk.service, "dev", groups=["dev"])
    assert not desk.may_enter()


@pytest.mark.access(20)
def test_an_approval_writes_no_grant_that_an_older_gateway_reads(desk: Desk) -> None:
    """A gateway that still runs version 0.2 reads grants alone, and so refuses."""
    desk.decide(desk.make(desk.rule()))
    with desk.database.read() as transaction:
        assert transaction.exec_driver_sql("SELECT count(*) FROM grants").scalar_one() == 0


@pytest.mark.access(21)
def test_requests_of_one_user_are_bounded(desk: Desk) -> None:
    rule = desk.rule()
    for number in range(MAX_PENDING):
        desk.make(rule, "dev", Target(f"app{number}", "production"))
    with pytest.raises(RefusedError, match="pending"):
        desk.make(rule, "dev", APP)
    desk.make(rule, "eve")
    made = MAX_PENDING
    while made < MAX_PER_HOUR:
        for request in requests.list_requests(desk.service, open_only=True):
            if request.user == "dev":
                requests.leave_request(desk.service, request.id)
        for number in range(min(MAX_PENDING, MAX_PER_HOUR - made)):
            desk.make(rule, "dev", Target(f"app{made + number}", "production"))
        made += MAX_PENDING
    requests.leave_request(desk.service, MAX_PER_HOUR + 1)
    with pytest.raises(RefusedError, match="within an hour"):
        desk.make(rule, "dev", APP)


# Who may ask.


def test_rules_alone_decide_who_may_ask(desk: Desk) -> None:
    desk.rule()
    policy = load_policy(desk.database)

    def may_ask(name: str, *targets: Target, **fields: object) -> bool:
        identity = Identity(name, frozenset(), Method.SSO, **fields)  # type: ignore[arg-type]
        return find_rule_to_ask(policy, identity, targets, NOW) is not None

    assert may_ask("dev", APP, Target("app-that-never-was", "production"))
    assert not may_ask("dev", APP, Target("other", "production"))
    assert not may_ask("dev", Target("app09", "staging"))
    assert not may_ask("dev", Target("app09"))
    assert not may_ask("bob", APP)
    assert not may_ask("stranger", APP)
    assert not may_ask("dev", APP, scopes=("connect",))


def test_of_several_rules_the_one_with_the_fewest_approvals_counts(desk: Desk) -> None:
    two = desk.rule(replace(RULE, approvals=2))
    none = desk.rule(replace(RULE, approvals=0, approvers=()))
    glass = desk.rule(replace(RULE, approvals=0, is_break_glass=True, longest_s=900))
    identity = Identity("dev", frozenset(), Method.SSO)
    policy = load_policy(desk.database)
    assert find_rule_to_ask(policy, identity, [APP], NOW) == none
    assert find_rule_to_ask(policy, identity, [APP], NOW, break_glass=True) == glass
    assert find_rule_to_ask(policy, identity, [APP], NOW, frozenset({Permission.FORWARD})) is None
    assert two.deciders == "2 of group:sre"


@pytest.mark.parametrize(
    "rule",
    [
        replace(RULE, approvers=()),
        replace(RULE, approvals=0),
        replace(RULE, approvals=2, approvers=("user:bob",)),
        replace(RULE, approvers=(ALL_USERS,)),
        replace(RULE, longest_s=LONGEST_S + 1),
        replace(RULE, longest_s=0),
        replace(RULE, permissions=frozenset({Permission.FILES})),
        replace(RULE, approvals=0, is_break_glass=True, longest_s=3600),
        replace(RULE, approvals=1, is_break_glass=True, longest_s=900),
        replace(RULE, approvals=0, approvers=(), is_break_glass=True, longest_s=900),
        replace(RULE, subject="dev"),
        replace(RULE, approvers=("sre",)),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(desk: Desk, rule: RequestRule) -> None:
    with pytest.raises(RefusedError):
        desk.rule(rule)


# From the request to its end.


@pytest.mark.access(13)
def test_the_time_counts_from_the_first_entry(desk: Desk) -> None:
    request = desk.decide(desk.make(desk.rule()))
    desk.now += UNUSED_S - 1
    assert desk.may_enter()
    requests.begin_request(desk.service, request.id)
    desk.now += 3599
    assert desk.may_enter()
    requests.begin_request(desk.service, request.id)
    desk.now += 1
    assert not desk.may_enter(), "a second entry adds nothing"


@pytest.mark.access(13)
def test_an_approval_that_is_not_used_ends(desk: Desk) -> None:
    request = desk.decide(desk.make(desk.rule()))
    desk.now += UNUSED_S
    assert not desk.may_enter()
    requests.begin_request(desk.service, request.id)
    assert not desk.may_enter()


@pytest.mark.access(15)
def test_access_is_extended_without_a_gap_and_once_at_a_time(desk: Desk) -> None:
    rule = desk.rule()
    first = desk.decide(desk.make(rule))
    requests.begin_request(desk.service, first.id)
    desk.now += 3000
    second = desk.decide(desk.make(rule))
    assert (second.began_at, second.ends_at) == (NOW + 3600, NOW + 7200)
    third = desk.make(rule)
    with pytest.raises(RefusedError, match="extended already"):
        desk.decide(third)
    desk.now = NOW + 7199
    assert desk.may_enter()
    desk.now += 1
    assert not desk.may_enter()


@pytest.mark.access(13)
def test_a_session_does_not_begin_the_time_of_a_request(desk: Desk) -> None:
    """Otherwise it would last until the request lapses, and not for the minutes that were approved."""
    rule = desk.rule()
    grant = admin.add_grant(desk.service, "user:dev", "app09", expires_at=NOW + 60)
    authoriser = Authoriser(lambda: load_policy(desk.database), lambda: desk.now)
    identity = Identity("dev", frozenset(), Method.CERTIFICATE)
    inside = authoriser.authorise(identity, APP)
    assert isinstance(inside, Grant)
    assert inside.rule_id == grant.id
    approved = desk.decide(desk.make(rule))
    desk.now += 60
    assert isinstance(authoriser.judge_again(inside), Denial)
    entered = authoriser.authorise(identity, APP)
    assert isinstance(entered, Grant)
    assert entered.request == approved.id
    assert isinstance(authoriser.judge_again(entered), Grant)
    requests.begin_request(desk.service, approved.id)
    assert isinstance(authoriser.judge_again(inside), Grant)


@pytest.mark.access(13)
def test_a_request_that_adds_a_permission_to_a_grant_begins_too(desk: Desk) -> None:
    """Otherwise the permission would last until the request lapses."""
    admin.add_grant(desk.service, "user:dev", "app09")
    plain = desk.verdict()
    assert isinstance(plain, Grant)
    assert plain.request is None
    forward = DEFAULT | {Permission.FORWARD}
    same = desk.decide(desk.make(desk.rule()))
    verdict = desk.verdict()
    assert isinstance(verdict, Grant)
    assert (same.state, verdict.request) == (RequestState.APPROVED, None), "it adds nothing"
    more = desk.decide(desk.make(desk.rule(replace(RULE, permissions=forward))))
    verdict = desk.verdict()
    assert isinstance(verdict, Grant)
    assert (verdict.request, verdict.permissions) == (more.id, forward)
    authoriser = Authoriser(lambda: load_policy(desk.database), lambda: desk.now)
    still = authoriser.judge_again(plain)
    assert isinstance(still, Grant)
    assert still.permissions == DEFAULT, "a session gets nothing whose time it does not begin"


def test_an_approver_may_give_less_than_was_asked_for(desk: Desk) -> None:
    rule = desk.rule(replace(RULE, approvals=2))
    request = desk.make(rule)
    requests.decide(desk.service, request.id, approver="bob", is_yes=True, lasts_s=600)
    with pytest.raises(RefusedError):
        requests.decide(desk.service, request.id, approver="ann", is_yes=True, lasts_s=86400)
    assert desk.decide(request, "ann").lasts_s == 600


def test_the_same_request_is_joined(desk: Desk) -> None:
    rule = desk.rule()
    assert desk.make(rule).id == desk.make(rule).id
    assert desk.make(rule, "eve").id != desk.make(rule).id
    assert desk.audit().count("request.make") == 2


def test_without_approvals_a_request_is_approved_at_once_and_audited(desk: Desk) -> None:
    request = desk.make(desk.rule(replace(RULE, approvals=0, approvers=())))
    assert request.state is RequestState.APPROVED
    verdict = desk.verdict()
    assert isinstance(verdict, Grant)
    assert (verdict.request, verdict.permissions) == (request.id, DEFAULT)
    assert desk.audit() == ["request.rule.add", "request.make"]


def test_an_administrator_decides_alone(desk: Desk) -> None:
    request = desk.make(desk.rule(replace(RULE, approvals=3)))
    assert desk.decide(request, None).state is RequestState.APPROVED
    assert desk.may_enter()
    requests.leave_request(desk.service, request.id)
    assert not desk.may_enter()
    assert desk.audit()[-2:] == ["request.approve", "request.end"]


def test_a_user_leaves_only_requests_of_their_own(desk: Desk) -> None:
    request = desk.make(desk.rule())
    with pytest.raises(NotFoundError):
        requests.leave_request(desk.service, request.id, user="eve")
    left = requests.leave_request(desk.service, request.id, user="dev")
    assert left.state is RequestState.WITHDRAWN
    with pytest.raises(RefusedError):
        requests.leave_request(desk.service, request.id, user="dev")


@pytest.mark.access(16)
def test_break_glass_opens_at_once_and_once_until_it_was_reviewed(desk: Desk) -> None:
    glass = replace(RULE, approvals=0, is_break_glass=True, longest_s=1800)
    rule = desk.rule(glass)
    request = desk.make(rule)
    assert desk.may_enter()
    with pytest.raises(RefusedError, match="reviewed"):
        desk.make(rule, "dev", Target("app01", "production"))
    desk.make(rule, "eve")
    requests.review_request(desk.service, request.id, "bob")
    with pytest.raises(RefusedError):
        requests.review_request(desk.service, request.id, "bob")
    desk.make(rule, "dev", Target("app01", "production"))


@pytest.mark.access(16)
def test_break_glass_is_listed_until_it_was_reviewed(desk: Desk) -> None:
    glass = replace(RULE, approvals=0, is_break_glass=True, longest_s=1800)
    request = desk.make(desk.rule(glass))
    requests.begin_request(desk.service, request.id)
    desk.now += 1801
    desk.make(desk.rule(), "eve")  # ended requests leave the open ones
    assert not desk.may_enter()
    ended, pending = desk.list_open()
    assert (ended.id, ended.find_state(desk.now)) == (request.id, RequestState.ENDED)
    assert pending.user == "eve"
    requests.review_request(desk.service, request.id, "bob")
    assert desk.list_open() == [pending]


def test_the_history_is_kept_as_long_as_the_audit(desk: Desk) -> None:
    rule = desk.rule()
    glass = desk.rule(replace(RULE, approvals=0, is_break_glass=True, longest_s=1800))
    desk.decide(desk.make(rule), is_yes=False)
    unreviewed = desk.make(glass)
    desk.now += UNUSED_S + 86_400
    kept = {unreviewed.id, desk.make(rule, "eve").id}
    last = list(read_entries(desk.database))[-1].seq
    remove_delivered(desk.database, through=last, before=desk.now - 1, instance="x", now=desk.now)
    left = requests.list_requests(desk.service, open_only=False)
    assert {request.id for request in left} == kept, "what is open or needs a review is no history"
    with desk.database.read() as transaction:
        decisions = transaction.exec_driver_sql("SELECT count(*) FROM request_decisions")
        assert decisions.scalar_one() == 0


def test_workers_read_what_has_changed_and_no_more(desk: Desk) -> None:
    before = load_policy(desk.database)
    request = desk.decide(desk.make(desk.rule()))
    for change in (
        lambda: requests.begin_request(desk.service, request.id),
        lambda: requests.leave_request(desk.service, request.id),
        lambda: requests.remove_rule(desk.service, 1),
    ):
        now = load_policy(desk.database)
        with desk.database.read() as transaction:
            assert read_changes(transaction, before, now.version) == now
        before = now
        change()
    assert not load_policy(desk.database).requests


# Pure: any order of events.


def test_a_reason_is_for_terminals_and_pages() -> None:
    assert check_reason("  INC-42, stuck queue 队列 ", "*INC-*") == "INC-42, stuck queue 队列"
    for reason in ("", "  ", "a\nb", "a\x1b[31m", "a\u202eb", "x" * (MAX_REASON_CHARS + 1), "no"):
        with pytest.raises(RefusedError):
            check_reason(reason, "*INC-*" if reason == "no" else "*")


PENDING = AccessRequest(1, "dev", (APP,), DEFAULT, 1, "x", 3600, NOW, NOW + REQUEST_PENDING_S)
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["yes", "no", "begin", "leave"]),
        st.sampled_from(["bob", "ann", "lee", "eve"]),
        st.floats(0, 2 * UNUSED_S),
    ),
    max_size=12,
)


@given(_EVENTS, st.integers(0, 3))
def test_access_needs_enough_approvers_and_ends_in_time(
    events: list[tuple[str, str, float]], approvals: int
) -> None:
    rule = replace(RULE, id=1, approvals=approvals)
    sre = {"bob", "ann", "lee"}
    request, votes, now = judge(PENDING, rule, (), sre.__contains__, NOW), [], NOW
    approved_at = NOW if approvals == 0 else None
    for kind, name, pause in events:
        now += pause
        state = request.find_state(now)
        if kind == "begin":
            request = begin(request, now)
        elif kind == "leave":
            try:
                request = end(request, now)
            except RefusedError:
                assert state not in (RequestState.PENDING, RequestState.APPROVED)
        elif state is RequestState.PENDING:
            votes.append(Decision(name, now, kind == "yes"))
            request = judge(request, rule, votes, sre.__contains__, now)
            if request.state is RequestState.APPROVED:
                approved_at = now
        after = request.find_state(now)
        if state not in (RequestState.PENDING, RequestState.APPROVED):
            assert after is state, "what is over stays over"
        if after is RequestState.APPROVED:
            assert approved_at is not None
            yes = {vote.approver for vote in votes if vote.is_yes} & sre
            assert len(yes) >= approvals
            assert now < approved_at + UNUSED_S + request.lasts_s
            assert not any(not v.is_yes and v.approver in sre for v in votes)
