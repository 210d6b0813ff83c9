"""Passes of the web: one row each, under the hash of a secret that is not kept."""

import hashlib
import secrets
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select

from stagedoor.model.identity import Method
from stagedoor.model.webpass import PassKind, WebPass
from stagedoor.store.database import Database
from stagedoor.store.schema import web_passes

SECRET_BYTES = 32


def issue(database: Database, given: WebPass, now: float) -> str:
    """Keep a pass, and return its secret. What has expired is thrown away with it. StoreError."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with database.write() as transaction:
        transaction.execute(delete(web_passes).where(web_passes.c.expires_at <= now))
        transaction.execute(
            insert(web_passes).values(
                secret_hash=_hash(secret),
                kind=given.kind.value,
                user_name=given.name,
                method=given.method.value,
                credential_id=given.credential_id,
                scopes=None if given.scopes is None else " ".join(given.scopes),
                password_mark=given.password_mark,
                target=given.target,
                expires_at=given.expires_at,
            )
        )
    return secret


def find(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """The pass of that kind with that secret, expired or not. Raises StoreError."""
    with database.read() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
    return None if row is None else _pass(row)


def use_up(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """The same, and nobody finds it again: of several who try at once, one gets it. StoreError."""
    with database.write() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
        if row is None:
            return None
        gone = transaction.execute(delete(web_passes).where(*_named(kind, secret)))
        return _pass(row) if gone.rowcount == 1 else None


def _named(kind: PassKind, secret: str) -> tuple[ColumnElement[bool], ...]:
    return (web_passes.c.secret_hash == _hash(secret), web_passes.c.kind == kind.value)


def _hash(secret: str) -> bytes:
    # The secret is 256 random bits: there is nothing to guess, so a slow hash would add nothing.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _pass(row: Row[Any]) -> WebPass:
    return WebPass(
        PassKind(row.kind),
        row.user_name,
        Method(row.method),
        row.expires_at,
        row.credential_id,
        None if row.scopes is None else tuple(row.scopes.split()),
        row.password_mark,
        row.target,
    )
