"""The tables, and the two versions that decide whether this program may use a store.

As in Synapse, `schema_version` is the version of the tables, and `compatible_version` that of the oldest
program that may still read and write them. A change that older programs tolerate raises only the first. A
step that they do not tolerate also writes the second into `meta`.

The steps from each version to the next are in `migrations/VERSION.DIALECT.sql`. They are literal SQL, because
a step generated from the tables below would change with them. A released step is never edited. To change a
table, change it below, raise SCHEMA_VERSION, add its step for both dialects, and put a store of that version
into `tests/store/released/`, in place of the one before unless a release had that.
"""

import re
from importlib.resources import files

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
    update,
)

from stagedoor.model.errors import StoreError
from stagedoor.store import request_tables
from stagedoor.store.administration import tables as administration_tables
from stagedoor.store.columns import (
    make_integer_type,
    make_owner_column,
    make_set_columns,
    make_text_key_type,
    metadata,
)
from stagedoor.store.sign_in import tables as sign_in_tables

__all__ = ["administration_tables", "metadata", "request_tables", "sign_in_tables"]

SCHEMA_VERSION = 23
_COMPATIBLE = re.compile(r"SET value = (\d+) WHERE name = 'compatible_version'")

meta = Table(
    "meta",
    metadata,
    Column("name", make_text_key_type(64), primary_key=True),
    Column("value", make_integer_type(), nullable=False),
)
"""Versions and counters: workers watch `policy_version` and `close_version` for changes. 64 bits since
version 11."""

users = Table(
    "users",
    metadata,
    Column("name", make_text_key_type(64), primary_key=True),
    Column("password_hash", Text),
    Column("created_at", Float, nullable=False),
    Column("sign_in_again_at", Float),
    Column("disabled_at", Float),
    Column("language", Text),
    *make_set_columns(),
)
"""Since version 11: `sign_in_again_at`, when an administrator ended a sign-in, so that the user must have
proved who they are at their identity provider after it; `disabled_at`, since when all logins as this user
are refused. Older programs do not know it, and accept such logins. Since version 18:
`language`, the one that the user has chosen (RFC 5646)."""


user_groups = Table(
    "user_groups",
    metadata,
    Column(
        "user_name", ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("group_name", make_text_key_type(64), primary_key=True),
    *make_set_columns(),
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    make_owner_column(),
    Column("created_at", Float, nullable=False),
    Index("identities_by_user", "user_name"),
)
"""The accounts of users at identity providers: an issuer and its `sub`, which never change. Since version
7."""

provided_groups = Table(
    "provided_groups",
    metadata,
    Column(
        "user_name", ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("group_name", make_text_key_type(64), primary_key=True),
)
"""The groups that identity providers put users in, apart from those in `user_groups`. Since version 7."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", make_text_key_type(32), primary_key=True),
    make_owner_column(),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", Text),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Index("tokens_by_user", "user_name"),
)

keys = Table(
    "keys",
    metadata,
    Column("fingerprint", make_text_key_type(64), primary_key=True),
    make_owner_column(),
    Column("public_key", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("keys_by_user", "user_name"),
)


grants = Table(
    "grants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(80), nullable=False),
    Column("app_pattern", String(128), nullable=False),
    Column("environment_pattern", String(128), nullable=False),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Column("permissions", Text, nullable=False, server_default="enter files"),
    Column("resume_s", Float),
    *make_set_columns(),
    sqlite_autoincrement=True,  # the audit refers to removed grants by number, so no number is reused
)
"""The grants. `permissions` are words as in `model.permission`, since version 7; `resume_s`, how long a
session waits for its client, since version 17: older programs let it wait for `tunnel.resume_s`."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", make_text_key_type(32), primary_key=True),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("identity", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("way", String(16), nullable=False),
    Column("instance", make_text_key_type(128), nullable=False),
    Column("end", String(32)),
    Column("sent", make_integer_type(), nullable=False),
    Column("received", make_integer_type(), nullable=False),
    Column("last_active_at", Float),
    Column("close_requested_at", Float),
    Column("close_reason", Text),
    # Each B-tree that an insert touches costs a page of the log to write and checksum at each commit.
    # No `postgresql_where`: it would make every command load PostgreSQL's dialect, which takes 80 ms.
    Index("sessions_open", "instance", sqlite_where=text("closed_at IS NULL")),
    sqlite_with_rowid=False,
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", make_integer_type(), primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("instance", make_text_key_type(128), nullable=False),
    Column("session", make_text_key_type(32)),
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
    Column("id", make_text_key_type(128), primary_key=True),
    Column("beats", make_integer_type(), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("marks", Text, nullable=False),
)
"""The worker processes that use a store shared by machines; see `liveness`. Since version 2.

`marks` is JSON: the values, by name, that should be the same in all processes.
"""

shares = Table(
    "shares",
    metadata,
    Column("id", make_text_key_type(16), primary_key=True),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    make_owner_column(),
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
    Column("session", make_text_key_type(32), primary_key=True),
    Column("target", Text, nullable=False),
    Column("terminal", String(64), nullable=False),
    Column("looks", Integer, nullable=False),
    Column("share", make_text_key_type(16)),
)
"""The sessions attached to terminals, see `attachments`. Since version 4; `share`, by which a guest came,
since version 6. Only rows of open sessions count."""


policy_changes = Table(
    "policy_changes",
    metadata,
    Column("version", make_integer_type(), primary_key=True),
    Column("part", String(16), primary_key=True),
    Column("name", make_text_key_type(128), primary_key=True),
    sqlite_with_rowid=False,
)
"""See `changes`. Since version 6; 64 bits since version 11."""


runs = Table(
    "runs",
    metadata,
    Column("id", make_text_key_type(16), primary_key=True),
    Column("target", Text, nullable=False),
    Column("user_name", String(64), nullable=False),
    Column("command", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("timeout_s", Integer, nullable=False),
    Column("lock_name", String(64)),
    Column("lock_key", Text, unique=True),
    Column("ended_at", Float),
    Column("code", Integer),
    Column("detail", Text, nullable=False),
    Column("size", make_integer_type(), nullable=False),
    Column("log", LargeBinary),
    Column("input", LargeBinary),
    Column("size_name", String(64)),
    Column("recording", String(32)),
)
"""See `runs`. Since version 16. `lock_key` is the target and the lock of a run that has not ended, else NULL.
A run is a record, so it stays when its user is removed. Since version 22: `input`, of a run that starts with
its whole input, empty once it has started, NULL for others; `size_name`, as in RunOrder.size;
`recording`, the id of the session that stands for a recorded run."""


class UnknownStoreError(StoreError):
    """The database is not Stagedoor's, or another process is just rewriting its tables."""


def check(connection: Connection, hint: str = "name another") -> int:
    """Return the version of the tables if this program may use them; 0 for an empty store.

    Raises StoreError for a newer program's store, which this one would damage, and UnknownStoreError for a
    database that is not Stagedoor's, with `hint` as advice.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        return 0
    if "meta" not in names:
        raise UnknownStoreError(f"it is a database, but not Stagedoor's; {hint}")
    values = {row.name: row.value for row in connection.execute(select(meta))}
    if "schema_version" not in values:
        raise UnknownStoreError(f"it is a database, but not Stagedoor's; {hint}")
    if values.get("compatible_version", 0) > SCHEMA_VERSION:
        raise StoreError(
            f"it was written by a newer Stagedoor (schema {values['schema_version']}, usable from "
            f"schema {values['compatible_version']} on; this program has {SCHEMA_VERSION}); "
            "upgrade Stagedoor"
        )
    return int(values["schema_version"])


def upgrade(connection: Connection, current: int) -> None:
    """Upgrade the tables from version `current`, 0 for an empty store, in an open transaction.

    A new store goes through the same steps as an old one, so there is only one way to each version.
    Other processes, of this program or an older one, may use the store meanwhile.
    """
    for version in range(current + 1, SCHEMA_VERSION + 1):
        for statement in _steps(version, connection.dialect.name):
            connection.exec_driver_sql(statement)
    if current < SCHEMA_VERSION:
        connection.execute(
            update(meta).where(meta.c.name == "schema_version").values(value=SCHEMA_VERSION)
        )


def find_compatible_version(current: int) -> int:
    """Return the schema that programs must know once tables of version `current` are upgraded; 0 for any.

    The steps of both dialects demand the same.
    """
    steps = (
        step
        for version in range(current + 1, SCHEMA_VERSION + 1)
        for step in _steps(version, "sqlite")
    )
    return max((int(found[1]) for step in steps if (found := _COMPATIBLE.search(step))), default=0)


def _steps(version: int, dialect: str) -> list[str]:
    """Return the statements that upgrade the previous version to `version`."""
    file = files("stagedoor.store") / "migrations" / f"{version:04}.{dialect}.sql"
    return [part for part in file.read_text(encoding="ascii").split(";\n") if part.strip()]
