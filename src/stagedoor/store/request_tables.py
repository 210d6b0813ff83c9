"""The tables of request rules, access requests and the decisions on them. Since version 15.

They are separate from `grants`, so that an older program on the same store grants nothing on request.
"""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, String, Table, Text

from stagedoor.store.columns import make_set_columns, make_text_key_type, metadata

request_rules = Table(
    "request_rules",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(80), nullable=False),
    Column("app_pattern", String(128), nullable=False),
    Column("environment_pattern", String(128), nullable=False),
    Column("permissions", Text, nullable=False),
    Column("longest_s", Float, nullable=False),
    Column("approvers", Text, nullable=False),
    Column("approvals", Integer, nullable=False),
    Column("reason_pattern", Text, nullable=False),
    Column("break_glass", Integer, nullable=False),
    Column("step_up", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    *make_set_columns(),
    Column("hours", String(128)),
    Column("later_approvers", Text),
    Column("later_s", Float),
    sqlite_autoincrement=True,  # requests refer to rules by number, so no number is reused
)

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_name", make_text_key_type(64), nullable=False),
    Column("targets", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    Column("rule", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lasts_s", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("accounts", Text, nullable=False),
    Column("break_glass", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("began_at", Float),
    Column("reviewed_by", make_text_key_type(64)),
    Column("starts_at", Float),
    Index("access_requests_by_state", "state"),
    Index("access_requests_by_user", "user_name"),
    sqlite_autoincrement=True,  # people and the audit refer to requests by number
)
"""A user's name stays in the history when the user is removed, so it refers to no other table."""

request_decisions = Table(
    "request_decisions",
    metadata,
    Column(
        "request",
        ForeignKey("access_requests.id", ondelete="CASCADE"),
        primary_key=True,
        nullable=False,
    ),
    Column("approver", make_text_key_type(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("is_yes", Integer, nullable=False),
    Column("lasts_s", Float),
    Column("note", Text, nullable=False),
)
