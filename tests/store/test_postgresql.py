"""Failures that only a PostgreSQL server can cause in a store."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, text

from stagedoor.model.errors import StoreError
from stagedoor.model.event import EventKind
from stagedoor.settings.store_location import StoreServer
from stagedoor.store import backup, people
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import Filter, StoreJournal, append, read_entries
from stagedoor.store.liveness.heartbeat import Heartbeat
from stagedoor.store.policy import load_policy, read_policy
from stagedoor.store.postgresql import link as postgresql_link
from stagedoor.store.postgresql import server as postgresql_server
from stagedoor.store.postgresql.link import read_parameters, read_password
from stagedoor.store.sessions import Live, list_sessions, update_live
from stagedoor.store.watch import PolicyWatch
from tests.listeners.wire import eventually
from tests.ports import free_port
from tests.stopped import stopped
from tests.store import full_disk
from tests.store.sample import change, closed, denied, opened
from tests.store.server import PASSWORD, ROLE, PostgresqlHere, name_of, server_here
from tests.store.wire import Wire, wire
from tests.waiting import BOUND_S


@pytest.fixture
def database(server: StoreServer) -> Iterator[Database]:
    made = open_database(server)
    yield made
    made.close()


@pytest.fixture
def hurt() -> Iterator[PostgresqlHere]:
    """A server of this test's own."""
    with server_here() as here:
        yield here


def refused(server: StoreServer, *, create: bool = True) -> str:
    """Why the store cannot be opened: one line, without the password."""
    with pytest.raises(StoreError) as e:
        open_database(server, create=create)
    said = str(e.value)
    assert "\n" not in said
    assert PASSWORD not in said
    return said


def ids(database: Database) -> list[str]:
    return [row.id for row in reversed(list_sessions(database))]


# What a server must be like.


def test_a_server_that_is_not_there_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    said = refused(StoreServer(f"postgresql://r@{str(tmp_path).replace('/', '%2F')}/x"))
    assert said.startswith("the store postgresql://r@")
    assert "cannot be reached: " in said
    assert "Is the server running locally and accepting connections on that socket?" in said


def test_a_wrong_password_is_told_but_never_repeated(server: StoreServer, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.touch(mode=0o600)
    wrong.write_text("another s3cret\n")
    said = refused(replace(server, password_file=wrong))
    assert "password authentication failed" in said
    assert "another" not in said


def test_no_password_is_told(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    assert "no password supplied" in refused(replace(server, password_file=None))


def test_libpq_finds_the_password_where_it_always_does(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    open_database(replace(server, password_file=None)).close()
    monkeypatch.delenv("PGPASSWORD")
    passfile = tmp_path / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text("*:*:*:*:" + PASSWORD.replace(":", "\\:") + "\n")
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    open_database(replace(server, password_file=None)).close()


def test_a_password_file_is_one_closed_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with pytest.raises(StoreError, match=r"store\.password_file: cannot read .*No such file"):
        read_password(file)
    file.write_text("hunter2\n")
    file.chmod(0o644)
    with pytest.raises(StoreError, match=r"is world-readable; run: chmod o="):
        read_password(file)
    file.chmod(0o640)
    assert read_password(file) == "hunter2"
    for content in (b"", b"\n", b"hunter2\nhunter3\n", b"hunter2\xff\n", b"hun\0ter2"):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"one line|UTF-8") as e:
            read_password(file)
        assert "hunter2" not in str(e.value)


def test_a_new_password_is_taken_at_the_next_connection(
    hurt: PostgresqlHere, tmp_path: Path
) -> None:
    server = hurt.database()
    assert server.password_file is not None
    database = open_database(server)
    StoreJournal(database).append([opened("s1")])
    hurt.admin(f"ALTER ROLE {ROLE} PASSWORD 'another'")
    server.password_file.write_text("another")
    hurt.stop()
    hurt.start()
    StoreJournal(database).append([opened("s2")])
    assert ids(database) == ["s1", "s2"]
    database.close()


def test_a_database_that_is_not_there_is_told(server: StoreServer) -> None:
    said = refused(replace(server, url=server.url.replace(name_of(server), "nowhere")))
    assert 'database "nowhere" does not exist' in said


def test_a_command_that_only_looks_makes_no_tables(
    empty: StoreServer, postgresql: PostgresqlHere
) -> None:
    assert "there is no store in postgresql://" in refused(empty, create=False)
    with postgresql.raw(empty) as raw:
        assert raw.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_a_role_that_may_make_no_tables_is_told(postgresql: PostgresqlHere) -> None:
    server = postgresql.database(owner=postgresql.superuser)
    said = refused(server)
    assert "permission denied" in said
    assert "the role must own the database" in said
    postgresql.drop(server)


def test_an_encoding_that_cannot_hold_every_text_is_refused(postgresql: PostgresqlHere) -> None:
    server = postgresql.database(
        "ENCODING LATIN1", "LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    assert "encoding is LATIN1" in refused(server)
    postgresql.drop(server)


def test_a_server_that_may_forget_what_it_wrote_is_refused() -> None:
    with server_here("fsync=off") as here:
        assert "fsync off" in refused(here.database())


def test_a_commit_waits_for_the_disk_whatever_the_role_is_set_to(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    postgresql.admin(f"ALTER DATABASE {name_of(server)} SET synchronous_commit = off")
    database = open_database(server)
    with database.write() as transaction:
        assert transaction.scalar(text("SHOW synchronous_commit")) == "on"
    with database.write(hasty=True) as transaction:
        assert transaction.scalar(text("SHOW synchronous_commit")) == "off"
    with database.write() as transaction:
        assert transaction.scalar(text("SHOW synchronous_commit")) == "on"
    database.close()


def test_those_who_waited_for_the_lock_see_what_was_written_meanwhile(
    server: StoreServer, postgresql: PostgresqlHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever isolation the role begins with: in a snapshot taken before the wait they would not."""
    name = name_of(server)
    postgresql.admin(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    # The lock is held for as long as it takes until both wait.
    monkeypatch.setattr(postgresql_link, "IDLE_IN_TRANSACTION_S", int(BOUND_S))
    monkeypatch.setattr("stagedoor.store.postgresql.server.WRITE_TIMEOUT_S", BOUND_S)
    first, second = open_database(server), open_database(server, busy_timeout_s=BOUND_S)
    versions: list[int] = []

    def wait_and_change() -> None:
        with change(second, "two") as c:
            versions.append(read_policy(c.transaction).version)

    def wait_and_append() -> None:
        StoreJournal(second).append([closed("s1")])

    StoreJournal(first).append([opened("s1")])
    waiting = [threading.Thread(target=work) for work in (wait_and_change, wait_and_append)]
    with change(first, "one") as c:
        append(c.transaction, [closed("s1", end="idle")])
        for task in waiting:
            task.start()
        wait_until_locked(postgresql, name, 2)
    for task in waiting:
        task.join(BOUND_S)
    assert versions == [1]
    kinds = [entry.event.kind for entry in read_entries(first, Filter(session="s1"))]
    assert kinds == [EventKind.SESSION_OPENED, EventKind.SESSION_CLOSED]
    first.close()
    second.close()


def wait_until_locked(postgresql: PostgresqlHere, name: str, count: int) -> None:
    """Until so many wait for a lock in that database."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with postgresql.superusers() as raw:

        def waiting() -> bool:
            row = raw.execute(query, (name,)).fetchone()
            return row == (count,)

        eventually(f"{count} wait for the lock", waiting)


def test_a_standby_is_not_taken(hurt: PostgresqlHere) -> None:
    server = hurt.database()
    open_database(server).close()
    hurt.stop()
    (hurt.data / "standby.signal").touch()
    hurt.start()
    assert "read-only" in refused(server)


def test_one_moment_is_read(database: Database) -> None:
    with database.read() as transaction:
        assert transaction.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        assert transaction.scalar(text("SHOW transaction_read_only")) == "on"


def test_the_driver_that_is_missing_is_told_with_the_command(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stagedoor.store.postgresql.server", None)
    assert "/bin/pip install './stagedoor[postgresql]'" in refused(server)


def test_a_sqlite_store_loads_no_driver(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stagedoor.store.database import open_database; "
        "open_database(Path(sys.argv[1])).close(); assert 'psycopg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "d" / "s.db"], check=True)


# TLS.


def test_a_server_elsewhere_must_prove_who_it_is_unless_the_url_says_otherwise() -> None:
    def mode(url: str) -> object:
        return read_parameters(StoreServer(url)).get("sslmode")

    assert mode("postgresql://r@db.example.com/d") == "verify-full"
    assert mode("postgresql://r@127.0.0.1,db.example.com/d") == "verify-full"
    assert mode("postgresql://r@db.example.com/d?sslmode=require") == "require"
    assert mode("postgresql://r@localhost/d") is None
    assert mode("postgresql://r@%2Frun%2Fpostgresql/d") is None
    assert mode("postgresql:///d") is None
    assert mode("postgresql:///d?service=door") == "verify-full"


def test_a_parameter_that_libpq_does_not_know_is_named() -> None:
    assert 'invalid URI query parameter: "ssl_mode"' in refused(
        StoreServer("postgresql://r@localhost/d?ssl_mode=require")
    )


def test_libpqs_own_variables_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert read_parameters(StoreServer("postgresql:///d"))["sslmode"] == "verify-full"
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode" not in read_parameters(StoreServer("postgresql:///d"))


def certificates(folder: Path) -> None:
    """A CA, and what it signed for the address 127.0.0.1; another CA besides."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=db", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem"),
    )


def test_over_tls_only_the_right_server_is_spoken_to(hurt: PostgresqlHere) -> None:
    server = hurt.database()
    certificates(hurt.folder)
    if os.geteuid() == 0:
        shutil.chown(hurt.folder / "server.key", hurt.superuser)
    for setting in ("ssl = 'on'", f"ssl_cert_file = '{hurt.folder}/server.pem'"):
        hurt.admin(f"ALTER SYSTEM SET {setting}")
    hurt.admin(f"ALTER SYSTEM SET ssl_key_file = '{hurt.folder}/server.key'")
    port = free_port()
    hurt.stop()
    hurt.port = port
    hurt.listen = "127.0.0.1"
    hurt.start()

    def at(host: str, mode: str, ca: str) -> StoreServer:
        parameters_ = f"sslmode={mode}&sslrootcert={hurt.folder}/{ca}.pem"
        return replace(
            server, url=f"postgresql://{ROLE}@{host}:{port}/{name_of(server)}?{parameters_}"
        )

    database = open_database(at("127.0.0.1", "verify-full", "ca"))
    with database.read() as transaction:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert transaction.scalar(text(query)) is True
    database.close()
    assert "certificate verify failed" in refused(at("127.0.0.1", "verify-full", "other"))
    assert "does not match host name" in refused(at("localhost", "verify-full", "ca"))
    hurt.admin("ALTER SYSTEM SET ssl = 'off'")
    hurt.stop()
    hurt.start()
    assert "does not support SSL" in refused(at("127.0.0.1", "verify-full", "ca"))


# Failures, in the middle.


def test_a_server_that_was_restarted_costs_nobody_a_login(hurt: PostgresqlHere) -> None:
    database = open_database(hurt.database())
    journal = StoreJournal(database)
    journal.append([opened("s1")])
    load_policy(database)
    for number in (signal.SIGINT, signal.SIGQUIT):
        hurt.stop(number)
        with pytest.raises(StoreError, match="cannot be reached"):
            journal.append([opened("s2")])
        hurt.start()
        journal.append([opened(f"after {number}")])
        load_policy(database)
    assert ids(database) == ["after 2", "after 3", "s1"]
    database.close()


def test_a_connection_that_was_cut_unnoticed_is_made_anew(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    with wire(postgresql) as path:
        database = open_database(path.through(server))
        journal = StoreJournal(database)
        for number in range(3):
            journal.append([opened(f"s{number}")])
            load_policy(database)
            path.cut()
        journal.append([opened("s3")])
        assert len(ids(database)) == 4
        database.close()


def test_a_commit_of_unknown_outcome_is_repeated_and_written_once(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    """The server has committed, and its answer is lost with the connection."""
    with wire(postgresql) as path:
        database = open_database(path.through(server))
        journal = StoreJournal(database)
        journal.append([denied()])
        path.swallow.set()
        appending = threading.Thread(target=journal.append, args=([opened("s1")],))
        appending.start()
        assert path.swallowed.wait(20)
        path.swallow.clear()
        path.cut()
        appending.join(20)
        assert not appending.is_alive()
        assert ids(database) == ["s1"]
        assert [e.event.session for e in read_entries(database)] == [None, "s1"]
        database.close()


def test_a_commit_that_never_reached_the_server_is_repeated(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    with wire(postgresql) as path:
        database = open_database(path.through(server))
        StoreJournal(database).append([denied()])
        path.cut_on = b"s-cut"
        StoreJournal(database).append([opened("s-cut")])
        assert ids(database) == ["s-cut"]
        database.close()


def test_an_administrator_whose_connection_breaks_in_the_commit_is_told_what_is_unknown(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    with wire(postgresql) as path:
        database = open_database(path.through(server))
        with pytest.raises(
            StoreError, match="the change may have been written or not: check before you"
        ):
            add_and_lose_the_answer(database, path)
        assert "eve" in load_policy(database).users, "here it was"
        with pytest.raises(StoreError, match="cannot be reached") as raised:
            add_and_lose_the_path(database, path)
        assert "may have been written" not in str(raised.value), (
            "before the commit it is known that it was not"
        )
        assert "bob" not in load_policy(database).users
        database.close()


def add_and_lose_the_path(database: Database, path: Wire) -> None:
    with change(database, "user.add") as c:
        path.cut()
        people.add_user(c.transaction, "bob", frozenset(), None, 1.0)


def add_and_lose_the_answer(database: Database, path: Wire) -> None:
    def lose() -> None:
        path.swallowed.wait(20)
        path.swallow.clear()
        path.cut()

    losing = threading.Thread(target=lose)
    with change(database, "user.add") as c:
        people.add_user(c.transaction, "eve", frozenset(), None, 1.0)
        losing.start()
        # What is left to be asked and answered, but for the commit.
        event.listen(c.transaction, "commit", lambda _: path.swallow.set())


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Bounds short enough for a test, of the connections that are made meanwhile.

    Too short for what is to work on a busy machine: that is asked for again and again.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql_server, "WRITE_TIMEOUT_S", 0.5)
        patch.setattr(postgresql_server, "STATEMENT_TIMEOUT_S", 0.5)
        patch.setattr(postgresql_link, "GRACE_S", 0.5)
        yield


def works(what: Callable[[], object]) -> bool:
    """Return whether it does, this time."""
    with contextlib.suppress(StoreError):
        what()
        return True
    return False


def opened_at_last(server: StoreServer) -> Database:
    databases: list[Database] = []
    eventually("it is opened", lambda: works(lambda: databases.append(open_database(server))))
    return databases[0]


def test_a_network_that_swallows_everything_is_waited_for_with_a_bound(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    open_database(server).close()  # which makes the tables
    with wire(postgresql) as path, impatience():
        database = opened_at_last(path.through(server, "sslmode=disable&connect_timeout=2"))
        journal = StoreJournal(database)
        eventually("it is written", lambda: works(lambda: journal.append([opened("s1")])))
        eventually("it is read", lambda: works(lambda: load_policy(database)))
        path.hold()
        before = time.monotonic()
        with pytest.raises(StoreError, match="did not answer within 1 s"):
            journal.append([opened("s2")])
        with pytest.raises(StoreError, match="did not answer within 1 s"):
            load_policy(database)
        with pytest.raises(StoreError, match="timeout expired"):
            journal.append([opened("s2")])
        assert time.monotonic() - before < 60
        path.release()
        eventually("it is used again", lambda: works(lambda: journal.append([opened("s3")])))
        database.close()
    with contextlib.closing(open_database(server)) as later:
        assert "s3" in ids(later)


def test_a_server_that_hangs_is_waited_for_with_a_bound(hurt: PostgresqlHere) -> None:
    server = hurt.database()
    open_database(server).close()  # which makes the tables
    with impatience(), contextlib.closing(opened_at_last(server)) as database:
        journal = StoreJournal(database)
        eventually("it is written", lambda: works(lambda: journal.append([opened("s1")])))
        with (
            stopped(hurt.postmaster(), hurt.pids),
            pytest.raises(StoreError, match="did not answer within 1 s"),
        ):
            journal.append([opened("s2")])
        eventually("it is used again", lambda: works(lambda: journal.append([opened("s3")])))
    with contextlib.closing(open_database(server)) as later:
        assert "s3" in ids(later)


def test_a_statement_that_takes_too_long_is_ended_and_told(server: StoreServer) -> None:
    open_database(server).close()  # which makes the tables
    with impatience(), contextlib.closing(opened_at_last(server)) as database:
        with (
            pytest.raises(StoreError, match=r"the server took too long.*statement timeout"),
            database.read() as transaction,
        ):
            transaction.execute(text("SELECT pg_sleep(30)"))
        eventually("it is used again", lambda: works(lambda: load_policy(database)))


def test_whoever_stops_in_the_middle_of_a_change_holds_up_the_others_for_a_while_only(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is paused holds the lock of those who write; the server takes it back."""
    with monkeypatch.context() as patch:
        patch.setattr(postgresql_link, "IDLE_IN_TRANSACTION_S", 1)
        paused = open_database(server)
    other = open_database(server, busy_timeout_s=10)
    with contextlib.suppress(StoreError), paused.write():
        StoreJournal(other).append([opened("s1")])
    assert ids(other) == ["s1"]
    with paused.write():
        pass  # once it goes on, it does so again
    paused.close()
    other.close()


@pytest.fixture
def small_disk() -> Iterator[tuple[PostgresqlHere, Path]]:
    """A server of its own, and a file system of 16 MiB on which it may keep a database. While that is full,
    it serves no other client well."""
    with server_here() as server, full_disk.small_disk(server.folder / "small", 16) as disk:
        shutil.chown(disk.folder, server.superuser)
        server.admin(f"CREATE TABLESPACE small LOCATION '{disk.folder}'")
        yield server, disk.folder


def test_a_full_disk_is_told_and_loses_nothing(small_disk: tuple[PostgresqlHere, Path]) -> None:
    postgresql, disk = small_disk
    database = open_database(postgresql.database("TABLESPACE small"))
    journal = StoreJournal(database)
    # The first connection to a new database writes a file of the server's own.
    journal.append([denied(at=-2.0)])
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    written: list[int] = []

    def write_on() -> None:
        for number in range(10_000):
            journal.append([denied(at=float(number)) for _ in range(20)])
            written.append(number)

    with pytest.raises(StoreError, match="disk full; free space on the server"):
        write_on()
    assert len(read_entries(database, limit=10**6)) == 1 + len(written) * 20
    filler.unlink()
    journal.append([denied(at=-1.0)])
    assert read_entries(database, limit=10**6)[-1].event.at == -1.0
    database.close()


def test_a_server_that_hangs_does_not_hold_up_the_end(
    server: StoreServer, postgresql: PostgresqlHere, tmp_path: Path
) -> None:
    def ignore(*_: object) -> None: ...

    with wire(postgresql) as path:
        database = open_database(path.through(server))
        watch = PolicyWatch(
            database,
            "one",
            on_change=ignore,
            on_close_requests=ignore,
            on_problem=ignore,
            poll_s=0.01,
        )
        heartbeat = Heartbeat(
            database,
            tmp_path,
            "one",
            live=tuple,
            on_lost=ignore,
            on_reclaimed=ignore,
            on_problem=ignore,
            beat_s=0.01,
        )
        heartbeat.announce()
        watch.start()
        heartbeat.start()
        path.hold()
        before = time.monotonic()
        watch.stop()
        heartbeat.stop(in_order=True)
        assert time.monotonic() - before < 20
        path.release()
        for thread in threading.enumerate():
            if thread.name in ("policy-watch", "heartbeat"):
                thread.join(20)
        database.close()


def test_a_connection_that_is_in_use_at_the_end_is_closed_when_it_is_given_back(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    database = open_database(server)
    with database.read() as transaction:
        link = transaction.connection.driver_connection
        database.close()
        assert isinstance(link, postgresql_link.PostgresqlLink)
        assert not link.closed
    assert link.closed


def test_counts_and_closes_at_the_same_time_never_deadlock(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    """Each takes rows in its own order; the loser of a deadlock is a login refused."""
    first, second = (open_database(server, busy_timeout_s=20) for _ in range(2))
    names = [f"s{n:03}" for n in range(100)]
    StoreJournal(first).append([opened(name) for name in names])
    failures: list[StoreError] = []

    def count(order: list[str]) -> None:
        try:
            for turn in range(30):
                update_live(second, [Live(name, turn, turn, 1.0) for name in order])
        except StoreError as error:
            failures.append(error)

    counting = threading.Thread(target=count, args=(list(reversed(names)),))
    counting.start()
    for _ in range(30):
        update_live(first, [Live(name, 1, 1, 1.0) for name in names])
    counting.join()
    assert failures == []
    first.close()
    second.close()


def test_nothing_that_is_said_or_shown_has_the_password(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    database = open_database(server)
    assert PASSWORD not in database.name
    assert PASSWORD not in repr(server)
    with postgresql.raw(server) as raw:
        shown = raw.execute(
            "SELECT application_name, query FROM pg_stat_activity WHERE usename = %s", (ROLE,)
        ).fetchall()
    assert shown
    assert PASSWORD not in str(shown)
    assert shown[0][0] == "stagedoor"
    database.close()


def test_a_fault_in_the_middle_of_a_batch_writes_nothing_of_it(
    database: Database, server: StoreServer, postgresql: PostgresqlHere
) -> None:
    with postgresql.raw(server) as raw:
        raw.execute("ALTER TABLE audit_events ADD CHECK (identity <> 'mallory')")
    journal = StoreJournal(database)
    batch = [opened("s1"), denied(), opened("s2", who="mallory"), denied()]
    with pytest.raises(StoreError, match="violates check constraint"):
        journal.append(batch)
    assert read_entries(database) == []
    journal.append([opened("s3")])
    assert ids(database) == ["s3"]


def test_a_connection_that_the_server_has_ended_is_known_to_be_stale(
    server: StoreServer, postgresql: PostgresqlHere
) -> None:
    link = postgresql_link.connect(server, statement_timeout_s=5, lock_timeout_s=1)
    assert not postgresql_link.is_stale(link)
    postgresql.admin(f"SELECT pg_terminate_backend({link.info.backend_pid}, 10000)")
    assert postgresql_link.is_stale(link)
    link.close()
    assert postgresql_link.is_stale(link)
    with pytest.raises(psycopg.OperationalError):
        link.execute("SELECT 1")


def test_a_store_whose_tables_are_rewritten_meanwhile_is_no_foreign_one(
    database: Database, postgresql: PostgresqlHere, server: StoreServer
) -> None:
    """As by a process that brings it up: the other looks before, and reads after."""
    outcomes: list[object] = []

    def look() -> None:
        try:
            open_database(server).close()
            outcomes.append("opened")
        except StoreError as error:
            outcomes.append(error)

    def waits() -> bool:
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        )
        with postgresql.superusers("postgres") as other:
            row = other.execute(asked, (name_of(server),)).fetchone()
        return row is not None and row[0] > 0

    with postgresql.superusers(name_of(server)) as link:
        link.autocommit = False
        link.execute("ALTER TABLE meta ALTER COLUMN value TYPE BIGINT USING value + 0")
        looking = threading.Thread(target=look)
        looking.start()
        eventually("it waits for the table", waits)
        link.commit()
    looking.join(BOUND_S)
    assert outcomes == ["opened"]


def test_a_dump_is_private_while_it_is_written_and_has_a_time_limit(
    server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    backup.dump(server, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes().startswith(b"PGDMP")
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(backup, "_LIMIT_S", 0)
    with pytest.raises(StoreError, match="pg_dump: it was still running after 0 s"):
        backup.dump(server, tmp_path / "late")
