"""The tables, and the two versions that tell whether this program may use a store.

As Synapse does it: `schema_version` is the shape the tables have; `compatible_version` is the
oldest program that may still read and write them. A change that old programs survive raises only
the first.

The steps from each version to the next are in `migrations/VERSION.DIALECT.sql`: literal SQL, since a step
that were made from the tables below would change whenever they do. A released step is never edited. To change
a table, change it below, raise SCHEMA_VERSION, add its step for both dialects, and put what it starts from
into `tests/store/released/`.
"""

from importlib.resources import files
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from stagedoor.model.errors import StoreError

SCHEMA_VERSION = 9
COMPATIBLE_VERSION = 1

metadata = MetaData()


def _name(length: int) -> TypeEngine[Any]:
    """Text that is sorted and compared byte by byte, whatever language a database was made for.

    So names come in one order everywhere, and an index finds what begins with a prefix.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _count() -> TypeEngine[Any]:
    """64 bits. SQLite's only integer has them, and must be called INTEGER to number rows."""
    return BigInteger().with_variant(Integer(), "sqlite")


meta = Table(
    "meta",
    metadata,
    Column("name", _name(64), primary_key=True),
    Column("value", Integer, nullable=False),
)
"""Versions and counters: `policy_version` and `close_version` tell workers that there is news."""

users = Table(
    "users",
    metadata,
    Column("name", _name(64), primary_key=True),
    Column("password_hash", Text),
    Column("created_at", Float, nullable=False),
)


def _user() -> Column[str]:
    return Column("user_name", ForeignKey("users.name", ondelete="CASCADE"), nullable=False)


user_groups = Table(
    "user_groups",
    metadata,
    Column(
        "user_name", ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("group_name", _name(64), primary_key=True),
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    _user(),
    Column("created_at", Float, nullable=False),
    Index("identities_by_user", "user_name"),
)
"""Who a user is at an identity provider: an issuer and its `sub`, which never change. Since version 7."""

provided_groups = Table(
    "provided_groups",
    metadata,
    Column(
        "user_name", ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("group_name", _name(64), primary_key=True),
)
"""Groups that an identity provider put a user in, apart from those given here. Since version 7."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", _name(32), primary_key=True),
    _user(),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", Text),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Index("tokens_by_user", "user_name"),
)

keys = Table(
    "keys",
    metadata,
    Column("fingerprint", _name(64), primary_key=True),
    _user(),
    Column("public_key", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("keys_by_user", "user_name"),
)


def _rules(name: str, *more: Column[Any]) -> Table:
    """Rules for users and groups, by patterns of apps and environments."""
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("subject", String(80), nullable=False),
        Column("app_pattern", String(128), nullable=False),
        Column("environment_pattern", String(128), nullable=False),
        Column("expires_at", Float),
        Column("created_at", Float, nullable=False),
        *more,
        UniqueConstraint("subject", "app_pattern", "environment_pattern"),
        sqlite_autoincrement=True,  # a removed rule's number is named in the audit: never again used
    )


grants = _rules("grants", Column("permissions", Text, nullable=False, server_default="enter files"))
"""Who may do what. `permissions`, words as `model.permission` has them, since version 7.

A program of an earlier version takes each row for a right to enter. So one that permits no entering has a
`!` before its environment, where such a program finds no environment that matches (see `people`).
"""

watch_rules = _rules("watch_rules")
"""Since version 4; empty since version 7, whose grants say who may watch. Programs before it read it."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", _name(32), primary_key=True),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("identity", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("way", String(16), nullable=False),
    Column("instance", _name(128), nullable=False),
    Column("end", String(32)),
    Column("sent", _count(), nullable=False),
    Column("received", _count(), nullable=False),
    Column("last_active_at", Float),
    Column("close_requested_at", Float),
    Column("close_reason", Text),
    # Each B-tree that an insert touches is a page of the log to write and checksum at each commit.
    Index(
        "sessions_open",
        "instance",
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
    sqlite_with_rowid=False,
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", _count(), primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("instance", _name(128), nullable=False),
    Column("session", _name(32)),
    Column("identity", Text),
    Column("target", Text),
    Column("source", Text),
    Column("way", String(16)),
    Column("reason", String(64)),
    Column("fields", Text, nullable=False),
    Index("audit_events_by_session", "session"),
    sqlite_autoincrement=True,
)
"""`seq` is the order in which events became durable; followers of the audit read on from it."""


instances = Table(
    "instances",
    metadata,
    Column("id", _name(128), primary_key=True),
    Column("beats", _count(), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("marks", Text, nullable=False),
)
"""Worker processes that use a store which machines share; see `liveness`. Since version 2.

`marks` is JSON: by its name, what all of them should have the same of.
"""

web_passes = Table(
    "web_passes",
    metadata,
    Column("secret_hash", LargeBinary(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    _user(),
    Column("method", String(16), nullable=False),
    Column("credential_id", Text),
    Column("scopes", Text),
    Column("password_mark", LargeBinary(32)),
    Column("target", Text),
    Column("expires_at", Float, nullable=False),
    Column("sign_in", LargeBinary(32)),
    Column("latest_end", Float),
    Column("renewed_at", Float),
    Column("opened_at", Float),
    Column("source", Text),
    Column("end_reason", Text),
    Column("key_fingerprint", _name(64)),
    Column("label", Text),
    Column("public_key", Text),
    Index("web_passes_by_expiry", "expires_at"),
    Index("web_passes_by_key", "key_fingerprint"),
)
"""See `passes`. Since version 3; `sign_in`, the session that a ticket comes from, since version 5;
`latest_end`, up to which use moves the end of a session, `renewed_at`, when it did so last, `opened_at`,
`source`, the address that it was opened from, and `end_reason`, what the person is told where somebody else
ended it, since version 7; `key_fingerprint`, the key that a login is bound to, and `label`, what its machine
is called, since version 8; `public_key`, that key whole, since version 9."""

provider_answers = Table(
    "provider_answers",
    metadata,
    Column(
        "sign_in",
        ForeignKey("web_passes.secret_hash", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("provider", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("session_id", Text),
    Column("auth_time", Float),
    Column("answered_at", Float, nullable=False),
    Column("refresh_token", Text),
    Column("ask_at", Float),
    Column("failures", Integer, nullable=False),
    Column("follows", LargeBinary(32)),
    Index("provider_answers_by_time", "ask_at"),
    Index("provider_answers_by_subject", "issuer", "subject"),
)
"""What an identity provider said of a session that lasts; see `answers`. Since version 7. `refresh_token` is
sealed. `ask_at` is when whoever comes first asks again. `follows`, the sign-in whose row has the token that
answers for this one as well, since version 8."""

logout_tokens = Table(
    "logout_tokens",
    metadata,
    Column("id", LargeBinary(32), primary_key=True),
    Column("expires_at", Float, nullable=False),
)
"""Those that were used, so that none is used twice. Since version 7."""

pending_logins = Table(
    "pending_logins",
    metadata,
    Column("id", _name(32), primary_key=True),
    Column("challenge", LargeBinary(32)),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", _name(64), nullable=False),
    Column("letters_hash", LargeBinary(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("port", Integer),
    Column("wanted_user", Text),
    Column("created_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("sign_in", LargeBinary(32)),
    Column("code_hash", LargeBinary(32)),
    Index("pending_logins_by_end", "ends_at"),
)
"""See `model.pending_login`. Since version 8."""

shares = Table(
    "shares",
    metadata,
    Column("id", _name(16), primary_key=True),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    _user(),
    Column("method", String(16), nullable=False),
    Column("credential_id", Text),
    Column("scopes", Text),
    Column("password_mark", LargeBinary(32)),
    Column("target", Text, nullable=False),
    Column("terminal", String(64), nullable=False),
    Column("typing", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("shares_by_user", "user_name"),
)
"""See `shares`. Since version 4."""

visits = Table(
    "visits",
    metadata,
    Column("session", _name(32), primary_key=True),
    Column("target", Text, nullable=False),
    Column("terminal", String(64), nullable=False),
    Column("looks", Integer, nullable=False),
    Column("share", _name(16)),
)
"""See `visits`. Since version 4; `share`, by which a guest came, since version 6. Only what belongs to an
open session counts."""


policy_changes = Table(
    "policy_changes",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("part", String(16), primary_key=True),
    Column("name", _name(128), primary_key=True),
    sqlite_with_rowid=False,
)
"""See `changes`. Since version 6."""


def check(connection: Connection, hint: str = "name another") -> int:
    """The version of the tables that are there, fit for this program; 0 for an empty store.

    Raises StoreError for a store of a newer program that this one would harm, and for a database
    that is somebody else's; `hint` then says what to do.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        return 0
    if "meta" not in names:
        raise StoreError(f"it is a database, but not Stagedoor's; {hint}")
    found = {row.name: row.value for row in connection.execute(select(meta))}
    if "schema_version" not in found:
        raise StoreError(f"it is a database, but not Stagedoor's; {hint}")
    if found.get("compatible_version", 0) > SCHEMA_VERSION:
        raise StoreError(
            f"it was written by a newer Stagedoor (schema {found['schema_version']}, usable from "
            f"schema {found['compatible_version']} on; this program has {SCHEMA_VERSION}); "
            "upgrade Stagedoor"
        )
    return int(found["schema_version"])


def bring_up(connection: Connection, found: int) -> None:
    """Make the tables, or bring those of version `found` up to ours, in the transaction given.

    A new store goes through the same steps as an old one, so there is one way to each version.
    Other processes, of this program or an older one, may use the store meanwhile.
    """
    for version in range(found + 1, SCHEMA_VERSION + 1):
        for statement in _steps(version, connection.dialect.name):
            connection.exec_driver_sql(statement)
    if found < SCHEMA_VERSION:
        connection.execute(
            update(meta).where(meta.c.name == "schema_version").values(value=SCHEMA_VERSION)
        )


def _steps(version: int, dialect: str) -> list[str]:
    """The statements that make `version` of the version before it."""
    file = files("stagedoor.store") / "migrations" / f"{version:04}.{dialect}.sql"
    return [part for part in file.read_text(encoding="ascii").split(";\n") if part.strip()]
