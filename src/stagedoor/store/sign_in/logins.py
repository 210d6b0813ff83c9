"""Sign-ins of machines and keys: made of the sign-in of the person who approved, and bound to a key."""

import secrets
from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, select

from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method, SignIn
from stagedoor.model.webpass import LOGIN_SECRET, SIGN_INS, PassKind, WebPass
from stagedoor.store import people
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import web_passes
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import provider_answers as answers

_BEFORE = "another login was made with the key of this one; log in again"


def open_login(
    transaction: Transaction,
    approved_by: bytes,
    *,
    key_fingerprint: str,
    public_key: str,
    label: str,
    source: str,
    session_s: float,
    now: float,
) -> tuple[str, WebPass]:
    """A new sign-in, bound to the key, and its secret. Runs in a policy change.

    It ends no later than the one that approved may last (`web.session_max_s`), and with the identity provider
    that speaks for that one; a browser's signing out does not end it. Others of the same key end. `session_s`
    is for how long it is good without being used. Raises NotFoundError where `approved_by` is over,
    RefusedError for a user who is disabled.
    """
    by = transaction.execute(
        select(web_passes).where(
            web_passes.c.secret_hash == approved_by,
            web_passes.c.kind == PassKind.SESSION.value,
            web_passes.c.expires_at > now,
        )
    ).first()
    if by is None:
        raise NotFoundError(
            "the sign-in that approved this login is over; sign in and approve again"
        )
    people.require_enabled(transaction, by.user_name)
    latest = by.expires_at if by.latest_end is None else by.latest_end
    given = WebPass(
        PassKind.LOGIN,
        by.user_name,
        Method(by.method),
        min(now + session_s, latest),
        by.credential_id,
        None if by.scopes is None else tuple(by.scopes.split()),
        by.password_mark,
        latest_end=latest,
        opened_at=now,
        source=source,
        key_fingerprint=key_fingerprint,
        label=label,
        public_key=public_key,
    )
    secret, id_ = _bind(transaction, given, key_fingerprint, now)
    answers.follow(transaction, approved_by, id_)
    return secret, passes.read(transaction, id_)


def open_machine_login(
    transaction: Transaction,
    user: str,
    *,
    rule: str,
    key_fingerprint: str,
    public_key: str,
    label: str,
    source: str,
    ends_at: float,
    now: float,
) -> tuple[str, WebPass]:
    """The sign-in of a machine that showed a token of its own, bound to the key, and its secret; use does not
    move its end. What has expired of other machines is thrown away. Runs in a policy change.

    Raises NotFoundError without the user, RefusedError for one who is disabled.
    """
    people.require_user(transaction, user)
    people.require_enabled(transaction, user)
    over = delete(web_passes).where(
        web_passes.c.kind == PassKind.LOGIN.value,
        web_passes.c.method == Method.MACHINE.value,
        web_passes.c.expires_at <= now,
    )
    forgotten = transaction.execute(over.returning(web_passes.c.key_fingerprint)).scalars().all()
    touch(transaction, Part.BOUND_KEYS, forgotten)
    given = WebPass(
        PassKind.LOGIN,
        user,
        Method.MACHINE,
        ends_at,
        rule,
        opened_at=now,
        source=source,
        key_fingerprint=key_fingerprint,
        label=label,
        public_key=public_key,
    )
    secret, id_ = _bind(transaction, given, key_fingerprint, now)
    return secret, passes.read(transaction, id_)


def _bind(
    transaction: Transaction, given: WebPass, key_fingerprint: str, now: float
) -> tuple[str, bytes]:
    """The secret and the id of a new sign-in; others of its key end."""
    for bound in _ids(transaction, web_passes.c.key_fingerprint == key_fingerprint, now):
        passes.end(transaction, bound, _BEFORE, now)
    secret = LOGIN_SECRET + secrets.token_urlsafe(passes.SECRET_BYTES)
    id_ = passes.keep(transaction, given, secret)
    touch(transaction, Part.BOUND_KEYS, [key_fingerprint])
    return secret, id_


def read_bound_keys(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, WebPass]:
    """The logins by the fingerprint of their keys, of those named if some are: `bound_keys` of the policy."""
    query = select(web_passes).where(web_passes.c.kind == PassKind.LOGIN.value)
    if only is not None:
        query = query.where(web_passes.c.key_fingerprint.in_(only))
    return {
        row.key_fingerprint: WebPass(
            PassKind.LOGIN,
            row.user_name,
            Method(row.method),
            row.expires_at,
            row.credential_id,
            None if row.scopes is None else tuple(row.scopes.split()),
            row.password_mark,
            sign_in=SignIn(bytes(row.secret_hash), row.expires_at),
            latest_end=row.latest_end,
            opened_at=row.opened_at,
            source=row.source,
            key_fingerprint=row.key_fingerprint,
            label=row.label,
            public_key=row.public_key,
        )
        for row in transaction.execute(query)
    }


def sign_in_of_key(database: Database, fingerprint: str, now: float) -> WebPass | None:
    """The login that lasts and is bound to the key (`SHA256:…`); its `sign_in` names it. StoreError."""
    return _one(database, web_passes.c.key_fingerprint == fingerprint, now)


def sign_in_numbered(database: Database, number: int, now: float) -> WebPass | None:
    """The sign-in that lasts and has that number (`model.identity.SignIn.number`). StoreError."""
    if not 0 <= number < 2**63:
        return None
    first, last = ((number << 1 | bit).to_bytes(8) for bit in (0, 1))
    # One range of the primary key.
    return _one(
        database, web_passes.c.secret_hash.between(first + bytes(24), last + b"\xff" * 24), now
    )


def _one(database: Database, condition: ColumnElement[bool], now: float) -> WebPass | None:
    with database.read() as transaction:
        ids = _ids(transaction, condition, now)
        return passes.read(transaction, ids[0]) if ids else None


def _ids(transaction: Transaction, condition: ColumnElement[bool], now: float) -> list[bytes]:
    """The newest first."""
    query = (
        select(web_passes.c.secret_hash)
        .where(condition, web_passes.c.kind.in_(SIGN_INS), web_passes.c.expires_at > now)
        .order_by(web_passes.c.opened_at.desc())
    )
    return [bytes(one) for one in transaction.execute(query).scalars()]
