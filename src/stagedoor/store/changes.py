"""What each change of the policy has touched, so that workers read that and not all of it.

Code that writes a row of the policy calls `touch`, in the same transaction. A version of which nothing
is recorded, as an older program writes it, or which is too old, makes workers read everything. So does a
change that has said nothing: forgetting it costs time, never a revocation.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import delete, insert, select, update

from stagedoor.store.database import Transaction
from stagedoor.store.schema import meta, policy_changes

KEPT = 1000
"""Versions that are remembered. A worker reads them twice a second."""
MOST = 500
"""Rows that are read one by one; to read everything is as cheap as more of them."""


class Part(StrEnum):
    """What a policy is made of; a row's name is its key, as text."""

    USERS = "users"
    TOKENS = "tokens"
    KEYS = "keys"
    GRANTS = "grants"
    SHARES = "shares"
    SIGNED_OUT = "signed_out"
    """Named by the hash in hexadecimal."""
    SIGN_INS_END = "sign_ins_end"
    """Named by the user."""
    SIGN_IN_ENDS = "sign_in_ends"
    """Named by the hash in hexadecimal."""
    BOUND_KEYS = "bound_keys"
    """Named by the fingerprint."""
    STEP_UPS = "step_ups"
    """Named by the sign-in's hash in hexadecimal."""


_NOTHING = ""
"""Of a version that changed nothing in the policy, such as a session that was closed."""
_EVERYTHING = "*"

_PARTS = frozenset(part.value for part in Part)

Touched = dict[Part, frozenset[str]]


def touch(transaction: Transaction, part: Part, names: Iterable[str | int]) -> None:
    """Rows of `part` are written, changed or removed in the change that is being made."""
    version = _version(transaction) + 1
    known = set(
        transaction.execute(
            select(policy_changes.c.name).where(
                policy_changes.c.version == version, policy_changes.c.part == part.value
            )
        ).scalars()
    )
    _record(transaction, version, part.value, {str(name) for name in names} - known)


def next_version(transaction: Transaction, *, unchanged: bool) -> None:
    """The end of a change: count it. `unchanged`: it touched nothing, and does not forget to say so."""
    version = _version(transaction) + 1
    said = transaction.execute(
        select(policy_changes.c.part).where(policy_changes.c.version == version).limit(1)
    ).first()
    if said is None:
        _record(transaction, version, _NOTHING if unchanged else _EVERYTHING, {""})
    transaction.execute(delete(policy_changes).where(policy_changes.c.version <= version - KEPT))
    transaction.execute(
        update(meta).where(meta.c.name == "policy_version").values(value=meta.c.value + 1)
    )


def touched_since(transaction: Transaction, version: int, now: int) -> Touched | None:
    """What the versions after `version` up to `now` have touched; None: read everything."""
    if now < version:  # the store is an older one, put back from a backup
        return None
    rows = transaction.execute(
        select(policy_changes).where(policy_changes.c.version > version).limit(MOST + 1)
    ).all()
    versions = {row.version for row in rows}
    if len(rows) > MOST or versions != set(range(version + 1, now + 1)):
        return None
    found: dict[Part, set[str]] = defaultdict(set)
    for row in rows:
        if row.part == _NOTHING:
            continue
        if row.part not in _PARTS:
            return None  # everything, or what a newer program knows of
        found[Part(row.part)].add(row.name)
    return {part: frozenset(names) for part, names in found.items()}


def _version(transaction: Transaction) -> int:
    query = select(meta.c.value).where(meta.c.name == "policy_version")
    return int(transaction.execute(query).scalar_one())


def _record(transaction: Transaction, version: int, part: str, names: set[str]) -> None:
    if names:
        transaction.execute(
            insert(policy_changes),
            [{"version": version, "part": part, "name": name} for name in sorted(names)],
        )
