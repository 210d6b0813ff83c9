import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stagedoor.authz.guest import authorise_share, judge_again
from stagedoor.listeners.web.terminal.relay import LAST_WORDS_S
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, TokenRecord
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.settings.store_location import StoreLocation
from stagedoor.store import grants, people
from stagedoor.store.database import Database
from stagedoor.store.journal import StoreJournal
from stagedoor.store.sessions import CloseRequest, request_close
from stagedoor.store.shares import add_share, remove_share
from stagedoor.store.watch import POLL_S, REFRESHES, PolicyWatch
from tests.store.conftest import Outage
from tests.store.sample import change, closed, opened, python


class Heard:
    def __init__(self) -> None:
        self.policies: queue.Queue[Policy] = queue.Queue()
        self.requests: queue.Queue[tuple[CloseRequest, ...]] = queue.Queue()
        self.problems: queue.Queue[str | None] = queue.Queue()

    def watch(self, database: Database, **options: Any) -> PolicyWatch:
        return PolicyWatch(
            database,
            "one",
            on_change=self.policies.put,
            on_close_requests=self.requests.put,
            on_problem=self.problems.put,
            **options,
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watching(database: Database, heard: Heard) -> Iterator[PolicyWatch]:
    watch = heard.watch(database, poll_s=0.02)
    watch.start()
    yield watch
    watch.stop()


def test_a_guest_has_five_seconds_at_most_after_the_end_of_his_share(
    database: Database, heard: Heard
) -> None:
    """Counted, not timed: one look at the store finds the end, and last words have a bound."""
    now, app01 = 1_700_000_000.0, Target("app01")
    share = Share("s1", b"h" * 32, "host", Method.TOKEN, app01, "main", False, now + 60, "t1")
    with change(database, "grant.add") as c:
        for name in ("host", "guest"):
            people.add_user(c.transaction, name, frozenset(), None, now)
        grants.add_grant(c.transaction, GrantRule(0, "user:host", "app01"), now)
        people.add_token(c.transaction, TokenRecord("t1", "host", b"x" * 32), now)
        people.add_token(c.transaction, TokenRecord("t2", "guest", b"y" * 32), now)
        add_share(c.transaction, share, now)
    watch = heard.watch(database)
    guest = Identity("guest", frozenset(), Method.TOKEN, "t2")
    grant = authorise_share(watch.policy, guest, "s1", now)
    assert isinstance(grant, Grant)
    assert judge_again(watch.policy, grant, now) == grant
    with change(database, "share.end") as c:
        remove_share(c.transaction, "s1", "host")
    watch.poll()
    assert isinstance(judge_again(heard.policies.get_nowait(), grant, now), Denial)
    assert POLL_S + LAST_WORDS_S < 5


REMOVE = """
import sys
from stagedoor.store import grants
from stagedoor.store.database import open_database
from tests.store.sample import change, place_from
with change(open_database(place_from(sys.argv[1])), "grant.remove") as c:
    grants.remove_grant(c.transaction, 1)
"""


def test_a_grant_that_another_process_removes_is_gone_within_seconds(
    database: Database, heard: Heard, place: StoreLocation
) -> None:
    with change(database, "grant.add") as c:
        grants.add_grant(c.transaction, GrantRule(0, "group:dev", "app01"), 1.0)
    watch = heard.watch(database)
    watch.start()
    try:
        assert len(watch.policy.grants) == 1
        remover = python(REMOVE, place)
        remover.communicate(timeout=60)
        assert remover.returncode == 0
        assert heard.policies.get(timeout=30).grants == ()
        assert watch.policy.grants == ()
    finally:
        watch.stop()


def test_passwords_count_by_the_groups_of_now(database: Database, heard: Heard) -> None:
    with change(database, "user.add") as c:
        people.add_user(c.transaction, "glass", frozenset(), "$argon2id$1", 1.0)
    watch = heard.watch(database, password_groups=frozenset({"oncall"}))
    assert watch.policy.users["glass"].password_hash is None
    for groups, known in ((frozenset({"oncall"}), "$argon2id$1"), (frozenset({"dev"}), None)):
        with change(database, "user.groups") as c:
            people.set_groups(c.transaction, "glass", groups)
        watch.poll()
        assert watch.policy.users["glass"].password_hash == known


@pytest.mark.usefixtures("watching")
def test_nothing_is_called_while_only_the_audit_grows(database: Database, heard: Heard) -> None:
    StoreJournal(database).append([opened("s1")])
    with change(database, "user.add") as c:
        people.add_user(c.transaction, "alice", frozenset(), None, 1.0)
    assert heard.policies.get(timeout=30).version == 1
    assert heard.policies.empty()


@pytest.mark.usefixtures("watching")
def test_a_wish_to_close_a_session_reaches_its_worker_until_it_is_closed(
    database: Database, heard: Heard
) -> None:
    journal = StoreJournal(database)
    journal.append([opened("mine"), opened("other", instance="two")])
    with database.write() as transaction:
        assert request_close(transaction, ["mine", "other"], at=5.0, reason="go home") == 2
    wish = (CloseRequest("mine", "go home"),)
    # Sent again and again: the session may not have been known to the worker the first time.
    assert [heard.requests.get(timeout=30) for _ in range(3)] == [wish] * 3
    journal.append([closed("mine")])
    with database.write() as transaction:
        assert request_close(transaction, ["mine"], at=6.0, reason="again") == 0


def test_closed_sessions_are_asked_for_no_more(database: Database, heard: Heard) -> None:
    watch = heard.watch(database)
    StoreJournal(database).append([opened("s1")])
    with database.write() as transaction:
        request_close(transaction, ["s1"], at=5.0, reason="go home")
    watch.poll()
    assert heard.requests.qsize() == 1
    StoreJournal(database).append([closed("s1")])
    watch.poll()
    watch.poll()
    assert heard.requests.qsize() == 1


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_cannot_be_read_is_trusted_for_a_while_and_then_lets_nobody_in(
    database: Database, heard: Heard, outage: Outage
) -> None:
    with change(database, "grant.add") as c:
        grants.add_grant(c.transaction, GrantRule(0, "group:dev", "app01"), 1.0)
    clock = Clock()
    watch = heard.watch(database, clock=clock, fail_closed_after_s=30.0)
    with outage():
        watch.poll()
        problem = heard.problems.get_nowait()
        assert problem is not None
        assert problem.startswith(f"the store {database.name}")
        assert watch.problem == problem
        clock.now += 29
        assert len(watch.policy.grants) == 1
        clock.now += 2
        assert watch.policy.grants == ()
        assert watch.policy.is_unavailable
        assert watch.is_closed
        assert len(watch.last_policy.grants) == 1
        watch.poll()
        assert heard.problems.empty(), "a problem is told once"
    watch.poll()
    assert heard.problems.get_nowait() is None
    assert len(watch.policy.grants) == 1
    # Live sessions were let in by a policy that was read: no session is asked to leave.
    assert heard.policies.empty()


def test_a_watch_that_hangs_fails_closed_as_well(database: Database, heard: Heard) -> None:
    clock = Clock()
    with change(database, "grant.add") as c:
        grants.add_grant(c.transaction, GrantRule(0, "group:dev", "app01"), 1.0)
    watch = heard.watch(database, clock=clock, fail_closed_after_s=30.0)
    clock.now += 31
    assert watch.policy.grants == ()
    assert "has not been read for 31 s" in (watch.problem or "")


def test_a_change_that_could_not_be_applied_is_tried_again(
    database: Database, heard: Heard
) -> None:
    applied: list[int] = []
    faults = [RuntimeError("no")]

    def apply(policy: Policy) -> None:
        if faults:
            raise faults.pop()
        applied.append(policy.version)

    problem: list[str | None] = []
    report: Callable[[str | None], None] = problem.append
    watch = PolicyWatch(
        database, "one", on_change=apply, on_close_requests=heard.requests.put, on_problem=report
    )
    with change(database, "user.add") as c:
        people.add_user(c.transaction, "alice", frozenset(), None, 1.0)
    watch.poll()
    assert watch.policy.version == 1, "new logins are judged by the new policy all the same"
    watch.poll()
    assert applied == [1]
    assert problem == ["the policy could not be applied: RuntimeError: no", None]


def test_a_look_does_not_wait_for_the_next_poll(database: Database, heard: Heard) -> None:
    watch = heard.watch(database, poll_s=3600)
    watch.start()
    looked = threading.Event()
    try:
        with change(database, "grant.add") as c:
            grants.add_grant(c.transaction, GrantRule(0, "group:dev", "app01"), 1.0)
        watch.refresh(looked.set)
        assert looked.wait(30)
        assert len(watch.policy.grants) == 1
    finally:
        watch.stop()


def test_a_flood_of_refusals_is_no_flood_of_store_reads(
    database: Database, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand times as many ask as may look; each is answered nevertheless."""
    watch = heard.watch(database, poll_s=3600)
    reads, answers = [0], [0]
    poll = watch.poll

    def counted() -> None:
        reads[0] += 1
        poll()

    def answered() -> None:
        answers[0] += 1

    monkeypatch.setattr(watch, "poll", counted)
    watch.start()
    begun = time.monotonic()
    asked, done = 0, threading.Event()
    try:
        while time.monotonic() - begun < 0.5:
            watch.refresh(answered)
            asked += 1
        watch.refresh(done.set)
        assert done.wait(30)
    finally:
        watch.stop()
    took_s = time.monotonic() - begun
    assert answers[0] == asked
    assert asked > 1000
    assert reads[0] <= REFRESHES.burst + took_s / REFRESHES.interval_s + 2
