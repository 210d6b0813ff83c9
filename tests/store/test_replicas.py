"""Two gateways, each the real program with a folder of its own, on one PostgreSQL store."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.model.access_request import RequestRule
from stagedoor.settings.store_location import StoreServer
from stagedoor.store.sessions import list_sessions
from tests.fixtures.gateway import Gateway
from tests.listeners.wire import bearer, dialled, eventually, head
from tests.path.faulty import Faulty
from tests.store.server import PASSWORD, PostgresqlHere, server_here


class Replica(Faulty):
    """One of the gateways. The first of them brings in `dev`; `first` has for the others."""

    def __init__(
        self, folder: Path, server: StoreServer, first: "Replica | None" = None, *, workers: int = 1
    ) -> None:
        folder.mkdir()
        self._first = first
        self._store = f'[store]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
        super().__init__(folder, workers=workers)

    def all(self, settings: str = "", workers: int = 1) -> str:
        return super().all(self._store + settings, workers)

    def settle(self) -> None:
        if self._first is None:
            super().settle()
        else:
            self.grant, self.secret = self._first.grant, self._first.secret

    def listed(self) -> dict[str, dict[str, Any]]:
        """`stagedoor session list` by this one's settings."""
        sessions = json.loads(self.command("session", "list", "--json").stdout)
        return {session["id"]: session for session in sessions}


Make = Callable[..., Replica]


@contextlib.contextmanager
def replicas(folder: Path, server: StoreServer) -> Iterator[Make]:
    """Yield a function that makes and starts them; in the end they are stopped, with clean logs."""
    made: list[Replica] = []

    def make(first: Replica | None = None, *, workers: int = 1) -> Replica:
        replica = Replica(folder / f"replica{len(made)}", server, first, workers=workers)
        made.append(replica)
        replica.start()
        return replica

    try:
        yield make
        for entry in made:
            entry.upstream.hang_up()
            entry.stop()
            entry.assert_clean()
    finally:
        for entry in made:
            entry.upstream.close()
            entry.stop()


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgresqlHere
) -> Iterator[tuple[Replica, Replica]]:
    """Two for the whole module, which leaves them as they were."""
    server = postgresql.filled()
    with replicas(tmp_path_factory.mktemp("two"), server) as make:
        first = make()
        yield first, make(first)
    postgresql.drop(server)


def test_a_user_added_at_one_is_let_in_at_the_other(two: tuple[Replica, Replica]) -> None:
    first, second = two
    first.command("user", "add", "bob", "--no-password")
    first.command("grant", "add", "user:bob", "app01")
    token = bearer(first.token("bob"))
    eventually("the other knows", lambda: second.answer(token).status == 200)
    second.command(
        "token",
        "revoke",
        json.loads(second.command("token", "list", "bob", "--json").stdout)[0]["id"],
    )
    eventually("the first knows", lambda: first.answer(token).status == 407)


def test_what_is_revoked_closes_sessions_everywhere(two: tuple[Replica, Replica]) -> None:
    first, second = two
    with first.entered() as here, second.entered() as there:
        with first.service() as service:
            admin.remove_grant(service, first.grant)
        # Within what bound is counted, not timed, in `test_watch`.
        here.wait_until_cut()
        there.wait_until_cut()
        assert first.wait_for_ends(here) == {here.session: "revoked"}
        assert second.wait_for_ends(there) == {there.session: "revoked"}
    assert first.answer().status == 403
    with first.service() as service:
        first.grant = admin.add_grant(service, "user:dev", "*").id
    for replica in two:
        eventually("let in", lambda replica=replica: replica.answer().status == 200)  # type: ignore[misc]


@pytest.mark.access(11)
def test_a_login_that_waits_at_one_goes_on_after_an_approval_at_the_other(
    two: tuple[Replica, Replica],
) -> None:
    first, second = two
    with first.service() as service:
        admin.add_user(service, "ann")
        admin.add_user(service, "sam")
        rule = RequestRule(0, "user:ann", "app01", approvers=("user:sam",))
        rule = requests.add_rule(service, rule)
    asks = (bearer(first.token("ann")), "Stagedoor-Progress: 1", "Stagedoor-Reason: INC-1")
    second.wait_for_policy()
    with dialled(second.own_port) as client:
        client.send(head("app01-ssh:22", *asks))
        said = b""
        while (match := re.search(rb"request (\d+) waits", said)) is None:
            said += (part := client.read(1))
            assert part, said
        with first.service() as service:
            requests.decide(service, int(match[1]), approver="sam", is_yes=True)
        while b" 200 " not in said:
            said += (part := client.read(1))
            assert part, said
        second.upstream.accept().close()
    with first.service() as service:
        requests.remove_rule(service, rule.id)


def test_all_sessions_are_listed_at_each_with_who_has_them(two: tuple[Replica, Replica]) -> None:
    first, second = two
    with first.entered() as here, second.entered() as there:
        both = {here.session, there.session}
        for replica in two:
            eventually("others' are over", lambda replica=replica: replica.listed().keys() == both)  # type: ignore[misc]
            listed = replica.listed()
            for inside, owner in ((here, first), (there, second)):
                assert owner.process is not None
                assert f"-{owner.process.pid}-" in listed[inside.session]["instance"]
            text = replica.command("session", "list").stdout
            assert "INSTANCE" in text.upper()
            assert listed[here.session]["instance"] in text
            assert listed[there.session]["instance"] in text


def test_a_session_is_closed_from_any_of_them(two: tuple[Replica, Replica]) -> None:
    first, second = two
    with first.entered() as here, second.entered() as there:
        done = first.command("session", "close", there.session, "--reason", "laptop stolen")
        assert "Closed 1 session." in done.stderr
        there.wait_until_cut()
        here.works()
        assert second.wait_for_ends(there) == {there.session: "evicted"}
        assert "Closed 1 session." in second.command("session", "close", "--all", "--yes").stderr
        here.wait_until_cut()
    assert first.closed()[there.session] == ("evicted", "laptop stolen")


def test_one_audit_is_kept_by_all_in_one_order(two: tuple[Replica, Replica]) -> None:
    first, second = two
    let_in = [replica.answer().one("Stagedoor-Session") for _ in range(5) for replica in two]
    eventually("all are closed", lambda: first.closed().keys() >= set(let_in))
    assert first.audit() == second.audit()
    opened = [e["session"] for e in first.audit() if e["kind"] == "session.opened"]
    assert opened[-10:] == let_in


def test_a_worker_that_dies_loses_its_sessions_at_once_and_no_others(
    two: tuple[Replica, Replica],
) -> None:
    first, second = two
    with first.entered() as here, second.entered() as there:
        (worker,) = second.worker_pids()
        os.kill(worker, signal.SIGKILL)
        second.wait_for_event("sessions were lost with their worker")
        closed = first.closed()
        assert here.session not in closed
        assert closed[there.session][0] == "lost"
        assert "died" in closed[there.session][1]
        here.works()
        eventually("a new worker serves", lambda: second.answer().status == 200)
        assert here.session in first.listed()


def test_a_replica_that_is_killed_finds_what_it_lost_when_it_starts_again(
    two: tuple[Replica, Replica],
) -> None:
    first, second = two
    with first.entered() as here, second.entered() as there:
        workers = second.worker_pids()
        second.signal(signal.SIGKILL)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        assert second.process is not None
        second.process.wait()
        there.wait_until_cut()
        # For the other it is silent only: it might be behind a broken network.
        first.command("session", "close", here.session, "--no-wait")
        here.wait_until_cut()
        assert there.session in first.listed()
        second.restart(after=len(second.lines))
        assert first.closed()[there.session][0] == "lost"
        assert second.answer().status == 200
        assert there.session not in first.listed()


def test_settings_are_read_again_while_sessions_go_on(two: tuple[Replica, Replica]) -> None:
    first, second = two
    with first.entered() as here:
        seen = len(first.lines)
        first.signal(signal.SIGHUP)
        first.wait_for_event("reloaded", after=seen)
        here.works()
        assert first.answer().status == 200
        assert here.session in second.listed()


def test_settings_whose_store_cannot_be_had_are_refused_and_change_nothing(
    two: tuple[Replica, Replica],
) -> None:
    first, _ = two
    good = first.file.read_text()
    with first.entered() as here:
        first.file.write_text(good.replace("postgresql://stagedoor@", "postgresql://nobody@"))
        first.signal(signal.SIGHUP)
        refused = first.wait_for_event("reload refused: nothing has changed")
        assert "nobody" in str(refused["reason"])
        here.works()
        assert first.answer().status == 200
    first.file.write_text(good)


def test_one_login_at_a_time_or_many_no_session_is_written_twice(
    tmp_path: Path, server: StoreServer
) -> None:
    with replicas(tmp_path, server) as make:
        first = make(workers=2)
        second = make(first, workers=2)
        with contextlib.ExitStack() as stack:
            both = (first, second)
            inside = [stack.enter_context(replica.entered()) for _ in range(10) for replica in both]
            assert first.listed().keys() == {visit.session for visit in inside}
            for visit in inside:
                visit.end()
        eventually("all are closed", lambda: len(first.closed()) == 20)
        assert first.listed() == {}


def test_replicas_that_start_at_once_make_one_store(tmp_path: Path, empty: StoreServer) -> None:
    store = f'[store]\nurl = "{empty.url}"\npassword_file = "{empty.password_file}"\n'
    started = []
    for name in "abc":
        (tmp_path / name).mkdir()
        started.append(Gateway(tmp_path / name, store))
    try:
        for gateway in started:
            gateway.launch()
        for gateway in started:
            gateway.wait_for(lambda line: line["event"] == "serving")
        started[0].add_user("dev")
        assert "dev" in started[2].command("user", "list").stdout
    finally:
        for gateway in started:
            gateway.stop()


def test_replicas_with_keys_of_their_own_are_told_of_it(two: tuple[Replica, Replica]) -> None:
    _, second = two
    for name in ("keys.user_ca_file", "keys.host_ca_file"):
        reloaded = second.wait_for(lambda line, name=name: line.get("setting") == name)  # type: ignore[misc]
        assert "another value" in reloaded["event"]


@pytest.fixture
def hurt() -> Iterator[PostgresqlHere]:
    with server_here() as here:
        yield here


def test_while_the_server_is_away_nobody_new_gets_in_and_nobody_inside_is_hurt(
    tmp_path: Path, hurt: PostgresqlHere
) -> None:
    with replicas(tmp_path, hurt.database()) as make:
        first = make()
        second = make(first)
        with first.entered() as here, second.entered() as there, first.entered() as leaving:
            hurt.stop(signal.SIGQUIT)
            for replica in (first, second):
                eventually("refused", lambda replica=replica: replica.answer().status == 503)  # type: ignore[misc]
                answer = replica.answer()
                assert "cannot be written to the audit" in answer.message
                assert "cannot be reached" in answer.message
                assert answer.one("Retry-After") is not None
                assert PASSWORD not in answer.message
            here.works()
            there.works()
            leaving.end()
            refused = first.command("user", "add", "eve", "--no-password", check=False)
            assert refused.returncode == 1
            assert "cannot be reached" in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
            hurt.start()
            for replica in (first, second):
                eventually("let in", lambda replica=replica: replica.answer().status == 200)  # type: ignore[misc]
            here.works()
            there.works()
            eventually("what ended is written", lambda: leaving.session in first.closed())
            assert first.closed()[leaving.session][0] == "closed"
            assert here.session in second.listed()
        eventually("all is closed", lambda: second.listed() == {})


def test_the_password_is_in_no_log_and_no_command_line(two: tuple[Replica, Replica]) -> None:
    first, _ = two
    first.answer()
    assert first.process is not None
    for pid in (first.process.pid, *first.worker_pids()):
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert PASSWORD not in json.dumps(first.lines)


def test_no_store_is_made_beside_the_shared_one(two: tuple[Replica, Replica]) -> None:
    first, _ = two
    assert not list(first.data_dir.glob("*.db*"))
    with first.service() as service:
        assert service.database.shared
        eventually("those of other tests have ended", lambda: not list_sessions(service.database))
