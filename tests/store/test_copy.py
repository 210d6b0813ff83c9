from pathlib import Path

import pytest
from click.testing import CliRunner

from stagedoor.admin.restore import migrate_store
from stagedoor.admin.service import AdminService
from stagedoor.cli.app import stagedoor
from stagedoor.model.errors import RefusedError, StoreError
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, TokenRecord
from stagedoor.model.role import Role, RoleRule
from stagedoor.settings.store_location import StoreServer
from stagedoor.store import grants, people
from stagedoor.store.administration.roles import add_role, remove_role
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.liveness.instances import find_instances_folder, hold_instance
from stagedoor.store.policy import load_policy
from stagedoor.store.sessions import list_sessions
from tests.store.sample import change, closed, denied, opened


@pytest.fixture
def service(database: Database, tmp_path: Path) -> AdminService:
    """An empty store of each kind, to copy to."""
    return AdminService(database, tmp_path, "root@here", lambda: 900.0)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A SQLite store with some of everything, whose newest grant was removed."""
    file = tmp_path / "old" / "stagedoor.db"
    database = open_database(file)
    with change(database, "set up") as c:
        for name in ("zoe", "alice"):
            people.add_user(c.transaction, name, frozenset({"dev", "ops"}), "$argon2id$x", 1.0)
        people.add_key(c.transaction, KeyRecord("alice", "SHA256:abc", "ssh-ed25519 A", "x"), 2.0)
        token = TokenRecord("t1", "zoe", b"\xff\x00" * 16, ("connect",), 500.0)
        people.add_token(c.transaction, token, 3.0)
        grants.add_grant(c.transaction, GrantRule(0, "user:alice", "app*", "staging", None), 4.0)
        grants.add_grant(c.transaction, GrantRule(0, "group:dev", "app01"), 5.0)
        grants.remove_grant(c.transaction, 2)
        add_role(c.transaction, RoleRule(0, "user:alice", Role.AUDITOR), 6.0)
        remove_role(c.transaction, 1)
    journal = StoreJournal(database)
    for start in range(0, 2500, 500):
        journal.append([opened(f"s{n}", at=float(n)) for n in range(start, start + 500)])
        journal.append([closed(f"s{n}", sent=2**40) for n in range(start, start + 499)])
    database.close()
    return file


def test_all_of_it_is_there_and_goes_on_where_it_was(service: AdminService, old: Path) -> None:
    source = open_database(old)
    copied = migrate_store(service, old)
    assert (copied["users"], copied["grants"], copied["sessions"]) == (2, 1, 2500)
    there = service.database
    for of in ("users", "tokens", "keys", "grants"):
        assert getattr(load_policy(there), of) == getattr(load_policy(source), of)
    assert list_sessions(there, open_only=False, limit=9999) == list_sessions(
        source, open_only=False, limit=9999
    )
    before = read_entries(source, limit=99999)
    after = read_entries(there, limit=99999)
    assert after[: len(before)] == before
    assert [entry.event.fields["action"] for entry in after[len(before) :]] == ["store.copy"]
    StoreJournal(there).append([denied()])
    assert [entry.seq for entry in read_entries(there, limit=99999)] == list(
        range(1, len(before) + 3)
    )
    with change(there, "grant.add") as c:
        added = grants.add_grant(c.transaction, GrantRule(0, "group:ops", "app02"), 6.0)
        role = add_role(c.transaction, RoleRule(0, "user:zoe", Role.AUDITOR), 6.0)
    assert added == 3, "the number of the removed grant is not given again"
    assert role == 2, "nor is that of a removed role, though no role is left"
    source.close()


def test_only_an_empty_store_is_copied_to(service: AdminService, old: Path) -> None:
    with change(service.database, "user.add") as c:
        people.add_user(c.transaction, "bob", frozenset(), None, 1.0)
    with pytest.raises(RefusedError, match="is not empty"):
        migrate_store(service, old)
    assert set(load_policy(service.database).users) == {"bob"}


def test_what_cannot_be_copied_whole_is_not_copied(
    server: StoreServer, old: Path, tmp_path: Path
) -> None:
    database = open_database(old)
    with database.write() as transaction:  # SQLite takes anything in any column
        transaction.exec_driver_sql("UPDATE audit_events SET reason = hex(zeroblob(100))")
    database.close()
    there = open_database(server)
    with pytest.raises(StoreError, match="too long"):
        migrate_store(AdminService(there, tmp_path, "root@here", lambda: 900.0), old)
    assert load_policy(there).users == {}
    assert read_entries(there) == []
    there.close()


def test_a_store_in_use_is_not_copied(service: AdminService, old: Path) -> None:
    held = hold_instance(find_instances_folder(old.parent), "one")
    with pytest.raises(RefusedError, match=r"a gateway runs on .*stop it first"):
        migrate_store(service, old)
    held.release()
    migrate_store(service, old)


def test_the_command_copies_into_the_store_that_the_settings_name(
    empty: StoreServer, old: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.toml"
    file.write_text(
        f'data_dir = "{tmp_path}"\n[store]\nurl = "{empty.url}"\n'
        f'password_file = "{empty.password_file}"\n'
    )
    argv = ["--config", str(file), "store", "copy", str(old)]
    result = CliRunner().invoke(stagedoor, argv)
    assert "Copied 2 users, 2500 sessions and " in result.stderr
    assert result.exit_code == 0
    again = CliRunner().invoke(stagedoor, argv)
    assert isinstance(again.exception, RefusedError)
