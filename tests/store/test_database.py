import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from stagedoor.model.errors import StoreError
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.schema import meta
from stagedoor.store.sqlite import file as sqlite_file
from tests.store.sample import denied, python
from tests.waiting import BOUND_S


def test_a_new_store_can_be_read_by_its_owner_only(path: Path) -> None:
    database = open_database(path)
    StoreJournal(database).append([denied()])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    database.close()


def test_a_store_that_others_could_read_is_closed_to_them(path: Path) -> None:
    open_database(path).close()
    path.chmod(0o644)
    open_database(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_in_which_others_could_swap_the_store_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(StoreError, match=r"writable for others.*chmod go-w"):
        open_database(path)
    assert not path.exists()


def test_a_planted_symbolic_link_that_dangles_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        open_database(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_command_that_only_looks_makes_no_store(path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at .* --config"):
        open_database(path, create=False)
    assert not path.parent.exists()


def test_whoever_opens_a_new_store_waits_for_another_that_turns_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir(mode=0o700)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("ROLLBACK")

    monkeypatch.setattr("stagedoor.store.sqlite.file.time.sleep", let_go)
    open_database(path).close()
    assert len(waits) == 3
    other.close()


def test_commits_are_synced_to_the_disk(path: Path) -> None:
    database = open_database(path)
    with database.read() as transaction:
        assert transaction.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert transaction.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert transaction.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("my shopping list\n" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        open_database(path)
    assert path.read_text().startswith("my shopping list")


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    raw.close()
    with pytest.raises(StoreError, match="not Stagedoor's"):
        open_database(path)


def test_a_damaged_store_is_told_as_such(path: Path) -> None:
    database = open_database(path)
    StoreJournal(database).append([denied() for _ in range(500)])
    database.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="damaged; restore it from a backup"):
        open_database(path)


@pytest.mark.parametrize("replaced", [False, True])
def test_events_are_never_written_into_a_file_that_is_no_longer_there(
    path: Path, replaced: bool
) -> None:
    database = open_database(path)
    path.rename(path.with_suffix(".old"))
    if replaced:
        open_database(path).close()
    with pytest.raises(StoreError, match="replaced" if replaced else "gone"):
        StoreJournal(database).append([denied()])
    database.close()


HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_locked_store_is_told_and_can_still_be_read(path: Path) -> None:
    open_database(path).close()
    holder = python(HOLD, path)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        database = open_database(path, busy_timeout_s=0.05)
        with pytest.raises(StoreError, match="locked by another process") as e:
            StoreJournal(database).append([denied()])
        assert str(path) in str(e.value)
        with database.read() as transaction:
            assert transaction.execute(select(meta)).all()
    finally:
        holder.communicate()
    StoreJournal(database).append([denied()])
    assert len(read_entries(database)) == 1
    database.close()


SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal, read_entries

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
disk.chmod(0o700)
database = open_database(disk / "stagedoor.db")
journal = StoreJournal(database)
ballast = disk / "ballast"
ballast.write_bytes(bytes(1024 * 1024))
written = 0
try:
    for written in range(10_000):
        journal.append([Event(float(written), EventKind.SESSION_DENIED, "x" * 50)])
except StoreError as error:
    print(error)
else:
    sys.exit("the disk never filled up")
assert written > 10
assert len(read_entries(database, limit=10_000)) == written
ballast.unlink()
journal.append([Event(-1.0, EventKind.SESSION_DENIED, "after")])
assert [e.event.at for e in read_entries(database, limit=10_000)][-1] == -1.0
database.close()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
try:
    open_database(disk / "stagedoor.db")
except StoreError as error:
    print(error)
"""


def test_a_full_disk_and_a_read_only_one_are_told_and_lose_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A mount that only this process sees; the user namespace lets others than root do it.
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, "-c", SMALL_DISK, disk],
        capture_output=True,
        text=True,
    )
    if "unshare failed" in ran.stderr:
        pytest.skip(f"this machine lets nobody mount: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    full, read_only = ran.stdout.splitlines()
    assert full == f"the store {disk}/stagedoor.db: disk full; free space on that file system"
    assert read_only.startswith(f"the store {disk}/stagedoor.db: ")
    assert "its file system must be writable" in read_only


LIMITED = """
import resource, sys
from pathlib import Path
from stagedoor.model.errors import StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal, read_entries

database = open_database(Path(sys.argv[1]))
journal = StoreJournal(database)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, hard))  # the schema takes 150 KiB
written = 0
try:
    for written in range(10_000):
        journal.append([Event(float(written), EventKind.SESSION_DENIED, "x" * 50)])
except StoreError as error:
    print(error)
assert 10 < written < 9_999
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.append([Event(-1.0, EventKind.SESSION_DENIED, "after")])
assert len(read_entries(database, limit=20_000)) == written + 1
"""


def test_a_file_that_may_not_grow_is_told_and_loses_nothing(path: Path) -> None:
    worker = python(LIMITED, path)
    output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert output.startswith(f"the store {path}: ")


def test_what_is_in_use_when_a_store_is_closed_is_closed_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[sqlite3.Connection] = []

    def connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
        made.append(real(path, busy_timeout_s))
        return made[-1]

    real = sqlite_file._connect
    monkeypatch.setattr(sqlite_file, "_connect", connect)
    database = open_database(path)
    begun, may_end = threading.Event(), threading.Event()

    def rows() -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        begun.set()
        assert may_end.wait(BOUND_S)
        yield "INSERT INTO meta (name, value) VALUES (?, ?)", [("late", 1)]

    writing = threading.Thread(target=database.write_rows, args=(rows(),))
    with database.read() as transaction:
        writing.start()
        assert begun.wait(BOUND_S)
        database.close()
        assert transaction.execute(select(meta)).all()
    may_end.set()
    writing.join(BOUND_S)
    for entry in made:
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            entry.execute("SELECT 1")
    with sqlite3.connect(path) as found:
        assert found.execute("SELECT value FROM meta WHERE name = 'late'").fetchone() == (1,)
    found.close()
