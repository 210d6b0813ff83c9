"""Elections of the leader: the decisions, by table and by simulation of everything that may go wrong."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.kube.lease import (
    Candidate,
    Create,
    ReadLease,
    Record,
    Timing,
    Wait,
    Write,
    make_held_spec,
    make_resigned_spec,
    read,
)

OTHERS = Record("1", "other", 12.0, "t0", 0)


def wait_s(step: object) -> float:
    assert isinstance(step, Wait)
    return step.for_s


def test_nobody_is_there_so_the_lease_is_made() -> None:
    me = Candidate("me")
    assert me.choose_step(0.0) == ReadLease()
    me.note_read(0.1, None)
    assert me.choose_step(0.1) == Create()
    me.note_write(0.1, 0.3, Record("1", "me", 12, "t0", 0))
    assert me.is_leader(0.3)
    assert me.ends_at == pytest.approx(7.1)
    assert wait_s(me.choose_step(0.3)) == pytest.approx(1.8)
    assert isinstance(me.choose_step(2.1), Write)


def test_anothers_lease_is_watched_and_taken_at_the_moment_when_it_runs_out() -> None:
    me = Candidate("me")
    me.note_read(100.0, OTHERS)
    assert me.choose_step(100.0) == Wait(2.0)
    for now in (102.0, 104.0, 106.0, 108.0, 110.0):
        assert me.choose_step(now) == ReadLease()
        me.note_read(now, OTHERS)
    assert me.choose_step(111.0) == Wait(1.0)
    assert me.choose_step(112.0) == Write(OTHERS, taking=True)


def test_a_renewal_is_seen_and_the_clock_begins_anew() -> None:
    me = Candidate("me")
    me.note_read(100.0, OTHERS)
    renewed = Record("2", "other", 12.0, "t1", 0)
    me.note_read(110.0, renewed)
    assert me.choose_step(112.0) == ReadLease()
    me.note_read(112.0, renewed)
    me.note_read(120.5, renewed)
    assert me.choose_step(122.0) == Write(renewed, taking=True)


def test_a_write_that_is_no_renewal_prolongs_nothing() -> None:
    me = Candidate("me")
    me.note_read(100.0, OTHERS)
    annotated = Record("7", "other", 12.0, "t0", 0)
    me.note_read(111.0, annotated)
    assert me.choose_step(112.0) == Write(annotated, taking=True)


def test_what_was_given_back_is_taken_at_once() -> None:
    me = Candidate("me")
    free = Record("2", "", 1.0, "t1", 4)
    me.note_read(100.0, free)
    assert me.choose_step(100.0) == Write(free, taking=True)
    spec = make_held_spec(me, free, "now", taking=True)
    assert spec["leaseTransitions"] == 5
    assert spec["acquireTime"] == "now"


def test_a_leader_that_cannot_renew_tries_again_and_then_ceases() -> None:
    me = Candidate("me")
    me.note_write(0.0, 0.1, Record("1", "me", 12, "t0", 0))
    me.note_failure(5.5, overtaken=False)
    assert me.is_leader(5.5)
    assert me.choose_step(5.5) == Wait(0.5)
    assert me.choose_step(6.0) == ReadLease()
    assert me.is_leader(6.9)
    assert not me.is_leader(7.0)
    assert me.choose_step(7.0) == ReadLease()


def test_a_leader_whose_lease_was_taken_or_deleted_leads_no_more() -> None:
    for found in (OTHERS, None):
        me = Candidate("me")
        me.note_write(0.0, 0.1, Record("1", "me", 12, "t0", 0))
        me.note_failure(2.1, overtaken=True)
        assert me.is_leader(2.1)
        assert me.choose_step(2.1) == ReadLease()
        me.note_read(2.2, found)
        assert not me.is_leader(2.2)


def test_a_leader_stays_when_only_an_annotation_was_written() -> None:
    me = Candidate("me")
    mine = Record("1", "me", 12, "t0", 0)
    me.note_write(0.0, 0.1, mine)
    me.note_failure(2.1, overtaken=True)
    me.note_read(2.2, Record("9", "me", 12, "t0", 0))
    step = me.choose_step(2.2)
    assert isinstance(step, Write)
    assert (step.replaces.version, step.taking) == ("9", False)


def test_two_that_overtake_each_other_do_not_race_in_a_circle() -> None:
    me = Candidate("me")
    me.note_failure(1.0, overtaken=True)
    assert me.choose_step(1.0) == ReadLease()
    me.note_failure(1.1, overtaken=True)
    assert wait_s(me.choose_step(1.1)) == pytest.approx(2.0)


def test_who_resigns_gives_back_only_what_is_his() -> None:
    me = Candidate("me")
    assert me.resign() is None
    mine = Record("1", "me", 12, "t0", 0)
    me.note_write(0.0, 0.1, mine)
    assert me.resign() == mine
    assert not me.is_leader(0.2)
    assert me.resign() is None
    assert make_resigned_spec("now")["holderIdentity"] == ""


def test_a_lease_that_somebody_else_has_made_counts_as_nobodys() -> None:
    record = read({"metadata": {"resourceVersion": "3"}, "spec": {"leaseDurationSeconds": "12"}})
    assert (record.holder, record.lease_s) == ("", 0.0)
    assert read({"metadata": {"resourceVersion": "3"}}).holder == ""


def test_figures_by_which_two_could_lead_are_refused() -> None:
    for wrong in ((8, 8.0, 2.0), (12, 8.0, 4.0), (12, 8.0, 0.0)):
        with pytest.raises(ValueError, match="an election needs"):
            Timing(*wrong)


@dataclass
class Store:
    """The API's side: one Lease, whose writes must name its version."""

    record: Record | None = None
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def write(self, over: Record | None, spec: dict[str, object]) -> Record | None:
        """Return what it is now; None if another candidate has written in between."""
        if (self.record and self.record.version) != (over and over.version):
            return None
        number = next(self.numbers)
        self.record = Record(
            str(number),
            str(spec["holderIdentity"]),
            float(spec["leaseDurationSeconds"]),
            f"t{number}",
            0,
        )
        return self.record


class SimulatedElection:
    """Candidates with clocks of their own, over a network that loses and delays. Time is true time."""

    def __init__(self, chance: random.Random, count: int, *, loss: float, delay_s: float) -> None:
        self.chance = chance
        self.loss = loss
        self.delay_s = delay_s
        self.store = Store()
        self.now = 0.0
        self.candidates = [Candidate(f"c{n}") for n in range(count)]
        # Monotonic clocks begin anywhere, and differ by a thousandth at most in their pace.
        self.clocks = [(chance.uniform(0, 1e6), chance.uniform(0.999, 1.001)) for _ in range(count)]
        self.dead: set[int] = set()
        self.order = itertools.count()
        self.due: list[tuple[float, int, int, object]] = []
        self.terms: list[tuple[float, int]] = []
        for n in range(count):
            self.wake(n, chance.uniform(0, 5))

    def clock(self, n: int) -> float:
        begins_at, pace = self.clocks[n]
        return begins_at + self.now * pace

    def wake(self, n: int, in_s: float, what: object = None) -> None:
        heapq.heappush(self.due, (self.now + in_s, next(self.order), n, what))

    def leaders(self) -> list[int]:
        return [
            n
            for n, candidate in enumerate(self.candidates)
            if n not in self.dead and candidate.is_leader(self.clock(n))
        ]

    def run(self, until: float) -> None:
        while self.due and self.due[0][0] <= until:
            self.now, _, n, what = heapq.heappop(self.due)
            if n in self.dead:
                continue
            before = self.leaders()
            if callable(what):
                what()
            else:
                self.act(n)
            after = self.leaders()
            assert len(after) <= 1, f"{after} lead at once at {self.now}"
            if after and after != before:
                self.terms.append((self.now, after[0]))
        self.now = until

    def act(self, n: int) -> None:
        me = self.candidates[n]
        step = me.choose_step(self.clock(n))
        if isinstance(step, Wait):
            # A process is late at times, or stopped for a while.
            late = self.chance.random() ** 8 * self.delay_s * 5
            self.wake(n, step.for_s + 0.001 + late)
            return
        sent_at = self.clock(n)
        there, back = (self.chance.random() ** 3 * self.delay_s for _ in range(2))
        lost = self.chance.random() < self.loss

        def arrives() -> None:
            answer: Callable[[], None]
            if isinstance(step, ReadLease):
                record = self.store.record
                answer = lambda: me.note_read(self.clock(n), record)  # noqa: E731
            else:
                over = step.replaces if isinstance(step, Write) else None
                done = self.store.write(
                    over, dict(make_held_spec(me, over, "", taking=over is None))
                )
                if done is None:
                    answer = lambda: me.note_failure(self.clock(n), overtaken=True)  # noqa: E731
                else:
                    answer = lambda: me.note_write(sent_at, self.clock(n), done)  # noqa: E731
            if lost or there + back > 3.5:
                answer = lambda: me.note_failure(self.clock(n), overtaken=False)  # noqa: E731

            def comes_back() -> None:
                answer()
                self.wake(n, 0)

            self.wake(n, back, comes_back)

        self.wake(n, there, arrives)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 5),
    loss=st.sampled_from([0.0, 0.1, 0.5]),
    delay_s=st.sampled_from([0.05, 1.0, 4.0, 20.0]),
)
def test_never_do_two_lead_at_once(seed: int, count: int, loss: float, delay_s: float) -> None:
    election = SimulatedElection(random.Random(seed), count, loss=loss, delay_s=delay_s)
    election.run(300.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 4))
def test_when_the_leader_is_killed_another_leads_within_15_seconds(seed: int, count: int) -> None:
    election = SimulatedElection(random.Random(seed), count, loss=0.0, delay_s=0.25)
    election.run(20.0 + random.Random(seed).uniform(0, 10))
    [leader] = election.leaders()
    election.dead.add(leader)
    killed_at = election.now
    election.run(killed_at + 15.0)
    assert election.leaders()
    when, who = election.terms[-1]
    assert who != leader
    assert when - killed_at <= 15.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_leader_that_is_well_stays(seed: int) -> None:
    election = SimulatedElection(random.Random(seed), 3, loss=0.0, delay_s=0.25)
    election.run(20.0)
    leader = election.leaders()
    assert len(leader) == 1
    terms = len(election.terms)
    election.run(300.0)
    assert election.leaders() == leader
    assert len(election.terms) == terms
