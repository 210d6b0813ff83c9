"""The tables, and the two versions that tell whether this program may use a store.

As Synapse does it: `schema_version` is the shape the tables have; `compatible_version` is the
oldest program that may still read and write them. A change that old programs survive raises only
the first; a step that they do not survive writes the second into `meta`.

The steps from each version to the next are in `migrations/VERSION.DIALECT.sql`: literal SQL, since a step
that were made from the tables below would change whenever they do. A released step is never edited. To change
a table, change it below, raise SCHEMA_VERSION, add its step for both dialects, and put what it starts from
into `tests/store/released/`.
"""

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
from stagedoor.store.columns import metadata, owner, text_key, whole_number
from stagedoor.store.sign_in.tables import (
    certified_sign_ins,
    logout_tokens,
    passkey_challenges,
    passkeys,
    pending_logins,
    provider_answers,
    step_ups,
    web_passes,
)

__all__ = [
    "certified_sign_ins",
    "logout_tokens",
    "metadata",
    "passkey_challenges",
    "passkeys",
    "pending_logins",
    "provider_answers",
    "step_ups",
    "web_passes",
]

SCHEMA_VERSION = 14

meta = Table(
    "meta",
    metadata,
    Column("name", text_key(64), primary_key=True),
    Column("value", whole_number(), nullable=False),
)
"""Versions and counters: `policy_version` and `close_version` tell workers that there is news. 64 bits since
version 11."""

users = Table(
    "users",
    metadata,
    Column("name", text_key(64), primary_key=True),
    Column("password_hash", Text),
    Column("created_at", Float, nullable=False),
    Column("sign_in_again_at", Float),
    Column("disabled_at", Float),
)
"""`sign_in_again_at`, after which the person must have proved themselves at their identity provider, since an
administrator ended a sign-in of theirs then; `disabled_at`, since when nobody gets in as this user: since
version 11. Programs that do not know it let them in."""


user_groups = Table(
    "user_groups",
    metadata,
    Column(
        "user_name", ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("group_name", text_key(64), primary_key=True),
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    owner(),
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
    Column("group_name", text_key(64), primary_key=True),
)
"""Groups that an identity provider put a user in, apart from those given here. Since version 7."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", text_key(32), primary_key=True),
    owner(),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", Text),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    Index("tokens_by_user", "user_name"),
)

keys = Table(
    "keys",
    metadata,
    Column("fingerprint", text_key(64), primary_key=True),
    owner(),
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
    sqlite_autoincrement=True,  # a removed grant's number is named in the audit: never again used
)
"""Who may do what. `permissions`: words as `model.permission` has them, since version 7."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", text_key(32), primary_key=True),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("identity", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("way", String(16), nullable=False),
    Column("instance", text_key(128), nullable=False),
    Column("end", String(32)),
    Column("sent", whole_number(), nullable=False),
    Column("received", whole_number(), nullable=False),
    Column("last_active_at", Float),
    Column("close_requested_at", Float),
    Column("close_reason", Text),
    # Each B-tree that an insert touches is a page of the log to write and checksum at each commit.
    # With a `postgresql_where`, which is the same, each command would load PostgreSQL's dialect: 80 ms.
    Index("sessions_open", "instance", sqlite_where=text("closed_at IS NULL")),
    sqlite_with_rowid=False,
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", whole_number(), primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("instance", text_key(128), nullable=False),
    Column("session", text_key(32)),
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
    Column("id", text_key(128), primary_key=True),
    Column("beats", whole_number(), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("marks", Text, nullable=False),
)
"""Worker processes that use a store which machines share; see `liveness`. Since version 2.

`marks` is JSON: by its name, what all of them should have the same of.
"""

shares = Table(
    "shares",
    metadata,
    Column("id", text_key(16), primary_key=True),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    owner(),
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
    Column("session", text_key(32), primary_key=True),
    Column("target", Text, nullable=False),
    Column("terminal", String(64), nullable=False),
    Column("looks", Integer, nullable=False),
    Column("share", text_key(16)),
)
"""See `visits`. Since version 4; `share`, by which a guest came, since version 6. Only what belongs to an
open session counts."""


policy_changes = Table(
    "policy_changes",
    metadata,
    Column("version", whole_number(), primary_key=True),
    Column("part", String(16), primary_key=True),
    Column("name", text_key(128), primary_key=True),
    sqlite_with_rowid=False,
)
"""See `changes`. Since version 6; 64 bits since version 11."""


class UnknownStoreError(StoreError):
    """It is somebody else's database, or one whose tables another process is rewriting."""


def check(connection: Connection, hint: str = "name another") -> int:
    """The version of the tables that are there, fit for this program; 0 for an empty store.

    Raises StoreError for a store of a newer program that this one would harm, and for a database
    that is somebody else's; `hint` then says what to do.
    """
    names = set(inspect(connection).get_table_names())
    if not names:
        return 0
    if "meta" not in names:
        raise UnknownStoreError(f"it is a database, but not Stagedoor's; {hint}")
    found = {row.name: row.value for row in connection.execute(select(meta))}
    if "schema_version" not in found:
        raise UnknownStoreError(f"it is a database, but not Stagedoor's; {hint}")
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
