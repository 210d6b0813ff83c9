"""Passes of the web: one row each, under the hash of a secret that is not kept.

A session that is ended before its time leaves its row until then: it tells every worker that what
it opened is over.
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
"""The kind of a session that was ended, which nobody can show any more."""
_TAKEN_AWAY = (
    "an administrator took away what you signed in by; ask them, or sign in by another way"
)
MOST_SIGNED_OUT = 100
"""Of one user, those that end last: each is in every worker's memory. One more is kept as a mark, and
every sign-in that ends no later than that one is over: a sign-out is never forgotten for another's sake."""

_EXPIRED = select(web_passes.c.kind).where(web_passes.c.expires_at <= bindparam("now")).limit(1)
"""Asked for each terminal that is opened, where nothing has expired as a rule."""


def issue(
    database: Database, given: WebPass, now: float, answer: ProviderAnswer | None = None
) -> str:
    """Keep a pass, and return its secret. What has expired is thrown away with it. StoreError.

    `answer` is what the identity provider said that a session comes from.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with database.write() as transaction:
        if transaction.execute(_EXPIRED, {"now": now}).first():
            answers.hand_over_expired(transaction, now)
            transaction.execute(delete(web_passes).where(web_passes.c.expires_at <= now))
        id_ = keep(transaction, given, secret)
        if answer is not None:
            answers.keep(transaction, id_, answer)
    return secret


def invite(transaction: Transaction, given: WebPass) -> str:
    """Keep an invitation, and return its secret; the user's earlier ones are good no more."""
    transaction.execute(
        delete(web_passes).where(
            web_passes.c.kind == PassKind.INVITATION.value, web_passes.c.user_name == given.name
        )
    )
    secret = secrets.token_urlsafe(SECRET_BYTES)
    keep(transaction, given, secret)
    return secret


def take_invitation(transaction: Transaction, secret: str) -> WebPass | None:
    """Use it up, in a change; None where somebody did already."""
    row = transaction.execute(
        delete(web_passes).where(*_named(PassKind.INVITATION, secret)).returning(*web_passes.c)
    ).first()
    return None if row is None else _whole(transaction, row)


def keep(transaction: Transaction, given: WebPass, secret: str) -> bytes:
    """Write the pass of that secret; the secret's hash, which is a sign-in's id."""
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
            sign_in=None if given.sign_in is None else given.sign_in.id,
            latest_end=given.latest_end,
            opened_at=given.opened_at,
            source=given.source,
            key_fingerprint=given.key_fingerprint,
            label=given.label,
            public_key=given.public_key,
        )
    )
    return _hash(secret)


def read(transaction: Transaction, id_: bytes) -> WebPass:
    """The pass whose secret has that hash, which is there."""
    query = select(web_passes).where(web_passes.c.secret_hash == id_)
    return _whole(transaction, transaction.execute(query).one())


def find(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """The pass of that kind with that secret, expired or not. Raises StoreError."""
    with database.read() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
        return None if row is None else _whole(transaction, row)


def use_up(database: Database, kind: PassKind, secret: str) -> WebPass | None:
    """The same, and nobody finds it again: of several who try at once, one gets it. StoreError.

    A ticket is worth nothing once the session that it comes from is over.
    """
    # Strangers may guess: that must not take the lock from those who log in.
    if find(database, kind, secret) is None:
        return None
    with database.write() as transaction:
        row = transaction.execute(select(web_passes).where(*_named(kind, secret))).first()
        if row is None:
            return None
        gone = transaction.execute(delete(web_passes).where(*_named(kind, secret)))
        sign_in = _sign_in(transaction, row)
        if gone.rowcount != 1 or (row.sign_in is not None and sign_in is None):
            return None
        return _whole(transaction, row)


def sign_out(transaction: Transaction, secret: str, now: float, reason: str | None = None) -> None:
    """End a session and what it opened, wherever that is. Runs in a policy change.

    `reason` is the line for the person; None where they signed out themselves. Raises NotFoundError where no
    such session lasts.
    """
    user = transaction.execute(
        update(web_passes)
        .where(*_named(PassKind.SESSION, secret), web_passes.c.expires_at > now)
        .values(kind=_SIGNED_OUT, end_reason=reason)
        .returning(web_passes.c.user_name)
    ).scalar()
    if user is None:
        raise NotFoundError("this sign-in is over already")
    _tell_ended(transaction, user, [_hash(secret)])


def end(transaction: Transaction, sign_in: bytes, reason: str, now: float) -> str:
    """End a session for a reason that its person is told, and what it opened; the user. Runs in a policy
    change. Raises NotFoundError where it is over."""
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
    _tell_ended(transaction, user, [sign_in])
    return str(user)


def end_sign_ins(transaction: Transaction, user: str, method: Method, credential_id: str) -> int:
    """End all sessions of the user that were opened by this credential, which an administrator took away,
    and what those opened; how many. Runs in a policy change."""
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
        _tell_ended(transaction, user, hashes)
    return len(hashes)


def _tell_ended(transaction: Transaction, user: str, ended: Sequence[bytes]) -> None:
    """Have every worker hear of it, and keep no more of the user's than are remembered one by one."""
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
    over = delete(web_passes).where(web_passes.c.secret_hash.in_(before))
    forgotten = transaction.execute(over.returning(web_passes.c.secret_hash)).scalars().all()
    named = [bytes(one).hex() for one in (*ended, *forgotten)]
    touch(transaction, Part.SIGNED_OUT, named)
    touch(transaction, Part.SIGN_INS_END, [user])


def renew(transaction: Transaction, secret: str, end: float, now: float) -> None:
    """Move the end of a session that lasts. Runs in a policy change. NotFoundError where it is over."""
    renew_sign_in(transaction, _hash(secret), end, now)


def renew_sign_in(transaction: Transaction, sign_in: bytes, end: float, now: float) -> None:
    """The same of any sign-in, by its id."""
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
    """Somebody has proved that they are there, for a sign-in that lasts; its user. Runs in a policy change.
    Raises NotFoundError where it is over."""
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
    """When somebody proved that they are there, by sign-in; of those named, if some are."""
    query = select(web_passes.c.secret_hash, web_passes.c.stepped_up_at).where(
        web_passes.c.kind.in_(SIGN_INS), web_passes.c.stepped_up_at.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_sign_in_ends(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """The ends of the sign-ins whose end was moved by use; of those named, if some are."""
    query = select(web_passes.c.secret_hash, web_passes.c.expires_at).where(
        web_passes.c.kind.in_(SIGN_INS), web_passes.c.renewed_at.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_signed_out(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> frozenset[bytes]:
    """The sign-ins that were ended before their time; of those named, if some are."""
    query = select(web_passes.c.secret_hash).where(web_passes.c.kind == _SIGNED_OUT)
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return frozenset(transaction.execute(query).scalars())


def read_end_reasons(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, str]:
    """Why those ended that were not ended by their person; of those named, if some are."""
    query = select(web_passes.c.secret_hash, web_passes.c.end_reason).where(
        web_passes.c.kind == _SIGNED_OUT, web_passes.c.end_reason.is_not(None)
    )
    if only is not None:
        query = query.where(web_passes.c.secret_hash.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_sign_ins_end(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, float]:
    """Of the users who ended more sign-ins than are kept one by one: `sign_ins_end` of the policy."""
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
    """That of a session's pass, or the one that lasts still and from which a ticket comes."""
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
    # The secret is 256 random bits: there is nothing to guess, so a slow hash would add nothing.
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
