import re
import threading
import time

import click
import pytest

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.store.journal import StoreJournal
from stagedoor.store.liveness.instances import InstanceLock, find_instances_folder, hold_instance
from stagedoor.store.sessions import Live, close_requests, update_live
from tests.cli.conftest import Desk
from tests.store.sample import closed, opened

S1, S2 = "0199aaaa111122223333444455", "0199bbbb111122223333444455"


@pytest.fixture
def worker(service: AdminService) -> InstanceLock:
    """A worker that lives, with alice and bob inside."""
    held = hold_instance(find_instances_folder(service.data_dir), "one")
    StoreJournal(service.database).append(
        [opened(S1, at=time.time() - 90), opened(S2, at=time.time(), who="bob")]
    )
    update_live(service.database, [Live(S1, 5 * 1024**2, 7, time.time())])
    return held


@pytest.mark.usefixtures("worker")
def test_who_is_in_is_listed(alice: Desk) -> None:
    rows = alice.json("session", "list")
    assert [(row["id"], row["user"], row["sent"], row["end"]) for row in rows] == [
        (S1, "alice", 5 * 1024**2, None),
        (S2, "bob", 0, None),
    ]
    assert [row["id"] for row in alice.json("session", "list", "--user", "bob")] == [S2]
    text = alice.out("session", "list")
    assert re.search(r"\b(1m[3-5]\d|[2-9]m\d+)s\b", text), text
    assert "5.0 MiB" in text


@pytest.mark.usefixtures("worker")
def test_those_who_have_left_are_listed_on_demand(alice: Desk, service: AdminService) -> None:
    StoreJournal(service.database).append([closed(S1, end="idle")])
    assert [row["id"] for row in alice.json("session", "list")] == [S2]
    assert {row["id"]: row["end"] for row in alice.json("session", "list", "--all")} == {
        S1: "idle",
        S2: None,
    }
    assert "idle" in alice.out("session", "list", "--all")


@pytest.mark.usefixtures("worker")
def test_a_session_is_closed_by_the_worker_that_has_it(alice: Desk, service: AdminService) -> None:
    def serve() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with service.database.read() as transaction:
                requests = close_requests(transaction, "one")
            for request in requests:
                assert request.reason == "laptop stolen"
                StoreJournal(service.database).append([closed(request.session, end="evicted")])
            if requests:
                return
            time.sleep(0.01)

    serving = threading.Thread(target=serve)
    serving.start()
    result = alice.run("session", "close", "0199aa", "--reason", "laptop stolen")
    serving.join()
    assert result.exception is None
    assert "Closed 1 session." in result.stderr
    assert [row["id"] for row in alice.json("session", "list")] == [S2]


def test_sessions_of_a_dead_worker_are_closed_at_once(alice: Desk, worker: InstanceLock) -> None:
    worker.release()
    assert "Closed 2 sessions." in alice.run("session", "close", "--all", "--yes").stderr
    assert {row["end"] for row in alice.json("session", "list", "--all")} == {"lost"}


@pytest.mark.usefixtures("worker")
def test_a_worker_that_does_not_close_is_told_of(
    alice: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.cli.session._WAIT_S", 0.0)
    with pytest.raises(StagedoorError, match="1 of 1 session still open"):
        alice.out("session", "close", S1)
    assert alice.json("session", "list")[0]["close_reason"] == "closed by an administrator"


@pytest.mark.usefixtures("worker")
def test_all_sessions_are_not_closed_by_a_slip(alice: Desk) -> None:
    with pytest.raises(click.UsageError, match=r"Close 2 sessions\?.*--yes"):
        alice.out("session", "close", "--all")
    for argv in ((), (S1, "--all"), ("--user", "bob", "--all")):
        with pytest.raises(click.UsageError, match="give IDs, --user or --all"):
            alice.out("session", "close", *argv)


@pytest.mark.usefixtures("worker")
def test_an_id_must_name_one_session(alice: Desk) -> None:
    with pytest.raises(NotFoundError, match="no session 01990000"):
        alice.out("session", "close", "01990000")
    with pytest.raises(RefusedError, match="too short"):
        alice.out("session", "close", "0")
    with pytest.raises(NotFoundError):
        alice.out("session", "close", "%%%%%%")


def test_two_sessions_that_begin_alike_are_not_mixed_up(alice: Desk, service: AdminService) -> None:
    StoreJournal(service.database).append([opened("0199aaaa1"), opened("0199aaaa2")])
    with pytest.raises(RefusedError, match="more than one session begins with 0199aaaa"):
        alice.out("session", "close", "0199aaaa")


@pytest.mark.usefixtures("worker")
def test_removing_a_user_says_how_many_sessions_it_will_close(alice: Desk) -> None:
    with pytest.raises(click.UsageError, match=r"and close 1 live session\?"):
        alice.out("user", "remove", "alice")
    assert "1 live session is being closed" in alice.run("user", "remove", "alice", "--yes").stderr


@pytest.mark.usefixtures("worker")
def test_a_reason_cannot_forge_lines(alice: Desk) -> None:
    with pytest.raises(click.UsageError, match="--reason is one line"):
        alice.out("session", "close", S1, "--reason", "x\nroot let in")


def test_a_closing_by_hand_is_in_the_audit(alice: Desk, service: AdminService) -> None:
    StoreJournal(service.database).append([opened(S1, instance="dead")])
    alice.out("session", "close", S1, "--reason", "go home")
    events = [e for e in alice.out("audit", "--json").splitlines() if "session.close" in e]
    assert len(events) == 2, "the wish, and the close itself"
    assert "go home" in "".join(events)


def test_hostile_names_in_the_audit_cannot_speak_to_the_terminal(
    alice: Desk, service: AdminService
) -> None:
    hostile = Event(1.0, EventKind.SESSION_DENIED, "one", fields={"message": "\x1b]0;owned\x07"})
    StoreJournal(service.database).append([hostile])
    for argv in (("audit",), ("audit", "--json")):
        assert "\x1b" not in alice.out(*argv)
