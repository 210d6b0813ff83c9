"""Listing the active sign-ins of browsers and machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, or_, select

from stagedoor.model.identity import Method
from stagedoor.model.webpass import KeyLogin, SignInPass, hash_password_mark
from stagedoor.store.database import Database
from stagedoor.store.schema import keys, tokens, users
from stagedoor.store.sign_in.rows import pass_of_row
from stagedoor.store.sign_in.tables import SIGN_INS, provider_answers, web_passes


@dataclass(frozen=True, slots=True)
class SignInRecord:
    """An active sign-in, with the failure of its identity provider.

    `sign_in` has when the provider last confirmed the sign-in, even if it cannot be asked again. `failure` is
    its later answer that did not confirm it, or why no answer came, at `failed_at` (seconds since the epoch).
    """

    sign_in: SignInPass
    failure: str | None = None
    failed_at: float | None = None

    @property
    def id(self) -> str:
        """The id in 64 hexadecimal digits, which is no secret."""
        return self.sign_in.id.hex()

    @property
    def key_fingerprint(self) -> str | None:
        """The fingerprint of a machine's key, None for a browser."""
        return self.sign_in.key_fingerprint if isinstance(self.sign_in, KeyLogin) else None


def list_sign_ins(database: Database, now: float, user: str | None = None) -> list[SignInRecord]:
    """List the active sign-ins of all users or of `user`, by user and end. Raises StoreError.

    A sign-in is left out if its password was changed, or its token or key was removed.
    """
    query = _select_sign_ins(now).order_by(web_passes.c.user_name, web_passes.c.expires_at)
    if user is not None:
        query = query.where(web_passes.c.user_name == user)
    with database.read() as transaction:
        return _list_valid(transaction.execute(query).all())


def search_sign_ins(
    database: Database, now: float, part: str, after: tuple[str, str] | None, limit: int
) -> tuple[list[SignInRecord], tuple[str, str] | None]:
    """Return a page of the active sign-ins whose user, label or address has `part`, by user and id.

    They come after the user and id `after`. The second value is the `after` of the next page, None at the
    end. Raises StoreError.
    """
    columns = web_passes.c
    texts = (columns.user_name, columns.label, columns.source)
    query = _select_sign_ins(now).order_by(columns.user_name, columns.secret_hash).limit(limit + 1)
    if part:
        query = query.where(or_(*(text.contains(part, autoescape=True) for text in texts)))
    if after is not None:
        name, id_ = after[0], bytes.fromhex(after[1])
        is_later = (columns.user_name == name) & (columns.secret_hash > id_)
        query = query.where((columns.user_name > name) | is_later)
    with database.read() as transaction:
        rows = transaction.execute(query).all()
    if len(rows) <= limit:
        return _list_valid(rows), None
    last = rows[limit - 1]
    return _list_valid(rows[:limit]), (last.user_name, bytes(last.secret_hash).hex())


def _select_sign_ins(now: float) -> Select[Any]:
    credential, user = web_passes.c.credential_id, web_passes.c.user_name
    return (
        select(
            web_passes,
            provider_answers.c.answered_at,
            provider_answers.c.failure,
            provider_answers.c.failed_at,
            users.c.password_hash,
            tokens.c.id.label("token"),
            keys.c.fingerprint.label("key"),
        )
        .join(users, users.c.name == user)
        .outerjoin(tokens, (tokens.c.id == credential) & (tokens.c.user_name == user))
        .outerjoin(keys, (keys.c.fingerprint == credential) & (keys.c.user_name == user))
        .outerjoin(provider_answers, provider_answers.c.sign_in == web_passes.c.secret_hash)
        .where(web_passes.c.kind.in_(SIGN_INS), web_passes.c.expires_at > now)
    )


def _list_valid(rows: Sequence[Row[Any]]) -> list[SignInRecord]:
    """Return the sign-ins whose credential is unchanged."""
    return [
        SignInRecord(sign_in, row.failure, row.failed_at)
        for row in rows
        if isinstance(sign_in := pass_of_row(row), SignInPass)
        and _is_credential_valid(sign_in, row)
    ]


def _is_credential_valid(sign_in: SignInPass, row: Row[Any]) -> bool:
    """Return whether the credential that opened the sign-in is unchanged (`authn.passes.judge_pass`)."""
    match sign_in.method:
        case Method.PASSWORD:
            return sign_in.password_mark == hash_password_mark(row.password_hash)
        case Method.TOKEN:
            return row.token is not None
        case Method.PUBLIC_KEY:
            return row.key is not None
    return True
