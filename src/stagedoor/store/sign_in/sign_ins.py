"""Listing the active sign-ins of browsers and machines."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from stagedoor.model.identity import Method
from stagedoor.model.webpass import SIGN_INS, password_mark
from stagedoor.store.database import Database
from stagedoor.store.schema import keys, provider_answers, tokens, users, web_passes


@dataclass(frozen=True, slots=True)
class SignInRecord:
    """An active sign-in.

    `id` is 64 hexadecimal digits, and no secret. `credential` names the token, the key or the identity
    provider. `key_fingerprint` is that of a machine's key, None for a browser. `label` names the machine or
    the browser. `opened_at` and `source` are None for a sign-in of an older program. `answered_at` is when
    the provider last confirmed the sign-in, None if no provider is asked; `failure` is its later answer that
    did not confirm it, or why no answer came, at `failed_at`. Times are seconds since the epoch.
    """

    id: str
    user: str
    method: str
    credential: str | None
    source: str | None
    opened_at: float | None
    ends_at: float
    answered_at: float | None
    key_fingerprint: str | None = None
    label: str | None = None
    failure: str | None = None
    failed_at: float | None = None


def list_sign_ins(database: Database, now: float, user: str | None = None) -> list[SignInRecord]:
    """List the active sign-ins of all users or of `user`, by user and end. Raises StoreError.

    A sign-in is left out if its password was changed, or its token or key was removed.
    """
    query = (
        select(
            web_passes,
            provider_answers.c.answered_at,
            provider_answers.c.failure,
            provider_answers.c.failed_at,
            users.c.password_hash,
            tokens.c.id.label("token"),
            keys.c.fingerprint.label("key"),
        )
        .join(users, users.c.name == web_passes.c.user_name)
        .outerjoin(tokens, tokens.c.id == web_passes.c.credential_id)
        .outerjoin(keys, keys.c.fingerprint == web_passes.c.credential_id)
        .outerjoin(provider_answers, provider_answers.c.sign_in == web_passes.c.secret_hash)
        .where(web_passes.c.kind.in_(SIGN_INS), web_passes.c.expires_at > now)
        .order_by(web_passes.c.user_name, web_passes.c.expires_at)
    )
    if user is not None:
        query = query.where(web_passes.c.user_name == user)
    with database.read() as transaction:
        return [
            SignInRecord(
                bytes(row.secret_hash).hex(),
                row.user_name,
                row.method,
                row.credential_id,
                row.source,
                row.opened_at,
                row.expires_at,
                row.answered_at,
                row.key_fingerprint,
                row.label,
                row.failure,
                row.failed_at,
            )
            for row in transaction.execute(query)
            if _is_credential_valid(row)
        ]


def _is_credential_valid(row: Row[Any]) -> bool:
    """Return whether the credential that opened the sign-in is unchanged (`authn.passes.identity_of`)."""
    match Method(row.method):
        case Method.PASSWORD:
            return bytes(row.password_mark or b"") == (password_mark(row.password_hash) or b"")
        case Method.TOKEN:
            return row.token is not None
        case Method.PUBLIC_KEY:
            return row.key is not None
    return True
