"""The tables of roles and of the API's answers. Since version 18."""

from sqlalchemy import Column, Float, Integer, LargeBinary, String, Table

from stagedoor.store.columns import make_text_key_type, metadata

roles = Table(
    "roles",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(80), nullable=False),
    Column("role", String(16), nullable=False),
    Column("app_pattern", String(128), nullable=False),
    Column("environment_pattern", String(128), nullable=False),
    Column("expires_at", Float),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,  # the audit refers to removed rules by number, so no number is reused
)
"""They are apart from `grants`, so that an older program on the same store gives nothing by them."""

api_answers = Table(
    "api_answers",
    metadata,
    Column("key", make_text_key_type(64), primary_key=True),
    Column("request", LargeBinary(32), nullable=False),
    Column("at", Float, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
)
"""The answers to requests with an Idempotency-Key. `key` is a digest of the user and the key, `request` one
of what was sent. `status` is NULL until the request was answered."""
