"""The web's passes: one row each, under the hash of a secret that is not stored.

The row of a session that was ended early stays until the session would have expired. It shows every worker
that all that the session opened is over.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, insert, select, update

from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method, SignIn
from stagedoor.model.webpass import SIGN_INS, PassKind, ProviderAnswer, WebPass
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Database, Transaction
from stagedoor.store.schema import web_passes
from stagedoor.store.sign_in import provider_answers as answers

SECRET_BYTES = 32
_SIGNED_OUT = "signed-out"
"""The kind of a session that was ended. Its secret is no longer accepted."""
_TAKEN_AWAY = (
    "an administrator took away what you signed in by; ask them, or sign in by another way"
)
MOST_SIGNED_OUT = 100
"""The ended sessions of one user that are kept, those that would expire last: each is in every worker's
memory. One more is kept as a mark: every sign-in that expires no later than the mark is over. So a sign-out
is never forgotten."""

_EXPIRED = select(web_passes.c.kind).where(web_passes.c.expires_at <= bindparam("now")).limit(1)
"""A query for an expired pass. It runs for each terminal that is opened, and usually finds none."""


def issue(
    database: Database, web_pass: WebPass, now: float, answer: ProviderAnswer | None = None
) -> str:
    """Store a pass and return its secret. Remove the passes that have expired. Raises StoreError.

    `answer` is the identity provider's answer that opened a session.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with database.write() as transaction:
        if transaction.execute(_EXPIRED, {"now": now}).first():
            answers.hand_over_expired(transaction, now)
            transaction.execute(delete(web_passes).where(web_passes.c.expires_at <= now))
        id_ = keep(transaction, web_pass, secret)
        if answer is not None:
            answers.keep(transaction, id_, answer)
    return secret


def invite(transaction: Transaction, web_pass: WebPass) -> str:
    """Store an invitation, remove the user's earlier ones, and return its secret."""
    transaction.execute(
        delete(web_passes).where(
            web_passes.c.kind == PassKind.INVITATION.value, web_passes.c.user_name == web_pass.name
        )
    )
    secret = secrets.token_urlsafe(SECRET_BYTES)
    keep(transaction, web_pass, secret)
    return secret


def take_invitation(transaction: Transaction, secret: str) -> WebPass | None:
    """Use up an invitation and return it, or return None if it was used up already. Runs in a change."""
    row = transaction.execute(
        delete(web_passes).where(*_named(PassKind.INVITATION, secret)).returning(*web_passes.c)
    ).first()
    return None if row is None else _whole(transaction, row)


def keep(transaction: Transaction, web_pass: WebPass, secret: str) -> bytes:
    """Store the pass with that secret, and return the secret's hash, which is a sign-in's id."""
    transaction.execute(
        insert(web_passes).values(
            secret_hash=_hash(secret),
            kind=web_pass.kind.value,
            user_name=web_pass.name,
            method=web_pass.method.value,
            credential_id=web_pass.credential_id,
            scopes=None if web_pass.scopes is None else " ".join(web_pass.scopes),
            password_mark=web_pass.password_mark,
            target=web_pass.target,
            expires_at=web_pass.expires_at,
            sign_in=None if web_pass.sign_in is None else web_pass.sign_in.id,
            latest_end=web_pass.latest_end,
            opened_at=web_pass.opened_at,
            source=web_pass.source,
            key_fingerprint=web_pass.key_fingerprint,
            label=web_pass.label,
            public_key=web_pass.public_key,
        )
    )
    return _hash(secret)


def read(transaction: Transaction, id_: bytes) -> WebPass:
    """Return the pass whose secret has that hash. It must exist."""
    query = select(web_passes).where(web_passes.c.secret_hash == id_)
    return _whole(transaction, transaction.execute(query).one())


def find(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """Return the pass of that kind with that secret, expired or not, or None. Raises StoreError."""
    with database.read() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
        return None if row is None else _whole(transaction, row)


def use_up(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """Return a pass and remove it, so that only one of several simultaneous calls gets it.

    A ticket is refused once the session that it comes from is over. Raises StoreError.
    """
    # Read first: strangers who guess secrets must not take the write lock from logins.
    if find(database, kind, secret) is None:
        return None
    with database.write() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
        if row is None:
            return None
        removed = transaction.execute(delete(web_passes).where(*_named(kind, secret)))
        sign_in = _sign_in(transaction, row)
        if removed.rowcount != 1 or (row.sign_in is not None and sign_in is None):
            return None
        return _whole(transaction, row)


def sign_out(transaction: Transaction, secret: str, now: float, reason: str | None = None) -> None:
    """End a session and all that it opened, on all workers. Runs in a policy change.

    `reason` is the line for the user, None if they signed out themselves. Raises NotFoundError if no such
    session is active.
    """
    user = transaction.execute(
        update(web_passes)
        .where(*_named(PassKind.SESSION, secret), web_passes.c.expires_at > now)
        .values(kind=_SIGNED_OUT, end_reason=reason)
        .returning(web_passes.c.user_name)
    ).scalar()
    if user is None:
        raise NotFoundError("this sign-in is over already")
    _record_ends(transaction, user, [_hash(secret)])


def end(transaction: Transaction, sign_in: bytes, reason: str, now: float) -> str:
    """End a sign-in and all that it opened, and return its user's name. Runs in a policy change.

    `reason` is shown to the user. Raises NotFoundError if the sign-in is over.
    """
    user = transaction.execute(
        update(web_passes)
        .where(
            web_passes.c.secret_hash == sign_in,
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.expires_at > now,
        )
        .values(kind=_SIGNED_OUT, end_reason=reason)
        .returning(web_passes.c.user_name)
    ).scalar()
    if user is None:
        raise NotFoundError("this sign-in is over already")
    _record_ends(transaction, user, [sign_in])
    return str(user)


def end_sign_ins(transaction: Transaction, user: str, method: Method, credential_id: str) -> int:
    """End the user's sign-ins that a removed credential had opened, and return how many.

    All that they opened ends too. Runs in a policy change.
    """
    ended = transaction.execute(
        update(web_passes)
        .where(
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.user_name == user,
            web_passes.c.method == method.value,
            web_passes.c.credential_id == credential_id,
        )
        .values(kind=_SIGNED_OUT, end_reason=_TAKEN_AWAY)
        .returning(web_passes.c.secret_hash)
    ).scalars()
    hashes = list(ended)
    if hashes:
        _record_ends(transaction, user, hashes)
    return len(hashes)


def _record_ends(transaction: Transaction, user: str, ended: Sequence[bytes]) -> None:
    """Record the ended sign-ins for every worker, and remove those beyond `MOST_SIGNED_OUT` and the mark."""
    keys = select(web_passes.c.key_fingerprint).where(
        web_passes.c.secret_hash.in_(ended), web_passes.c.key_fingerprint.is_not(None)
    )
    touch(transaction, Part.BOUND_KEYS, transaction.execute(keys).scalars().all())
    answers.forget(transaction, ended)
    before = (
        select(web_passes.c.secret_hash)
        .where(web_passes.c.kind == _SIGNED_OUT, web_passes.c.user_name == user)
        .order_by(web_passes.c.expires_at.desc())
        .offset(MOST_SIGNED_OUT + 1)
    )
    surplus = delete(web_passes).where(web_passes.c.secret_hash.in_(before))
    removed = transaction.execute(surplus.returning(web_passes.c.secret_hash)).scalars().all()
    names = [bytes(id_).hex() for id_ in (*ended, *removed)]
    touch(transaction, Part.SIGNED_OUT, names)
    touch(transaction, Part.SIGN_INS_END, [user])


def renew(transaction: Transaction, secret: str, end: float, now: float) -> None:
    """Move the end of a session. Runs in a policy change. Raises NotFoundError if the session is over."""
    renew_sign_in(transaction, _hash(secret), end, now)


def renew_sign_in(transaction: Transaction, sign_in: bytes, end: float, now: float) -> None:
    """Move the end of a sign-in, given by its id. Raises NotFoundError if the sign-in is over."""
    moved = transaction.execute(
        update(web_passes)
        .where(
            web_passes.c.secret_hash == sign_in,
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.expires_at.between(now, end),
            web_passes.c.latest_end >= end,
        )
        .values(expires_at=end, renewed_at=now)
    )
    if moved.rowcount != 1:
        raise NotFoundError("this sign-in is over already")
    touch(transaction, Part.SIGN_IN_ENDS, [sign_in.hex()])


def step_up(transaction: Transaction, sign_in: bytes, now: float) -> str:
    """Store that the user of a sign-in proved their presence, and return the user's name.

    Runs in a policy change. Raises NotFoundError if the sign-in is over.
    """
    user = transaction.execute(
        update(web_passes)
        .where(
            web_passes.c.secret_hash == sign_in,
            web_passes.c.kind.in_(SIGN_INS),
            web_passes.c.expires_at > now,
        )
        .values(stepped_up_at=now)
        .returning(web_passes.c.user_name)
    ).scalar()
    if user is None:
        raise NotFoundError("this sign-in is over already")
    touch(transaction, Part.STEP_UPS, [sign_in.hex()])
    return str(user)


def read_step_ups(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """Return the times of the proofs of presence, by sign-in; with `only`, just of these sign-ins."""
    query = select(web_passes.c.secret_hash, web_passes.c.stepped_up_at).where(
        web_passes.c.kind.in_(SIGN_INS), web_passes.c.stepped_up_at.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_sign_in_ends(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """Return the ends of the sign-ins whose end was moved by use; with `only`, just of these sign-ins."""
    query = select(web_passes.c.secret_hash, web_passes.c.expires_at).where(
        web_passes.c.kind.in_(SIGN_INS), web_passes.c.renewed_at.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_signed_out(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> frozenset[bytes]:
    """Return the sign-ins that were ended early; with `only`, just those among these."""
    query = select(web_passes.c.secret_hash).where(web_passes.c.kind == _SIGNED_OUT)
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return frozenset(transaction.execute(query).scalars())


def read_end_reasons(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, str]:
    """Return the reasons of sign-ins that their users did not end themselves; with `only`, just of these."""
    query = select(web_passes.c.secret_hash, web_passes.c.end_reason).where(
        web_passes.c.kind == _SIGNED_OUT, web_passes.c.end_reason.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_sign_ins_end(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, float]:
    """Return the end of the mark for users with more ended sign-ins than are kept (`MOST_SIGNED_OUT`).

    It is for `sign_ins_end` of the policy.
    """
    query = (
        select(web_passes.c.user_name, func.min(web_passes.c.expires_at))
        .where(web_passes.c.kind == _SIGNED_OUT)
        .group_by(web_passes.c.user_name)
        .having(func.count() > MOST_SIGNED_OUT)
    )
    if only is not None:
        query = query.where(web_passes.c.user_name.in_(only))
    return {row[0]: row[1] for row in transaction.execute(query)}


def _sign_in(transaction: Transaction, row: Row[Any]) -> SignIn | None:
    """Return the sign-in of a session's pass, or the one that a ticket comes from if it is still active."""
    if row.kind in SIGN_INS:
        return SignIn(bytes(row.secret_hash), row.expires_at)
    if row.sign_in is None:
        return None
    ends_at = transaction.execute(
        select(web_passes.c.expires_at).where(
            web_passes.c.secret_hash == row.sign_in, web_passes.c.kind.in_(SIGN_INS)
        )
    ).scalar()
    return None if ends_at is None else SignIn(row.sign_in, ends_at)


def _named(kind: PassKind, secret: str) -> tuple[ColumnElement[bool], ...]:
    return (web_passes.c.secret_hash == _hash(secret), web_passes.c.kind == kind.value)


def _hash(secret: str) -> bytes:
    # The secret has 256 random bits, so a slow hash would add nothing.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _whole(transaction: Transaction, row: Row[Any]) -> WebPass:
    sign_in = _sign_in(transaction, row)
    answered_at = None if sign_in is None else answers.answered_at(transaction, sign_in.id)
    return WebPass(
        PassKind(row.kind),
        row.user_name,
        Method(row.method),
        row.expires_at,
        row.credential_id,
        None if row.scopes is None else tuple(row.scopes.split()),
        row.password_mark,
        row.target,
        sign_in,
        row.latest_end,
        row.opened_at,
        row.source,
        answered_at,
        row.key_fingerprint,
        row.label,
        row.public_key,
    )
