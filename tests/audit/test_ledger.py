import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from stagedoor.audit.ledger import AuditLedger
from stagedoor.audit.pending import MAX_BATCH, MAX_DENIALS, SOURCE_SHARE
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import EventKind
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    EndReason,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.store.sessions import list_sessions
from tests.audit.sample import READY, SOURCE, TARGET, Disk, enter, flushed, full

NO_GRANT = Denial(Reason.NO_GRANT, "no grant for 'alice' to enter app01")


async def test_a_session_is_durable_before_it_begins_and_closed_with_its_figures(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    (row,) = list_sessions(disk.database)
    assert (row.id, row.identity, row.target, row.source) == (
        opened.id,
        "alice",
        "app01.ssh",
        "10.0.0.1:40000",
    )
    ledger.close_session(
        opened, SessionResult(EndReason.IDLE, Counts(11, 22), "nothing for an hour")
    )
    await flushed(ledger)
    first, last = (entry.event for entry in disk.entries())
    assert (first.kind, first.instance) == (EventKind.SESSION_OPENED, "worker-1")
    assert first.fields == {
        "method": "token",
        "credential": "t1",
        "grant": 7,
        "grant_expires_at": 900.0,
        "shell": "127.0.0.1:2222",
    }
    assert (last.kind, last.session, last.reason) == (EventKind.SESSION_CLOSED, opened.id, "idle")
    assert (last.fields["sent"], last.fields["received"]) == (11, 22)
    assert last.fields["detail"] == "nothing for an hour"


async def test_logins_at_the_same_time_share_one_write(ledger: AuditLedger, disk: Disk) -> None:
    first_is_writing, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        first_is_writing.set()
        assert go_on.wait(20)

    disk.before = wait
    first = asyncio.create_task(enter(ledger))
    assert await asyncio.to_thread(first_is_writing.wait, 20)
    others = [asyncio.create_task(enter(ledger)) for _ in range(100)]
    await asyncio.sleep(0)
    disk.recover()
    go_on.set()
    entered = await asyncio.gather(first, *others)
    assert [len(batch) for batch in disk.batches] == [1, 100]
    assert len({opened.id for opened in entered}) == 101


async def test_a_crowd_is_written_in_batches(ledger: AuditLedger, disk: Disk) -> None:
    await asyncio.gather(*(enter(ledger) for _ in range(MAX_BATCH + 10)))
    assert max(len(batch) for batch in disk.batches) <= MAX_BATCH


async def test_while_the_disk_is_full_nobody_is_let_in_and_everybody_is_told_why(
    ledger: AuditLedger, disk: Disk
) -> None:
    disk.fail()
    for _ in range(3):
        denial = await ledger.open(READY, AccessMethod.CONNECT, SOURCE)
        assert isinstance(denial, Denial)
        assert denial.reason is Reason.AUDIT_UNAVAILABLE
        assert "cannot be written to the audit" in denial.message
        assert "disk full" in denial.message
        assert denial.retry_after_s
    assert ledger.problem is not None
    disk.recover()
    await flushed(ledger)
    assert ledger.problem is None
    await enter(ledger)
    assert len(list_sessions(disk.database)) == 1, "nobody who was refused is in the audit"


async def test_sessions_that_end_while_the_disk_is_full_are_closed_in_order_later(
    ledger: AuditLedger, disk: Disk
) -> None:
    sessions = [await enter(ledger) for _ in range(5)]
    disk.fail()
    for opened in sessions[:3]:
        ledger.close_session(opened, SessionResult(EndReason.CLOSED))
    assert not await asyncio.to_thread(ledger.flush, 0.1)
    for opened in sessions[3:]:
        ledger.close_session(opened, SessionResult(EndReason.EVICTED))
    disk.recover()
    await flushed(ledger)
    closes = disk.events(EventKind.SESSION_CLOSED)
    assert [event.session for event in closes] == [opened.id for opened in sessions]


async def test_one_failure_does_not_turn_the_order_round(ledger: AuditLedger, disk: Disk) -> None:
    sessions = [await enter(ledger) for _ in range(5)]

    def fail_once() -> None:
        disk.recover()
        full()

    disk.before = fail_once
    for opened in sessions:
        ledger.close_session(opened, SessionResult(EndReason.CLOSED))
    await flushed(ledger)
    closes = disk.events(EventKind.SESSION_CLOSED)
    assert [event.session for event in closes] == [opened.id for opened in sessions]


async def test_a_problem_is_told_when_it_begins_and_when_it_ends(disk: Disk) -> None:
    problems: list[str | None] = []
    ledger = AuditLedger(disk, "w", retry_s=(0.01, 0.01), on_problem=problems.append)
    ledger.start()
    disk.fail()
    assert isinstance(await ledger.open(READY, AccessMethod.CONNECT, SOURCE), Denial)
    disk.recover()
    await flushed(ledger)
    assert await asyncio.to_thread(ledger.stop, 20) == 0
    assert problems == ["the store /x: disk full; free space on that file system", None]


async def test_a_commit_that_fails_after_it_was_written_leaves_no_open_session(
    ledger: AuditLedger, disk: Disk
) -> None:
    disk.after = full
    assert isinstance(await ledger.open(READY, AccessMethod.CONNECT, SOURCE), Denial)
    disk.after = lambda: None
    await flushed(ledger)
    assert list_sessions(disk.database) == []
    (event,) = disk.events(EventKind.SESSION_CLOSED)
    assert event.reason == "unreached"


async def test_a_disk_that_hangs_is_waited_for_with_a_bound(disk: Disk) -> None:
    ledger = AuditLedger(disk, "w", open_timeout_s=0.05)
    ledger.start()
    answer = threading.Event()
    disk.before = lambda: assert_true(answer.wait(20))
    writing = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
    for denial in await asyncio.gather(writing, waiting):
        assert isinstance(denial, Denial)
        assert "did not answer within 0.05 s" in denial.message
    disk.recover()
    answer.set()
    await flushed(ledger)
    # Whichever of them the writer had taken was written after all, and is closed.
    assert list_sessions(disk.database) == []
    assert {e.reason for e in disk.events(EventKind.SESSION_CLOSED)} <= {"unreached"}
    await asyncio.to_thread(ledger.stop, 20)


def assert_true(value: bool) -> None:
    assert value


async def test_a_developer_who_hangs_up_while_the_disk_writes_leaves_no_open_session(
    ledger: AuditLedger, disk: Disk
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        writing.set()
        assert go_on.wait(20)

    disk.before = wait
    first = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
    assert await asyncio.to_thread(writing.wait, 20)
    second = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert second.cancelled()
    disk.recover()
    go_on.set()
    await flushed(ledger)
    assert len(disk.events(EventKind.SESSION_OPENED)) == 1, "the second was never written"
    (event,) = disk.events(EventKind.SESSION_CLOSED)
    assert (event.reason, event.fields["detail"]) == (
        "unreached",
        "the developer's side hung up",
    )


async def test_hanging_up_at_any_moment_leaves_no_open_session(
    ledger: AuditLedger, disk: Disk
) -> None:
    async def impatient(turns: int) -> None:
        task = asyncio.create_task(ledger.open(READY, AccessMethod.CONNECT, SOURCE))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        try:
            opened = await task
        except asyncio.CancelledError:
            return
        assert isinstance(opened, OpenedSession)
        ledger.close_session(opened, SessionResult(EndReason.CLOSED))

    await asyncio.gather(*(impatient(n % 20) for n in range(200)))
    await flushed(ledger)
    assert list_sessions(disk.database) == []


async def test_a_flood_of_wrong_guesses_fills_neither_disk_nor_memory(
    ledger: AuditLedger, disk: Disk
) -> None:
    missing = Denial(Reason.CREDENTIAL_MISSING, "say who you are")
    for _ in range(5000):
        ledger.record_denial(missing, AccessMethod.CONNECT, SOURCE)
        ledger.record_denial(
            NO_GRANT, AccessMethod.CONNECT, SOURCE, identity="alice", target=TARGET
        )
    await flushed(ledger)
    events = disk.events(EventKind.SESSION_DENIED)
    assert len(events) == SOURCE_SHARE + 2
    assert sum(int(event.fields.get("count", 1) or 0) for event in events) == 10_000


async def test_denials_are_dropped_for_sums_while_the_disk_is_full(
    ledger: AuditLedger, disk: Disk
) -> None:
    disk.fail()
    for number in range(MAX_DENIALS + 500):
        source = Source(ip_address(number), 1)
        ledger.record_denial(
            NO_GRANT, AccessMethod.CONNECT, source, identity="alice", target=TARGET
        )
    disk.recover()
    await flushed(ledger)
    events = disk.events(EventKind.SESSION_DENIED)
    assert len(events) < MAX_DENIALS + 500
    counts = [int(event.fields.get("count", 1) or 0) for event in events]
    assert sum(counts) == MAX_DENIALS + 500


async def test_a_single_denial_says_who_was_refused_what(ledger: AuditLedger, disk: Disk) -> None:
    ledger.record_denial(NO_GRANT, AccessMethod.CONNECT, SOURCE, identity="alice", target=TARGET)
    await flushed(ledger)
    (event,) = disk.events(EventKind.SESSION_DENIED)
    assert (event.identity, event.target, event.source, event.reason, event.session) == (
        "alice",
        "app01.ssh",
        "10.0.0.1:40000",
        "no_grant",
        None,
    )
    assert event.fields == {"message": NO_GRANT.message}


async def test_text_that_no_database_takes_cannot_stop_the_audit(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    ledger.close_session(
        opened, SessionResult(EndReason.CLOSED, detail="\ud800\x1b[2J\n" + "x" * 10_000)
    )
    ledger.record_denial(
        Denial(Reason.NO_GRANT, "\udfff"), AccessMethod.CONNECT, SOURCE, identity="\ud800"
    )
    await flushed(ledger)
    detail = disk.events(EventKind.SESSION_CLOSED)[0].fields["detail"]
    assert isinstance(detail, str)
    assert detail.isprintable()
    assert len(detail) <= 500


async def test_a_fault_in_the_journal_is_no_end_of_the_audit(
    ledger: AuditLedger, disk: Disk
) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    disk.before = bug
    denial = await ledger.open(READY, AccessMethod.CONNECT, SOURCE)
    assert isinstance(denial, Denial)
    disk.recover()
    await flushed(ledger)
    await enter(ledger)


async def test_a_stopped_ledger_lets_nobody_in_and_says_what_it_could_not_write(
    disk: Disk,
) -> None:
    ledger = AuditLedger(disk, "w", retry_s=(0.01, 0.01))
    ledger.start()
    opened = await enter(ledger)
    disk.fail()
    ledger.close_session(opened, SessionResult(EndReason.CLOSED))
    assert await asyncio.to_thread(ledger.stop, 0.1) == 1
    assert isinstance(await ledger.open(READY, AccessMethod.CONNECT, SOURCE), Denial)
    # The next start finds it: the session is still open in the store.
    assert [row.id for row in list_sessions(disk.database)] == [opened.id]


def test_sessions_of_an_event_loop_that_is_gone_are_closed(ledger: AuditLedger, disk: Disk) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        writing.set()
        assert go_on.wait(20)

    disk.before = wait
    loop = asyncio.new_event_loop()
    login = ledger.open(READY, AccessMethod.CONNECT, SOURCE)

    async def begin() -> None:
        asyncio.ensure_future(login).add_done_callback(lambda task: None)
        await asyncio.to_thread(writing.wait, 20)

    loop.run_until_complete(begin())
    (task,) = asyncio.all_tasks(loop)
    loop.close()
    disk.recover()
    go_on.set()
    assert ledger.flush(20)
    assert list_sessions(disk.database) == []
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # left behind on purpose


async def test_nobody_is_let_in_while_it_is_held(ledger: AuditLedger) -> None:
    ledger.refuse_logins("a sink is late")
    denied = await ledger.open(READY, AccessMethod.CONNECT, SOURCE)
    assert isinstance(denied, Denial)
    assert (denied.reason, "a sink is late" in denied.message) == (Reason.AUDIT_UNAVAILABLE, True)
    ledger.refuse_logins(None)
    await enter(ledger)


@pytest.mark.continuity(19)
async def test_a_session_goes_on_with_where_its_client_is_and_how_long_it_was_away(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    elsewhere = Source(ip_address("192.0.2.7"), 50000)
    again = await ledger.open(
        READY, AccessMethod.CONNECT, elsewhere, ResumedSession(opened.id, Counts(3, 4), 12.3456)
    )
    assert isinstance(again, OpenedSession)
    assert (again.id, again.at, again.source) == (opened.id, opened.at, elsewhere)
    (row,) = list_sessions(disk.database)
    assert (row.id, row.source) == (opened.id, "192.0.2.7:50000")
    (event,) = disk.events(EventKind.SESSION_RESUMED)
    assert event.source == "192.0.2.7:50000"
    assert event.fields == {
        "method": "token",
        "credential": "t1",
        "grant": 7,
        "grant_expires_at": 900.0,
        "away_s": 12.346,
    }


@pytest.mark.continuity(9)
async def test_a_session_of_another_user_or_shell_is_not_resumed_whatever_its_keeper_says(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    grant = READY.grant
    for other in (
        replace(grant, identity=replace(grant.identity, name="bob")),
        replace(grant, target=Target("app02")),
    ):
        denial = await ledger.open(
            ReadyShell(other, READY.shell), AccessMethod.CONNECT, SOURCE, ResumedSession(opened.id)
        )
        assert isinstance(denial, Denial)
        assert denial.reason is Reason.SESSION_OVER
    assert isinstance(
        await ledger.open(READY, AccessMethod.CONNECT, SOURCE, ResumedSession("f" * 26)), Denial
    )
    assert isinstance(
        await ledger.open(READY, AccessMethod.WEB, SOURCE, ResumedSession(opened.id)), Denial
    )
    assert disk.events(EventKind.SESSION_RESUMED) == []


async def test_a_return_that_cannot_be_written_leaves_the_session_open(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    disk.fail()
    denial = await ledger.open(READY, AccessMethod.CONNECT, SOURCE, ResumedSession(opened.id))
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.AUDIT_UNAVAILABLE
    disk.recover()
    await flushed(ledger)
    assert [row.id for row in list_sessions(disk.database)] == [opened.id]


ELSEWHERE = Source(ip_address("192.0.2.7"), 50000)
FAILED = "the tunnel's endpoint could not be reached"


@pytest.fixture
def other(disk: Disk) -> Iterator[AuditLedger]:
    """Yield the ledger of another process with the same store."""
    made = AuditLedger(disk, "worker-2", retry_s=(0.01, 0.02), group_commit_s=0.01)
    made.start()
    yield made
    disk.recover()
    made.stop(20)


async def resume(ledger: AuditLedger, opened: OpenedSession, source: Source) -> OpenedSession:
    again = await ledger.open(
        READY, AccessMethod.CONNECT, source, ResumedSession(opened.id, Counts(3, 4), 1.0)
    )
    assert isinstance(again, OpenedSession), again
    return again


async def check_real_end(ledger: AuditLedger, opened: OpenedSession, disk: Disk) -> None:
    """Check that the end that the first process reports is the one in the audit."""
    (row,) = list_sessions(disk.database)
    assert (row.instance, row.source) == ("worker-1", str(SOURCE))
    ledger.close_session(opened, SessionResult(EndReason.CLOSED, Counts(70, 80)))
    await flushed(ledger)
    (row,) = list_sessions(disk.database, open_only=False)
    assert (row.instance, row.end, row.sent, row.received) == ("worker-1", "closed", 70, 80)
    (event,) = disk.events(EventKind.SESSION_CLOSED)
    assert (event.instance, event.fields["sent"], event.fields["received"]) == ("worker-1", 70, 80)


@pytest.mark.continuity(19)
async def test_a_login_that_fails_to_resume_a_session_leaves_it_to_its_process(
    ledger: AuditLedger, other: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    again = await resume(other, opened, ELSEWHERE)
    other.return_session(again, FAILED)
    await flushed(other)
    (event,) = disk.events(EventKind.SESSION_FOUND)
    assert (event.instance, event.source) == ("worker-2", str(ELSEWHERE))
    assert event.fields["holder"] == "worker-1"
    assert event.fields["detail"] == FAILED
    await check_real_end(ledger, opened, disk)


async def test_a_failed_resume_in_the_same_process_leaves_the_session_as_it_was(
    ledger: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    again = await resume(ledger, opened, ELSEWHERE)
    ledger.return_session(again, FAILED)
    await flushed(ledger)
    await check_real_end(ledger, opened, disk)


@pytest.mark.parametrize("is_late", [False, True], ids=["cancelled", "late"])
async def test_a_resume_that_is_abandoned_while_the_disk_writes_leaves_the_session_to_its_process(
    ledger: AuditLedger, disk: Disk, is_late: bool
) -> None:
    opened = await enter(ledger)
    writing, go_on = threading.Event(), threading.Event()
    other = AuditLedger(disk, "worker-2", open_timeout_s=0.05 if is_late else 20)
    other.start()

    def wait() -> None:
        if threading.current_thread().name == "audit-writer":
            writing.set()
            assert go_on.wait(20)

    disk.before = wait
    resuming = asyncio.create_task(resume(other, opened, ELSEWHERE))
    assert await asyncio.to_thread(writing.wait, 20)
    if not is_late:
        resuming.cancel()
    with pytest.raises(AssertionError if is_late else asyncio.CancelledError):
        await resuming
    disk.recover()
    go_on.set()
    await flushed(other)
    assert len(disk.events(EventKind.SESSION_RESUMED)) == 1
    await check_real_end(ledger, opened, disk)
    await asyncio.to_thread(other.stop, 20)


async def test_a_session_that_went_elsewhere_is_not_returned(
    ledger: AuditLedger, other: AuditLedger, disk: Disk
) -> None:
    """A connection that fails late must not take the session from the one after it."""
    opened = await enter(ledger)
    failed = await resume(other, opened, ELSEWHERE)
    for process, port in ((ledger, 50001), (other, 50002)):
        await resume(process, opened, Source(ELSEWHERE.address, port))
        other.return_session(failed, FAILED)
        await flushed(other)
        (row,) = list_sessions(disk.database)
        assert row.source == f"192.0.2.7:{port}"
    assert disk.events(EventKind.SESSION_FOUND) == []


async def test_a_session_that_was_closed_with_its_process_is_closed_after_a_failed_resume(
    ledger: AuditLedger, other: AuditLedger, disk: Disk
) -> None:
    opened = await enter(ledger)
    ledger.close_session(opened, SessionResult(EndReason.DRAINED, Counts(70, 80)))
    await flushed(ledger)
    again = await resume(other, opened, ELSEWHERE)
    assert len(list_sessions(disk.database)) == 1
    other.return_session(again, FAILED)
    await flushed(other)
    (row,) = list_sessions(disk.database, open_only=False)
    assert (row.instance, row.end, row.sent, row.received) == ("worker-1", "drained", 70, 80)
    assert row.closed_at is not None
