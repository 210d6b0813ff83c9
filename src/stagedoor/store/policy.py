"""Reads the policy as one snapshot, and has the only function that changes it, which counts and audits."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from stagedoor.model.event import Event, EventKind, Plain
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.store.access_requests import read_open_requests, read_request_rules
from stagedoor.store.administration.roles import read_roles
from stagedoor.store.changes import Part, count_change, read_policy_version, read_touched
from stagedoor.store.database import Database, Transaction
from stagedoor.store.grants import grant_of
from stagedoor.store.journal import append
from stagedoor.store.people import make_key_record, make_token_record
from stagedoor.store.schema import (
    grants,
    keys,
    provided_groups,
    tokens,
    user_groups,
    users,
)
from stagedoor.store.shares import read_shares
from stagedoor.store.sign_in.logins import read_bound_keys
from stagedoor.store.sign_in.passes import (
    read_password_proofs,
    read_sign_in_ends,
    read_sign_ins_end,
    read_signed_out,
    read_step_ups,
)


def load_policy(database: Database) -> Policy:
    """Return the whole policy as of one moment. Raises StoreError."""
    with database.read() as transaction:
        return read_policy(transaction)


def load_newest(database: Database, before: Policy) -> Policy:
    """Return the current policy, starting from an earlier one, whose `password_groups` stay.

    Raises StoreError.
    """
    with database.read() as transaction:
        version = read_policy_version(transaction)
        if version == before.version:
            return before
        # An unavailable policy has no rows to start from.
        changed = None if before.is_unavailable else read_changes(transaction, before, version)
        return changed or read_policy(transaction).with_passwords_for(before.password_groups)


def read_policy(transaction: Transaction) -> Policy:
    """Return the whole policy as `transaction` sees it."""
    fields: dict[str, Any] = {
        kind.name: MappingProxyType(kind.read(transaction)) for kind in _FIELDS
    }
    rules = tuple(_grants(transaction))
    return Policy(version=read_policy_version(transaction), grants=rules, **fields)


def read_subjects(transaction: Transaction, name: str) -> frozenset[str]:
    """Return the subjects by which rules apply to the user; none for a user who is disabled or removed."""
    user = _users(transaction, [name]).get(name)
    return frozenset() if user is None else user.subjects


def list_grants_about(transaction: Transaction, name: str) -> tuple[GrantRule, ...]:
    """Return the grants to the user, to their groups and to all users, including expired ones."""
    about = grants.c.subject.in_(read_subjects(transaction, name))
    rows = transaction.execute(select(grants).where(about).order_by(grants.c.id))
    return tuple(grant_of(row) for row in rows)


def read_changes(transaction: Transaction, before: Policy, now: int) -> Policy | None:
    """Return the policy of version `now`, made from an earlier one and the rows changed since.

    Its `password_groups` are those of the earlier one. Return None if the changes are not known and the whole
    policy must be read.
    """
    touched = read_touched(transaction, before.version, now)
    if touched is None:
        return None
    fields: dict[str, Any] = {}
    for kind in _FIELDS:
        fields[kind.name] = old = getattr(before, kind.name)
        if kind.part in touched:
            changed = frozenset(map(kind.key, touched[kind.part]))
            kept = {key: row for key, row in old.items() if key not in changed}
            fields[kind.name] = MappingProxyType(kept | kind.read(transaction, changed))
    numbers = [int(name) for name in touched.get(Part.GRANTS, ())]
    added = _grants(transaction, numbers) if numbers else []
    removed, rules = _replace_rules(before.grants, numbers, added)
    policy = Policy(version=now, grants=rules, **fields)
    policy = policy.update_index(before, removed, added)
    return policy.with_passwords_for(before.password_groups)


def _replace_rules(
    old: tuple[GrantRule, ...], numbers: Iterable[int], added: Sequence[GrantRule]
) -> tuple[Sequence[GrantRule], tuple[GrantRule, ...]]:
    """Return the removed rules of `numbers`, and `old` without these and with `added`, in order of number."""
    rules, removed = list(old), []
    for number in numbers:
        place = bisect_left(rules, number, key=_get_number)
        if place < len(rules) and rules[place].id == number:
            removed.append(rules.pop(place))
    for rule in added:
        insort(rules, rule, key=_get_number)
    return removed, tuple(rules) if removed or added else old


_get_number = attrgetter("id")


def _users(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, User]:
    return _read_users(transaction, only, disabled=False)


def _disabled(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, User]:
    query = select(users.c.name).where(users.c.disabled_at.is_not(None))
    names = set(transaction.execute(_where_in(query, users.c.name, only)).scalars())
    return _read_users(transaction, names, disabled=True) if names else {}


def _read_users(
    transaction: Transaction, only: Collection[str] | None, *, disabled: bool
) -> dict[str, User]:
    groups: dict[str, set[str]] = defaultdict(set)
    for table in (user_groups, provided_groups):
        for row in transaction.execute(_where_in(select(table), table.c.user_name, only)):
            groups[row.user_name].add(row.group_name)
    query = _where_in(select(users).order_by(users.c.name), users.c.name, only)
    return {
        row.name: User(
            row.name,
            frozenset(groups[row.name]),
            row.password_hash,
            row.language,
            row.owner_set,
            row.created_at,
        )
        for row in transaction.execute(query)
        if (row.disabled_at is not None) == disabled
    }


def _tokens(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, TokenRecord]:
    query = _where_in(select(tokens).order_by(tokens.c.created_at), tokens.c.id, only)
    return {row.id: make_token_record(row) for row in transaction.execute(query)}


def _keys(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, KeyRecord]:
    query = _where_in(select(keys).order_by(keys.c.created_at), keys.c.fingerprint, only)
    return {row.fingerprint: make_key_record(row) for row in transaction.execute(query)}


def _grants(transaction: Transaction, only: Collection[int] | None = None) -> list[GrantRule]:
    query = _where_in(select(grants).order_by(grants.c.id), grants.c.id, only)
    return [grant_of(row) for row in transaction.execute(query)]


@dataclass(frozen=True, slots=True)
class _Field:
    """The field `name` of `Policy`, which maps keys to rows.

    `read` returns all rows, or those of some keys. `key` turns a row's name in `part` into its key.
    """

    name: str
    part: Part
    read: Callable[..., dict[Any, Any]]
    key: Callable[[str], Any] = str


_FIELDS = (
    _Field("users", Part.USERS, _users),
    _Field("disabled", Part.USERS, _disabled),
    _Field("tokens", Part.TOKENS, _tokens),
    _Field("keys", Part.KEYS, _keys),
    _Field("shares", Part.SHARES, read_shares),
    _Field("signed_out", Part.SIGNED_OUT, read_signed_out, bytes.fromhex),
    _Field("sign_ins_end", Part.SIGN_INS_END, read_sign_ins_end),
    _Field("sign_in_ends", Part.SIGN_IN_ENDS, read_sign_in_ends, bytes.fromhex),
    _Field("bound_keys", Part.BOUND_KEYS, read_bound_keys),
    _Field("stepped_up", Part.STEP_UPS, read_step_ups, bytes.fromhex),
    _Field("password_proofs", Part.STEP_UPS, read_password_proofs, bytes.fromhex),
    _Field("request_rules", Part.REQUEST_RULES, read_request_rules, int),
    _Field("requests", Part.REQUESTS, read_open_requests, int),
    _Field("roles", Part.ROLES, read_roles, int),
)


def _where_in(
    query: Select[Any], column: ColumnElement[Any], only: Collection[Any] | None
) -> Select[Any]:
    return query if only is None else query.where(column.in_(only))


@dataclass
class PolicyChange:
    """A change of the policy in progress: its transaction, and the fields of its audit event.

    `unchanged` is true if no row of the policy was written, so that no worker has to read anything. `parts`
    holds further events, for a change that consists of many acts: an action and its fields for each.
    """

    transaction: Transaction
    fields: dict[str, Plain] = field(default_factory=dict)
    unchanged: bool = False
    parts: list[dict[str, Plain]] = field(default_factory=list)


@contextmanager
def change_policy(
    database: Database,
    *,
    at: float,
    instance: str,
    actor: str,
    action: str,
    revokes: bool = False,
) -> Iterator[PolicyChange]:
    """Run one change: its rows, the new version and the audit event are written together or not at all.

    `actor` is the account of the person, `action` the kind of change (`grant.add`). The `fields` of the
    change are plain JSON values, never a secret. `revokes` is true for a change that only takes rights away,
    which must work on a full disk. Raises StoreError.
    """
    with database.write(revokes=revokes) as transaction:
        change = PolicyChange(transaction, {"action": action})
        yield change
        count_change(transaction, unchanged=change.unchanged)
        events = [
            Event(
                at=at,
                kind=EventKind.POLICY_CHANGED,
                instance=instance,
                identity=actor,
                fields=MappingProxyType(fields),
            )
            for fields in (*change.parts, change.fields)
        ]
        append(transaction, events)
