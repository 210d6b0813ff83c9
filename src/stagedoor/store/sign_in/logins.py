"""Sign-ins of machines and keys: each is bound to a key, and made from the sign-in that approved it."""

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

_REPLACED = "another login was made with the key of this one; log in again"


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
    """Create a sign-in bound to the key, and return it with its secret. Call this in a policy change.

    It lasts at most as long as the sign-in `approved_by` may last (`web.session_max_s`), and ends when the
    identity provider of that sign-in ends it; signing out in the browser does not end it. Other sign-ins with
    the same key end. It expires `session_s` seconds after its last use. Raises NotFoundError if `approved_by`
    is over, RefusedError if the user is disabled.
    """
    approver = transaction.execute(
        select(web_passes).where(
            web_passes.c.secret_hash == approved_by,
            web_passes.c.kind == PassKind.SESSION.value,
            web_passes.c.expires_at > now,
        )
    ).first()
    if approver is None:
        raise NotFoundError(
            "the sign-in that approved this login is over; sign in and approve again"
        )
    people.require_enabled(transaction, approver.user_name)
    latest = approver.expires_at if approver.latest_end is None else approver.latest_end
    web_pass = WebPass(
        PassKind.LOGIN,
        approver.user_name,
        Method(approver.method),
        min(now + session_s, latest),
        approver.credential_id,
        None if approver.scopes is None else tuple(approver.scopes.split()),
        approver.password_mark,
        latest_end=latest,
        opened_at=now,
        source=source,
        key_fingerprint=key_fingerprint,
        label=label,
        public_key=public_key,
    )
    secret, id_ = _bind(transaction, web_pass, key_fingerprint, now)
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
    """Create a sign-in for a machine with its own token, bound to the key, and return it with its secret.

    Use does not move its end. Expired sign-ins of machines are removed. Call this in a policy change. Raises
    NotFoundError if the user is unknown, RefusedError if the user is disabled.
    """
    people.require_user(transaction, user)
    people.require_enabled(transaction, user)
    expired = delete(web_passes).where(
        web_passes.c.kind == PassKind.LOGIN.value,
        web_passes.c.method == Method.MACHINE.value,
        web_passes.c.expires_at <= now,
    )
    removed = transaction.execute(expired.returning(web_passes.c.key_fingerprint)).scalars().all()
    touch(transaction, Part.BOUND_KEYS, removed)
    web_pass = WebPass(
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
    secret, id_ = _bind(transaction, web_pass, key_fingerprint, now)
    return secret, passes.read(transaction, id_)


def _bind(
    transaction: Transaction, web_pass: WebPass, key_fingerprint: str, now: float
) -> tuple[str, bytes]:
    """Store a new sign-in, end others with the same key, and return its secret and id."""
    for bound in _ids(transaction, web_passes.c.key_fingerprint == key_fingerprint, now):
        passes.end(transaction, bound, _REPLACED, now)
    secret = LOGIN_SECRET + secrets.token_urlsafe(passes.SECRET_BYTES)
    id_ = passes.keep(transaction, web_pass, secret)
    touch(transaction, Part.BOUND_KEYS, [key_fingerprint])
    return secret, id_


def read_bound_keys(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, WebPass]:
    """Return the logins by the fingerprints of their keys, for `bound_keys` of the policy.

    With `only`, just those with these fingerprints.
    """
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
    """Return the active login that is bound to the key (`SHA256:…`), or None. Raises StoreError."""
    return _read_newest(database, web_passes.c.key_fingerprint == fingerprint, now)


def sign_in_numbered(database: Database, number: int, now: float) -> WebPass | None:
    """Return the active sign-in with that number (`model.identity.SignIn.number`), or None.

    Raises StoreError.
    """
    if not 0 <= number < 2**63:
        return None
    first, last = ((number << 1 | bit).to_bytes(8) for bit in (0, 1))
    # A single range of the primary key.
    return _read_newest(
        database, web_passes.c.secret_hash.between(first + bytes(24), last + b"\xff" * 24), now
    )


def _read_newest(database: Database, condition: ColumnElement[bool], now: float) -> WebPass | None:
    with database.read() as transaction:
        ids = _ids(transaction, condition, now)
        return passes.read(transaction, ids[0]) if ids else None


def _ids(transaction: Transaction, condition: ColumnElement[bool], now: float) -> list[bytes]:
    """Return the ids of the active sign-ins that match, the newest first."""
    query = (
        select(web_passes.c.secret_hash)
        .where(condition, web_passes.c.kind.in_(SIGN_INS), web_passes.c.expires_at > now)
        .order_by(web_passes.c.opened_at.desc())
    )
    return [bytes(id_) for id_ in transaction.execute(query).scalars()]
