"""The sign-ins with a valid certificate, including those that are already over."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import delete, insert, select, update

from stagedoor.model.identity import sign_in_number
from stagedoor.store.database import Database, Transaction
from stagedoor.store.sign_in.tables import PassKind, certified_sign_ins, web_passes


def keep(transaction: Transaction, user: str, number: int, valid_before: float, now: float) -> None:
    """Store that the sign-in `number` of `user` was given a certificate. Expired rows are removed.

    An end before the stored one changes nothing.
    """
    columns, values = certified_sign_ins.c, {"valid_before": valid_before, "user_name": user}
    transaction.execute(delete(certified_sign_ins).where(columns.valid_before <= now))
    mine = columns.number == number
    stored = transaction.execute(select(columns.valid_before).where(mine)).scalar()
    if stored is None:
        transaction.execute(insert(certified_sign_ins).values(number=number, **values))
    elif stored < valid_before:
        transaction.execute(update(certified_sign_ins).where(mine).values(values))


def list_revoked(
    database: Database, now: float, void: Collection[str] = ()
) -> Mapping[str, Sequence[int]]:
    """Return, by user, the numbers of sign-ins that are over but still have a valid certificate.

    `void` are fingerprints of keys whose sign-ins count as over although they are active. Raises StoreError.
    """
    logins = select(web_passes.c.secret_hash, web_passes.c.key_fingerprint).where(
        web_passes.c.kind == PassKind.LOGIN, web_passes.c.expires_at > now
    )
    columns = certified_sign_ins.c
    certified = select(columns.number, columns.user_name).where(columns.valid_before > now)
    revoked: dict[str, list[int]] = defaultdict(list)
    with database.read() as transaction:
        active = {
            sign_in_number(bytes(row.secret_hash))
            for row in transaction.execute(logins)
            if row.key_fingerprint not in void
        }
        for row in transaction.execute(certified):
            if row.number not in active:
                revoked[row.user_name or ""].append(row.number)
    return revoked
