"""The counts of workers, how the supervisor adds it up, and that every label is bounded."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from stagedoor.listeners.web.terminal.presence import count_holders
from stagedoor.listeners.web.terminal.session import TerminalAddress
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StoreError
from stagedoor.model.event import EventKind
from stagedoor.model.metric import OTHER, Metric, MetricKind, Series
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    EndReason,
    OpenedSession,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import ProgressStep, Shell
from stagedoor.model.target import Target
from stagedoor.serve.metrics import definitions as metrics
from stagedoor.serve.metrics.measured import (
    MetricsLedger,
    MetricsShells,
    make_store_timer,
    measure_note,
    measure_steps,
)
from stagedoor.serve.metrics.tally import MetricCounts, MetricTotals, list_messages
from stagedoor.serve.supervisor.control import MetricsMessage, encode_line, read_from_worker
from stagedoor.session.registry import Registry
from stagedoor.shells.kubernetes.live import diagnose
from stagedoor.store.database import open_database
from stagedoor.wire.http.openmetrics import format_metrics
from tests.audit.sample import READY, SOURCE

PIPE_BUF = 4096


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


class Book:
    """A ledger that opens every session, by the number of those before it."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self, *about: Any) -> Any:
        self.opened += 1
        name = f"s{self.opened}" if about[3] is None else about[3].id
        before = Counts() if about[3] is None else about[3].counts
        return OpenedSession(name, 0.0, about[1], about[2], about[0], before)

    def close_session(self, *about: Any) -> None: ...

    def release(self, *about: Any) -> None: ...

    def record_denial(self, *about: Any, **more: Any) -> None: ...


def test_every_metric_is_named_as_openmetrics_wants_it() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    for metric in metrics.METRICS:
        assert re.fullmatch(r"stagedoor_[a-z_]+[a-z]", metric.name)
        assert not metric.name.endswith(("_total", "_bucket", "_count", "_sum"))
        assert not metric.unit or metric.name.endswith(f"_{metric.unit}")
        assert metric.help.endswith(".")
        assert (metric.kind is MetricKind.HISTOGRAM) == bool(metric.buckets)
        assert list(metric.buckets) == sorted(metric.buckets)
        assert not {"user", "app", "source"} & set(metric.labels)


def test_only_what_the_program_or_its_settings_name_has_labels_of_any_value() -> None:
    sinks = ["stagedoor_audit_sink_failing", "stagedoor_audit_sink_backlog_events"]
    assert [m.name for m in metrics.METRICS if not all(m.labels.values())] == [
        "stagedoor_build_info",
        *sinks,
    ]


def test_the_whole_page_stays_small_however_many_people_there_are() -> None:
    assert len(format_metrics(metrics.METRICS, {}).splitlines()) < 600


def test_the_steps_of_a_start_are_those_that_shells_have() -> None:
    names = (
        *(diagnose.WAITING, diagnose.CREATING, diagnose.ENDING, diagnose.SCHEDULING),
        *(diagnose.PULLING, diagnose.MOUNTING, diagnose.STARTING, diagnose.SSHD),
    )
    assert set(names) <= set(metrics.STEPS)


def test_a_terminal_has_one_holder_however_many_are_at_it() -> None:
    class Visit(NamedTuple):
        terminal: TerminalAddress | None

        def present(self, present: object) -> None: ...

    targets = ["app01.ssh", "app01.ssh", "app02.ssh"]
    visits = [Visit(None), *(Visit(TerminalAddress(target, "main")) for target in targets)]
    assert (count_holders([]), count_holders(visits)) == (0, 2)


def test_a_line_is_shorter_than_what_a_pipe_takes_at_once() -> None:
    longest = [
        max(
            metric.label_values or [("x" * 40,) * len(metric.labels)], key=lambda v: len("".join(v))
        )
        for metric in metrics.METRICS
    ]
    series = {
        metric.make_series(*values, part="+Inf"): 1234567.123456789
        for metric, values in zip(metrics.METRICS, longest, strict=True)
    }
    for message in list_messages(series, series):
        assert len(encode_line(message)) < PIPE_BUF


@given(st.lists(st.tuples(st.sampled_from(AccessMethod), st.sampled_from(Reason))), st.booleans())
def test_nothing_is_lost_on_the_way_to_the_supervisor(
    denied: list[tuple[AccessMethod, Reason]], hung: bool
) -> None:
    tally, totals = MetricCounts(), MetricTotals()
    for number, (access_method, reason) in enumerate(denied):
        tally.add(metrics.DENIALS, access_method, reason)
        for message in list_messages(tally.take(), {}):
            if hung and number % 2:
                tally.put_back(message.added)
                continue
            read = read_from_worker(encode_line(message))
            assert isinstance(read, MetricsMessage)
            totals.add(str(number % 3), read)
    for message in list_messages(tally.take(), {}):
        totals.add("0", message)
    assert sum(totals.combine().values()) == len(denied)


def test_a_worker_that_has_gone_keeps_its_counts_and_loses_its_gauges() -> None:
    totals = MetricTotals()
    for worker in ("1", "2"):
        totals.add(worker, MetricsMessage(((metrics.LOGINS.make_series("web", "opened"), 2.0),)))
        totals.add(
            worker,
            MetricsMessage(
                now=(
                    (metrics.SESSIONS.make_series("web"), 3.0),
                    (metrics.POLICY_AGE.make_series(), float(worker)),
                )
            ),
        )
    assert totals.combine()[metrics.SESSIONS.make_series("web")] == 6
    assert totals.combine()[metrics.POLICY_AGE.make_series()] == 2, "the oldest counts"
    totals.forget("2")
    assert totals.combine()[metrics.SESSIONS.make_series("web")] == 3
    assert totals.combine()[metrics.LOGINS.make_series("web", "opened")] == 4


async def test_bytes_of_a_live_session_are_counted_once() -> None:
    tally, clock = MetricCounts(), Clock()
    registry = Registry(lambda grant: grant, clock)
    ledger = MetricsLedger(Book(), tally, registry.take_new_bytes, now=clock)
    opened: Any = await ledger.open(READY, AccessMethod.JUMP, SOURCE)
    registry.register(opened)
    assert ledger.count_sessions()[AccessMethod.JUMP] == 1
    ledger.count_moved([(opened.id, Counts(10, 20)), ("somebody else's", Counts(5, 5))])
    ledger.count_moved([(opened.id, Counts(15, 20))])
    clock.at = 30.0
    ledger.close_session(opened, SessionResult(EndReason.CLOSED, Counts(17, 21)))
    ledger.count_moved([(opened.id, Counts(17, 21))])
    counted = tally.take()
    assert counted[metrics.BYTES.make_series("sent")] == 17
    assert counted[metrics.BYTES.make_series("received")] == 21
    assert counted[metrics.ENDS.make_series("jump", "closed")] == 1
    assert counted[metrics.LENGTH.make_series("jump", part="60.0")] == 1
    assert not any(ledger.count_sessions().values())


@pytest.mark.continuity(19)
async def test_a_session_over_many_connections_is_counted_once() -> None:
    tally = MetricCounts()
    here, there = (Registry(lambda grant: grant, float) for _ in range(2))
    one = MetricsLedger(Book(), tally, here.take_new_bytes)
    other = MetricsLedger(Book(), tally, there.take_new_bytes)
    first: Any = await one.open(READY, AccessMethod.CONNECT, SOURCE)
    here.register(first)
    one.count_moved([(first.id, Counts(10, 20))])
    earlier = ResumedSession(first.id, Counts(15, 20))
    again: Any = await one.open(READY, AccessMethod.CONNECT, SOURCE, earlier)
    here.register(again)
    one.release(first, Counts(15, 20))
    assert one.count_sessions()[AccessMethod.CONNECT] == 1
    elsewhere: Any = await other.open(READY, AccessMethod.CONNECT, SOURCE, earlier)
    there.register(elsewhere)
    one.release(again, Counts(15, 20))
    assert (
        one.count_sessions()[AccessMethod.CONNECT],
        other.count_sessions()[AccessMethod.CONNECT],
    ) == (0, 1)
    other.close_session(elsewhere, SessionResult(EndReason.CLOSED, Counts(16, 22)))
    assert not any(other.count_sessions().values())
    counted = tally.take()
    assert counted[metrics.LOGINS.make_series("connect", "opened")] == 1
    assert counted[metrics.RESUMES.make_series()] == 2
    assert counted[metrics.ENDS.make_series("connect", "closed")] == 1
    assert counted[metrics.BYTES.make_series("sent")] == 16
    assert counted[metrics.BYTES.make_series("received")] == 22


async def test_a_denial_is_counted_by_its_reason() -> None:
    tally = MetricCounts()
    ledger = MetricsLedger(Book(), tally, lambda _, now: now)
    ledger.record_denial(Denial(Reason.NO_GRANT, "no"), AccessMethod.WEB, SOURCE)
    assert tally.take() == {
        metrics.LOGINS.make_series("web", "denied"): 1,
        metrics.DENIALS.make_series("web", "no_grant"): 1,
    }


class Starting:
    """Shells of which each start takes these steps, a second each."""

    def __init__(self, clock: Clock, steps: list[str], outcome: Any) -> None:
        self.clock, self.steps, self.outcome = clock, steps, outcome

    def __getattr__(self, name: str) -> Any:
        return None

    async def ensure(self, grant: Any, progress: Any) -> Any:
        for step in self.steps:
            progress(ProgressStep(step))
            self.clock.at += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Shell(Target("app01"), "127.0.0.1", 22), "ready"),
        (Denial(Reason.SHELL_UNAVAILABLE, "no"), "denied"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_a_start_is_measured_by_its_steps(outcome: Any, result: str) -> None:
    clock, tally, reports = Clock(), MetricCounts(), []
    steps = ["pulling image", "pulling image", "a step of somebody's own"]
    shells: Any = MetricsShells(Starting(clock, steps, outcome), tally, clock)  # type: ignore[arg-type]
    try:
        await shells.ensure(None, reports.append)
    except asyncio.CancelledError:
        assert result == "cancelled"
    assert [step.name for step in reports] == steps
    counted = tally.take()
    assert counted[metrics.STARTED.make_series(result)] == 1
    assert counted[metrics.START_STEP.make_series("pulling image", part="2.5")] == 1
    assert counted[metrics.START_STEP.make_series(OTHER, part="1.0")] == 1


async def test_a_shell_that_runs_is_no_start() -> None:
    clock, tally = Clock(), MetricCounts()
    shells: Any = MetricsShells(Starting(clock, [], None), tally, clock)  # type: ignore[arg-type]
    await shells.ensure(None, print)
    assert not tally.take()


def test_a_recording_s_end_is_counted_and_noted() -> None:
    tally, noted = MetricCounts(), []
    note = measure_note(lambda *about: noted.append(about[1]), tally)
    opened: Any = None
    for kind in (EventKind.RECORDING_ENDED, EventKind.RECORDING_FAILED, EventKind.CHANNEL_OPENED):
        note(opened, kind, {})
    assert len(noted) == 3
    assert tally.take() == {
        metrics.RECORDED.make_series("complete"): 1,
        metrics.RECORDED.make_series("failed"): 1,
    }


def test_only_what_the_store_could_not_do_is_a_failure_of_the_store(tmp_path: Path) -> None:
    tally = MetricCounts()
    database = open_database(tmp_path / "store.db")
    database.on_transaction = make_store_timer(tally)
    with suppress(KeyError), database.read():
        raise KeyError("a user that is not there")
    with suppress(StoreError), database.read() as transaction:
        transaction.execute(text("select * from nothing"))
    database.close()
    counted = tally.take()
    assert counted[metrics.STORE_FAILURES.make_series("read")] == 1
    assert sum(counted[metrics.STORE_TIME.make_series("read", part=p)] for p in parts(counted)) == 2


def parts(counted: dict[Series, float]) -> set[str]:
    return {p for name, _, p in counted if name == metrics.STORE_TIME.name and p != "sum"}


def test_durations_are_from_step_to_step() -> None:
    assert measure_steps([("a", 1.0), ("b", 4.0)], 4.5) == [("a", 3.0), ("b", 0.5)]
    assert measure_steps([], 1.0) == []


def test_a_bucket_holds_its_bound() -> None:
    metric = Metric("x", MetricKind.HISTOGRAM, "X.", buckets=(1.0, 2.0))
    assert [metric.choose_bucket(value) for value in (1.0, 1.1, 2.1)] == ["1.0", "2.0", "+Inf"]
