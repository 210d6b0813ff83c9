"""Issues passes and uses them up; ends and extends sign-ins.

Each pass is a row, under the hash of a secret that is not stored. If a sign-in is ended early, its row stays
until the sign-in would have expired, so that every worker knows to close what it has opened.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update

from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method
from stagedoor.model.secret import hash_secret
from stagedoor.model.webpass import Invitation, ProviderAnswer, WebPass
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.rows import Pass, add_pass, read_pass, remove_pass
from stagedoor.store.sign_in.tables import SIGN_INS, PassKind, web_passes

SECRET_BYTES = 32
_TAKEN_AWAY = (
    "an administrator removed the credential of this sign-in; sign in another way, "
    "or ask an administrator"
)
MAX_SIGNED_OUT = 100
"""The most ended sign-ins that are kept for a user, namely those that would expire last: every worker keeps
them in memory. One more is kept as a mark: every sign-in that expires no later than it is over. So no
sign-out is ever forgotten."""

_EXPIRED = select(web_passes.c.kind).where(web_passes.c.expires_at <= bindparam("now")).limit(1)
"""A query for an expired pass. It runs whenever a terminal is opened, and usually finds none."""
_IS_SIGN_IN = web_passes.c.kind.in_(SIGN_INS)


def make_secret(prefix: str = "") -> str:
    """Return the secret for a new pass: `prefix` and 256 random bits."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def issue(
    database: Database, new: WebPass, now: float, answer: ProviderAnswer | None = None
) -> None:
    """Store a pass, and remove expired ones. Raises StoreError.

    `answer` is the identity provider's answer with which the user signed in.
    """
    with database.write() as transaction:
        if transaction.execute(_EXPIRED, {"now": now}).first():
            answers.hand_over_expired(transaction, now)
            transaction.execute(delete(web_passes).where(web_passes.c.expires_at <= now))
        add_pass(transaction, new)
        if answer is not None:
            answers.keep(transaction, new.id, answer)


def invite(transaction: Transaction, invitation: Invitation) -> None:
    """Store an invitation, and remove the user's earlier ones."""
    transaction.execute(
        delete(web_passes).where(
            web_passes.c.kind == PassKind.INVITATION, web_passes.c.user_name == invitation.name
        )
    )
    add_pass(transaction, invitation)


def find(database: Database, of: type[Pass], secret: str) -> Pass | None:
    """Return the pass of that type with that secret, expired or not, or None. Raises StoreError."""
    with database.read() as transaction:
        return read_pass(transaction, of, hash_secret(secret))


def use_up(database: Database, of: type[Pass], secret: str) -> Pass | None:
    """Remove a pass and return it. Only one of several simultaneous calls gets it.

    A ticket is refused once the sign-in that it comes from is over. Raises StoreError.
    """
    # Read first, so that strangers who guess secrets cannot keep the write lock from logins.
    if find(database, of, secret) is None:
        return None
    with database.write() as transaction:
        return take(transaction, of, secret)


def take(transaction: Transaction, of: type[Pass], secret: str) -> Pass | None:
    """Return a pass and remove it, as `use_up` does. Call this in a transaction that writes."""
    id_ = hash_secret(secret)
    pass_ = read_pass(transaction, of, id_)
    return pass_ if remove_pass(transaction, of, id_) else None


def end_sign_in(transaction: Transaction, id_: bytes, reason: str | None, now: float) -> str:
    """End a sign-in with its sessions and tickets, on all workers. Return its user's name.

    Shares, keys and tokens that were made with it stay. `reason` is a line for the user, None if they signed
    out themselves. Call this in a policy change. Raises NotFoundError if the sign-in is over.
    """
    user = _update_active(transaction, id_, now, kind=PassKind.SIGNED_OUT, end_reason=reason)
    _record_ends(transaction, user, [id_])
    return user


def end_sign_ins(
    transaction: Transaction,
    user: str,
    method: Method,
    credential_id: str,
    sign_in_ids: Collection[bytes] = (),
) -> int:
    """End the user's sign-ins that were made with a removed credential, and return how many.

    The sign-ins with the ids `sign_in_ids` end too, and so does all that any of these opened. Call this in a
    policy change.
    """
    of_credential = (web_passes.c.method == method.value) & (
        web_passes.c.credential_id == credential_id
    )
    ended = transaction.execute(
        update(web_passes)
        .where(
            _IS_SIGN_IN,
            web_passes.c.user_name == user,
            of_credential | web_passes.c.secret_hash.in_(sign_in_ids),
        )
        .values(kind=PassKind.SIGNED_OUT, end_reason=_TAKEN_AWAY)
        .returning(web_passes.c.secret_hash)
    ).scalars()
    ids = list(ended)
    if ids:
        _record_ends(transaction, user, ids)
    return len(ids)


def _record_ends(transaction: Transaction, user: str, ended: Sequence[bytes]) -> None:
    """Record the ended sign-ins for every worker, and keep only `MAX_SIGNED_OUT` of them and the mark."""
    keys = select(web_passes.c.key_fingerprint).where(
        web_passes.c.secret_hash.in_(ended), web_passes.c.key_fingerprint.is_not(None)
    )
    touch(transaction, Part.BOUND_KEYS, transaction.execute(keys).scalars().all())
    answers.forget(transaction, ended)
    before = (
        select(web_passes.c.secret_hash)
        .where(web_passes.c.kind == PassKind.SIGNED_OUT, web_passes.c.user_name == user)
        .order_by(web_passes.c.expires_at.desc())
        .offset(MAX_SIGNED_OUT + 1)
    )
    surplus = delete(web_passes).where(web_passes.c.secret_hash.in_(before))
    removed = transaction.execute(surplus.returning(web_passes.c.secret_hash)).scalars().all()
    names = [bytes(id_).hex() for id_ in (*ended, *removed)]
    touch(transaction, Part.SIGNED_OUT, names)
    touch(transaction, Part.SIGN_INS_END, [user])


def extend_sign_in(transaction: Transaction, id_: bytes, end: float, now: float) -> None:
    """Move the end of a sign-in to `end`. Call this in a policy change.

    Raises NotFoundError if the sign-in is over or may not last that long.
    """
    may_last = web_passes.c.expires_at.between(now, end) & (web_passes.c.latest_end >= end)
    _update_active(transaction, id_, now, may_last, expires_at=end, renewed_at=now)
    touch(transaction, Part.SIGN_IN_ENDS, [id_.hex()])


def mark_used(transaction: Transaction, id_: bytes, now: float) -> str:
    """Store that a sign-in was used now, and return its user. Raises NotFoundError if it is over."""
    return _update_active(transaction, id_, now, renewed_at=now)


def record_step_up(transaction: Transaction, id_: bytes, now: float) -> str:
    """Store that the user of a sign-in proved their presence, and return the user's name.

    Call this in a policy change. Raises NotFoundError if the sign-in is over.
    """
    user = _update_active(transaction, id_, now, stepped_up_at=now)
    touch(transaction, Part.STEP_UPS, [id_.hex()])
    return user


def prove_by_password(transaction: Transaction, id_: bytes, now: float, until: float) -> str:
    """Store that the user of a sign-in has just entered their password, and return the user's name.

    This proof is valid until `until`. Call this in a policy change. Raises NotFoundError if the sign-in is
    over.
    """
    user = mark_used(transaction, id_, now)
    before = web_passes.c.sign_in == id_, web_passes.c.kind == PassKind.PROOF
    transaction.execute(delete(web_passes).where(*before))
    transaction.execute(
        insert(web_passes).values(
            secret_hash=secrets.token_bytes(SECRET_BYTES),
            kind=PassKind.PROOF,
            user_name=user,
            method=Method.PASSWORD.value,
            sign_in=id_,
            opened_at=now,
            expires_at=until,
        )
    )
    touch(transaction, Part.STEP_UPS, [id_.hex()])
    return user


def _update_active(
    transaction: Transaction, id_: bytes, now: float, *also: ColumnElement[bool], **values: Any
) -> str:
    """Write `values` into an active sign-in if the conditions `also` hold, and return its user's name.

    Raises NotFoundError.
    """
    active = (web_passes.c.secret_hash == id_, _IS_SIGN_IN, web_passes.c.expires_at > now)
    changed = update(web_passes).where(*active, *also).values(values)
    user = transaction.execute(changed.returning(web_passes.c.user_name)).scalar()
    if user is None:
        raise NotFoundError("this sign-in is over already")
    return str(user)


def read_signed_out(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, str | None]:
    """Return the reasons for which sign-ins were ended early, None where the user signed out.

    The keys are ids of sign-ins, and `only` limits them to these, as in the next two functions.
    """
    is_ended = web_passes.c.kind == PassKind.SIGNED_OUT
    return _read_column(transaction, web_passes.c.end_reason, is_ended, only)


def read_sign_in_ends(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """Return the ends of the sign-ins that were extended by use."""
    is_moved = _IS_SIGN_IN & web_passes.c.renewed_at.is_not(None)
    return _read_column(transaction, web_passes.c.expires_at, is_moved, only)


def read_step_ups(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """Return the times of the proofs of presence."""
    is_proved = _IS_SIGN_IN & web_passes.c.stepped_up_at.is_not(None)
    return _read_column(transaction, web_passes.c.stepped_up_at, is_proved, only)


def read_password_proofs(
    transaction: Transaction, only: Collection[bytes] | None = None
) -> dict[bytes, float]:
    """Return the times of the proofs by password, including those that are no longer valid."""
    is_proof, sign_in = web_passes.c.kind == PassKind.PROOF, web_passes.c.sign_in
    return _read_column(transaction, web_passes.c.opened_at, is_proof, only, sign_in)


def _read_column(
    transaction: Transaction,
    column: ColumnElement[Any],
    condition: ColumnElement[bool],
    only: Collection[bytes] | None,
    key: ColumnElement[bytes] = web_passes.c.secret_hash,
) -> dict[bytes, Any]:
    query = select(key, column).where(condition)
    if only is not None:
        query = query.where(key.in_(only))
    return {bytes(row[0]): row[1] for row in transaction.execute(query)}


def read_sign_ins_end(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, float]:
    """Return the end of the mark for users with more ended sign-ins than are kept (`MAX_SIGNED_OUT`).

    It is for `sign_ins_end` of the policy.
    """
    query = (
        select(web_passes.c.user_name, func.min(web_passes.c.expires_at))
        .where(web_passes.c.kind == PassKind.SIGNED_OUT)
        .group_by(web_passes.c.user_name)
        .having(func.count() > MAX_SIGNED_OUT)
    )
    if only is not None:
        query = query.where(web_passes.c.user_name.in_(only))
    return {row[0]: row[1] for row in transaction.execute(query)}
