"""From each schema that was released to the one of now: `released/VERSION.KIND.sql` is such a store."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, MetaData, Text, inspect, select

from stagedoor.model.grant import GrantRule
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.session import EndReason
from stagedoor.model.webpass import WebSession
from stagedoor.settings.store_location import StoreLocation, StoreServer
from stagedoor.store import grants, people, schema
from stagedoor.store.attachments import list_attachments
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sessions import list_sessions
from stagedoor.store.sign_in import passes
from tests.store.sample import change
from tests.store.server import PostgresqlHere, name_of
from tests.store.test_any_database import assert_all_wrote, at_once

RELEASED = Path(__file__).parent / "released"
FORWARD = frozenset({Permission.FORWARD})
VERSIONS = sorted({int(file.name[:4]) for file in RELEASED.glob("*.sql")})


def shape(database: Database) -> dict[str, Any]:
    """Tables, columns, keys and indexes, as the database itself lists them; the order of columns aside."""
    with database.read() as transaction:
        look = inspect(transaction)
        primary, foreign = look.get_multi_pk_constraint(), look.get_multi_foreign_keys()
        unique, indexes = look.get_multi_unique_constraints(), look.get_multi_indexes()
        return {
            table[1]: {
                "columns": sorted(
                    (c["name"], repr(c["type"]), c["nullable"], str(c["default"])) for c in columns
                ),
                "primary": primary[table]["constrained_columns"],
                "foreign": [
                    (key["constrained_columns"], key["referred_table"], key["options"])
                    for key in foreign[table]
                ],
                "unique": sorted(u["column_names"] for u in unique[table]),
                "indexes": sorted(
                    (i["name"], i["column_names"], i["unique"]) for i in indexes[table]
                ),
            }
            for table, columns in look.get_multi_columns().items()
        }


_MADE: dict[type[StoreLocation], dict[str, Any]] = {}


def shape_of_tables(database: Database) -> dict[str, Any]:
    """That of the tables which `schema` describes, in a store of this kind. The first who asks gets them in
    place of their own."""
    kind = StoreServer if database.shared else Path
    if kind not in _MADE:
        with database.write() as transaction:
            for table in reversed(inspect(transaction).get_table_names()):
                cascade = " CASCADE" if database.shared else ""
                transaction.exec_driver_sql(f"DROP TABLE {table}{cascade}")
            schema.metadata.create_all(transaction)
        _MADE[kind] = shape(database)
    return _MADE[kind]


@pytest.fixture
def as_released(
    request: pytest.FixtureRequest, place: StoreLocation, version: int
) -> StoreLocation:
    """A store as the program of `version` left it."""
    if isinstance(place, StoreServer):
        here: PostgresqlHere = request.getfixturevalue("postgresql")
        text = (RELEASED / f"{version:04}.postgresql.sql").read_text()
        with here.superusers(name_of(place)) as link:
            link.execute("SET ROLE stagedoor")
            link.execute(text.encode())
    else:
        place.parent.mkdir(mode=0o700)
        with sqlite3.connect(place) as raw:
            raw.executescript((RELEASED / f"{version:04}.sqlite.sql").read_text())
        raw.close()
    return place


def execute(place: StoreLocation, *statements: str) -> None:
    """Run SQL by hand, as an older program would."""
    if isinstance(place, StoreServer):
        password = place.password_file.read_text().strip() if place.password_file else None
        with psycopg.connect(place.url, password=password, autocommit=True) as link:
            for statement in statements:
                link.execute(statement.encode())
        return
    with contextlib.closing(sqlite3.connect(place)) as raw, raw:
        for statement in statements:
            raw.execute(statement)


def test_the_newest_version_has_its_fixture() -> None:
    """A migration brings one. That of the version before it goes, unless a release had that version."""
    assert VERSIONS[-1] == schema.SCHEMA_VERSION


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_of_each_version_becomes_one_of_now(
    as_released: StoreLocation, version: int
) -> None:
    with contextlib.closing(open_database(as_released)) as database:
        with database.read() as transaction:
            assert schema.check(transaction) == schema.SCHEMA_VERSION
        policy = load_policy(database)
        is_first = version == 1
        assert policy.version == (7 if is_first else 8)
        provided = set() if is_first else {"idp-ops"}
        assert policy.users["alice"].groups == {"dev", "ops"} | provided
        assert policy.tokens["t1"].secret_hash == b"\xab" * 32
        assert policy.keys["SHA256:abc"].user == "alice"
        assert [rule.id for rule in policy.grants if Permission.ENTER in rule.permissions] == [1, 2]
        assert {rule.permissions for rule in policy.grants[:2]} == {DEFAULT}
        assert [(s.id, s.end, s.sent) for s in list_sessions(database, open_only=False)] == [
            ("s2", None, 0),
            ("s1", EndReason.CLOSED.value, 2**40),
        ]
        assert [entry.seq for entry in read_entries(database)] == [1, 2, 3]
        if not is_first:
            with database.read() as transaction:
                rows = transaction.execute(select(schema.sign_in_tables.web_passes)).all()
            assert {row.secret_hash: row.sign_in for row in rows} == {
                b"\x01" * 32: None,
                b"\x03" * 32: b"\x01" * 32,
            }
            assert policy.signed_out.keys() == {b"\x03" * 32}
            watching = GrantRule(4, "group:ops", "app*", permissions=frozenset({Permission.WATCH}))
            assert policy.grants[2:] == (watching,)
            assert policy.shares["aabbccddeeff"].typing
            (visit,) = list_attachments(database)
            assert (visit.session, visit.is_watching, visit.share) == ("s2", False, None)
        with change(database, "go on") as c:
            people.add_user(c.transaction, "carol", frozenset(), None, 0.0)
            number = grants.add_grant(c.transaction, GrantRule(0, "user:carol", "x"), 0.0)
        assert number == (4 if is_first else 5), "a removed grant's number is never given again"
        assert passes.find(database, WebSession, "unknown") is None


@pytest.mark.parametrize("version", [11])
def test_a_grant_without_entering_keeps_its_number_and_meaning(as_released: StoreLocation) -> None:
    """Before version 13 its environment had a `!` before it."""
    add = (
        "INSERT INTO grants (subject, app_pattern, environment_pattern, created_at, permissions) "
        "VALUES ('user:alice', 'app*', '!*', 1.0, 'forward'), ('user:bob', 'x', 'y', 1.0, 'enter')"
    )
    remove = "DELETE FROM grants WHERE subject = 'user:bob'"
    execute(as_released, add, remove)
    with contextlib.closing(open_database(as_released)) as database:
        rules = {rule.id: rule for rule in load_policy(database).grants}
        assert rules[1] == GrantRule(1, "user:alice", "app*", "*", None, DEFAULT)
        assert rules[5] == GrantRule(5, "user:alice", "app*", permissions=FORWARD)
        with database.read() as transaction:
            compatible = select(schema.meta.c.value).where(
                schema.meta.c.name == "compatible_version"
            )
            assert transaction.execute(compatible).scalar_one() == 11
        with change(database, "go on") as c:
            number = grants.add_grant(c.transaction, GrantRule(0, "group:dev", "x"), 0.0)
        assert number == 7, "a removed grant's number is never given again"


@pytest.mark.parametrize("version", [1])
def test_processes_that_upgrade_one_store_at_once_all_write_to_it(
    as_released: StoreLocation,
) -> None:
    at_once(as_released)
    database = open_database(as_released)
    assert_all_wrote(database)
    database.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_its_tables_are_those_of_a_store_made_now(
    as_released: StoreLocation, version: int, tmp_path: Path
) -> None:
    """And those of the queries: what `schema` describes."""
    with contextlib.closing(open_database(as_released)) as migrated:
        tables = shape(migrated)
        assert tables
        assert tables == shape_of_tables(migrated)


@pytest.mark.parametrize("version", [1])
def test_a_step_does_not_change_with_the_tables_of_now(
    as_released: StoreLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next column of `web_passes` would be there already when its own step adds it."""
    next_ = schema.sign_in_tables.web_passes.to_metadata(MetaData())
    next_.append_column(Column("later", Text))
    monkeypatch.setattr(schema.sign_in_tables, "web_passes", next_)
    with contextlib.closing(open_database(as_released)) as database:
        with database.read() as transaction:
            names = {column["name"] for column in inspect(transaction).get_columns("web_passes")}
        assert "sign_in" in names
        assert "later" not in names


def test_a_new_store_is_made_by_the_same_steps(place: StoreLocation) -> None:
    with contextlib.closing(open_database(place)) as database:
        tables = shape(database)
        assert tables
        assert tables == shape_of_tables(database)
