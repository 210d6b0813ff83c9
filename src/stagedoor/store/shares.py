"""The shares of terminals: a row for each, under the hash of a secret that is not stored.

Call each function that writes in a policy change.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, delete, func, insert, select

from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.identity import Method
from stagedoor.model.share import Share
from stagedoor.store.changes import Part, touch
from stagedoor.store.columns import load_target
from stagedoor.store.database import Transaction
from stagedoor.store.people import require_user
from stagedoor.store.schema import shares
from stagedoor.wire.oneline import is_word

MAX_SHARES = 20
"""The most shares of one user at a time, since every worker keeps them in memory."""


def add_share(transaction: Transaction, share: Share, now: float) -> None:
    """Add a share, and remove all that have expired. Raises NotFoundError, RefusedError."""
    require_user(transaction, share.host)
    expired = delete(shares).where(shares.c.expires_at <= now).returning(shares.c.id)
    touch(transaction, Part.SHARES, [*transaction.execute(expired).scalars(), share.id])
    count = transaction.execute(
        select(func.count()).select_from(shares).where(shares.c.user_name == share.host)
    ).scalar_one()
    if count >= MAX_SHARES:
        raise RefusedError(f"{share.host} shares {count} terminals already; end one first")
    transaction.execute(
        insert(shares).values(
            id=share.id,
            secret_hash=share.secret_hash,
            user_name=share.host,
            method=share.method.value,
            credential_id=share.credential_id,
            scopes=None if share.scopes is None else " ".join(share.scopes),
            password_mark=share.password_mark,
            target=str(share.target),
            terminal=share.terminal,
            typing=int(share.typing),
            expires_at=share.expires_at,
        )
    )


def require_share(transaction: Transaction, share_id: str, host: str) -> None:
    """Raise NotFoundError unless `host` is the owner of this share."""
    share = read_shares(transaction, [share_id]).get(share_id) if is_word(share_id) else None
    if share is None or share.host != host:
        raise NotFoundError("there is no such share; it may have ended")


def remove_share(transaction: Transaction, share_id: str, host: str | None = None) -> Share:
    """Remove a share and return it; with `host`, only if it is that user's. Raises NotFoundError."""
    if not is_word(share_id):
        raise NotFoundError("there is no such share; it may have ended")
    query = delete(shares).where(shares.c.id == share_id)
    if host is not None:
        query = query.where(shares.c.user_name == host)
    row = transaction.execute(query.returning(*shares.c)).first()
    if row is None:
        raise NotFoundError(f"there is no share {share_id}; it may have ended")
    touch(transaction, Part.SHARES, [share_id])
    return _share(row)


def read_shares(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, Share]:
    """Return all shares, or those with the ids `only`, by id; expired ones too."""
    query = select(shares).order_by(shares.c.expires_at, shares.c.id)
    rows = transaction.execute(query if only is None else query.where(shares.c.id.in_(only)))
    return {row.id: _share(row) for row in rows}


def _share(row: Row[Any]) -> Share:
    return Share(
        row.id,
        row.secret_hash,
        row.user_name,
        Method(row.method),
        load_target(row.target),
        row.terminal,
        bool(row.typing),
        row.expires_at,
        row.credential_id,
        None if row.scopes is None else tuple(row.scopes.split()),
        row.password_mark,
    )
