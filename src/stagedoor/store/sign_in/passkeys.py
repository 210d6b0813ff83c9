"""Passkeys, and the challenges that await a passkey's answer."""

import hashlib
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.passkey import Challenge, ChallengeKind, PasskeyRecord
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in.tables import passkey_challenges, passkeys
from stagedoor.wire.oneline import is_word


def list_passkeys(transaction: Transaction, user: str | None = None) -> list[PasskeyRecord]:
    """List the passkeys of all users, or of `user`, by user and age."""
    query = select(passkeys).order_by(passkeys.c.user_name, passkeys.c.created_at)
    if user is not None:
        query = query.where(passkeys.c.user_name == user)
    return [_record(row) for row in transaction.execute(query)]


def find_passkey(transaction: Transaction, id_: str) -> PasskeyRecord | None:
    """Return the passkey with that id, or None."""
    if not is_word(id_):
        return None
    row = transaction.execute(select(passkeys).where(passkeys.c.id == id_)).first()
    return None if row is None else _record(row)


def add_passkey(transaction: Transaction, passkey: PasskeyRecord, most: int) -> None:
    """Add a passkey. Call this in a policy change.

    Raises ConflictError if it exists already, RefusedError if the user has `most` passkeys.
    """
    if find_passkey(transaction, passkey.id) is not None:
        raise ConflictError("this passkey is registered here already")
    if len(list_passkeys(transaction, passkey.user)) >= most:
        raise RefusedError(f"{passkey.user} has {most} passkeys, and may have no more; remove one")
    row = asdict(passkey)
    row["user_name"] = row.pop("user")
    transaction.execute(insert(passkeys).values(row))


def remove_passkey(transaction: Transaction, id_: str) -> None:
    """Remove a passkey. Call this in a policy change. Raises NotFoundError."""
    if transaction.execute(delete(passkeys).where(passkeys.c.id == id_)).rowcount != 1:
        raise NotFoundError(f"there is no passkey {id_!r}")


def use_passkey(transaction: Transaction, passkey: PasskeyRecord, count: int, now: float) -> bool:
    """Store the counter `count` of a passkey that has just signed.

    Return False if the counter has changed since it was read, so that only one of two simultaneous answers
    succeeds.
    """
    used = transaction.execute(
        update(passkeys)
        .where(passkeys.c.id == passkey.id, passkeys.c.sign_count == passkey.sign_count)
        .values(sign_count=count, used_at=now)
    )
    return used.rowcount == 1


def add_challenge(
    database: Database, challenge: bytes, record: Challenge, now: float, most: int
) -> None:
    """Store a challenge until it is answered, and remove the expired ones. Raises StoreError.

    If `most` challenges with its purpose exist, the oldest are removed, so that a flood of challenges cannot
    keep users from getting one.
    """
    columns = passkey_challenges.c
    oldest = (
        select(columns.challenge_hash)
        .where(columns.purpose == record.purpose.value)
        .order_by(columns.expires_at.desc())
        .offset(most - 1)
    )
    surplus = or_(columns.expires_at <= now, columns.challenge_hash.in_(oldest))
    with database.write() as transaction:
        transaction.execute(delete(passkey_challenges).where(surplus))
        transaction.execute(
            insert(passkey_challenges).values(
                challenge_hash=_hash(challenge),
                purpose=record.purpose.value,
                user_name=record.user,
                sign_in=record.sign_in,
                step_up=record.step_up,
                expires_at=record.expires_at,
            )
        )


def find_challenge(transaction: Transaction, challenge: bytes, now: float) -> Challenge | None:
    """Return the challenge with these bytes if it still awaits an answer, else None."""
    row = transaction.execute(
        select(passkey_challenges).where(
            passkey_challenges.c.challenge_hash == _hash(challenge),
            passkey_challenges.c.expires_at > now,
        )
    ).first()
    if row is None:
        return None
    sign_in = None if row.sign_in is None else bytes(row.sign_in)
    return Challenge(
        ChallengeKind(row.purpose), row.expires_at, row.user_name, sign_in, row.step_up
    )


def take_challenge(transaction: Transaction, challenge: bytes) -> bool:
    """Remove a challenge that was answered. Return False if it was answered before."""
    removed = transaction.execute(
        delete(passkey_challenges).where(passkey_challenges.c.challenge_hash == _hash(challenge))
    )
    return removed.rowcount == 1


def _record(row: Row[Any]) -> PasskeyRecord:
    return PasskeyRecord(
        row.id,
        row.user_name,
        row.name,
        row.rp_id,
        bytes(row.credential),
        row.sign_count,
        row.created_at,
        row.used_at,
    )


def _hash(challenge: bytes) -> bytes:
    return hashlib.sha256(challenge).digest()
