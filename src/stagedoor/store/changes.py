"""The rows that each change of the policy touched. Workers read only these again.

Code that writes a row of the policy calls `touch` in the same transaction. Workers read the whole policy if a
version has no record, because an older program wrote it or it is too long ago. They also do so after a change
that neither called `touch` nor declared itself `unchanged`: a forgotten call costs time, but never loses a
revocation.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import delete, insert, select, update

from stagedoor.store.database import Transaction
from stagedoor.store.schema import meta, policy_changes

KEPT = 1000
"""The versions that are remembered. A worker reads them twice a second."""
MAX_CHANGES = 500
"""The most rows that are read one by one. With more, reading the whole policy is as cheap."""


class Part(StrEnum):
    """A part of the policy. A row's name is its key as text."""

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
    REQUEST_RULES = "request_rules"
    REQUESTS = "requests"
    ROLES = "roles"


_NOTHING = ""
"""The part of a version that changed nothing in the policy, for example by closing a session."""
_EVERYTHING = "*"

_PARTS = frozenset(part.value for part in Part)

Touched = dict[Part, frozenset[str]]


def read_policy_version(transaction: Transaction) -> int:
    """Return the version of the policy."""
    query = select(meta.c.value).where(meta.c.name == "policy_version")
    return int(transaction.execute(query).scalar_one())


def touch(transaction: Transaction, part: Part, names: Iterable[str | int]) -> None:
    """Record that this change adds, changes or removes the rows `names` of `part`."""
    _touch(transaction, part.value, {str(name) for name in names})


def touch_all(transaction: Transaction) -> None:
    """Record that this change touches so many rows that workers should read the whole policy."""
    _touch(transaction, _EVERYTHING, {""})


def _touch(transaction: Transaction, part: str, names: set[str]) -> None:
    version = read_policy_version(transaction) + 1
    known = set(
        transaction.execute(
            select(policy_changes.c.name).where(
                policy_changes.c.version == version, policy_changes.c.part == part
            )
        ).scalars()
    )
    _record(transaction, version, part, names - known)


def count_change(transaction: Transaction, *, unchanged: bool) -> None:
    """Count the change at its end. `unchanged` is true if it deliberately touched nothing."""
    version = read_policy_version(transaction) + 1
    recorded = transaction.execute(
        select(policy_changes.c.part).where(policy_changes.c.version == version).limit(1)
    ).first()
    if recorded is None:
        _record(transaction, version, _NOTHING if unchanged else _EVERYTHING, {""})
    transaction.execute(delete(policy_changes).where(policy_changes.c.version <= version - KEPT))
    transaction.execute(
        update(meta).where(meta.c.name == "policy_version").values(value=meta.c.value + 1)
    )


def read_touched(transaction: Transaction, version: int, now: int) -> Touched | None:
    """Return the rows touched after `version`, up to the version `now`. None means: read everything."""
    if now < version:  # an older store was restored from a backup
        return None
    rows = transaction.execute(
        select(policy_changes).where(policy_changes.c.version > version).limit(MAX_CHANGES + 1)
    ).all()
    versions = {row.version for row in rows}
    if len(rows) > MAX_CHANGES or versions != set(range(version + 1, now + 1)):
        return None
    touched: dict[Part, set[str]] = defaultdict(set)
    for row in rows:
        if row.part == _NOTHING:
            continue
        if row.part not in _PARTS:
            return None  # the whole policy was touched, or a part that only a newer program knows
        touched[Part(row.part)].add(row.name)
    return {part: frozenset(names) for part, names in touched.items()}


def _record(transaction: Transaction, version: int, part: str, names: set[str]) -> None:
    if names:
        transaction.execute(
            insert(policy_changes),
            [{"version": version, "part": part, "name": name} for name in sorted(names)],
        )
