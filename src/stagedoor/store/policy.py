"""Reading the policy as one snapshot, and the only function that changes it: counted and audited."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select

from stagedoor.model.event import Event, EventKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.model.selector import list_subjects
from stagedoor.store.access_requests import read_open_requests, read_request_rules
from stagedoor.store.administration.roles import read_roles
from stagedoor.store.changes import Part, count_change, read_touched
from stagedoor.store.database import Database, Transaction
from stagedoor.store.grants import grant_of
from stagedoor.store.journal import append
from stagedoor.store.schema import (
    grants,
    keys,
    meta,
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

Plain = str | int | float | bool | None
Key = TypeVar("Key")
Value = TypeVar("Value")


def load_policy(database: Database) -> Policy:
    """Return the whole policy as of one moment. Raises StoreError."""
    with database.read() as transaction:
        return read_policy(transaction)


def load_newest(database: Database, before: Policy) -> Policy:
    """Return the policy as it is now, made of an earlier one. Raises StoreError."""
    with database.read() as transaction:
        version = read_policy_version(transaction)
        if version == before.version:
            return before
        return read_changes(transaction, before, version) or read_policy(transaction)


def read_policy_version(transaction: Transaction) -> int:
    """Return the version of the policy as `transaction` sees it."""
    query = select(meta.c.value).where(meta.c.name == "policy_version")
    return int(transaction.execute(query).scalar_one())


def read_policy(transaction: Transaction) -> Policy:
    """Return the whole policy as `transaction` sees it."""
    return Policy(
        version=read_policy_version(transaction),
        users=MappingProxyType(_users(transaction)),
        disabled=MappingProxyType(_disabled(transaction)),
        tokens=MappingProxyType(_tokens(transaction)),
        keys=MappingProxyType(_keys(transaction)),
        grants=tuple(_grants(transaction).values()),
        shares=MappingProxyType(read_shares(transaction)),
        signed_out=MappingProxyType(read_signed_out(transaction)),
        sign_ins_end=MappingProxyType(read_sign_ins_end(transaction)),
        sign_in_ends=MappingProxyType(read_sign_in_ends(transaction)),
        bound_keys=MappingProxyType(read_bound_keys(transaction)),
        stepped_up=MappingProxyType(read_step_ups(transaction)),
        password_proofs=MappingProxyType(read_password_proofs(transaction)),
        request_rules=MappingProxyType(read_request_rules(transaction)),
        requests=MappingProxyType(read_open_requests(transaction)),
        roles=MappingProxyType(read_roles(transaction)),
    )


def list_grants_about(transaction: Transaction, name: str) -> tuple[GrantRule, ...]:
    """Return the rules that name the user, one of their groups or all users, including expired ones."""
    groups: set[str] = set()
    for table in (user_groups, provided_groups):
        query = select(table.c.group_name).where(table.c.user_name == name)
        groups.update(transaction.execute(query).scalars())
    about = grants.c.subject.in_(list_subjects(name, groups))
    rows = transaction.execute(select(grants).where(about).order_by(grants.c.id))
    return tuple(grant_of(row) for row in rows)


def read_changes(transaction: Transaction, before: Policy, now: int) -> Policy | None:
    """Return the policy of version `now`, made of an earlier one and the rows that have changed since.

    Return None if the changes are not known and the whole policy must be read.
    """
    touched = read_touched(transaction, before.version, now)
    if touched is None:
        return None

    def fresh(
        part: Part,
        old: Mapping[Key, Value],
        read: Callable[[Transaction, Collection[Key]], dict[Key, Value]],
        key: Callable[[str], Key],
    ) -> Mapping[Key, Value]:
        names = touched.get(part)
        if names is None:
            return old
        changed = frozenset(map(key, names))
        kept = {name: row for name, row in old.items() if name not in changed}
        return MappingProxyType(kept | read(transaction, changed))

    numbers = touched.get(Part.GRANTS, frozenset())
    added = list(_grants(transaction, numbers).values()) if numbers else []
    removed, rules = _replace_rules(before.grants, map(int, numbers), added)
    policy = Policy(
        version=now,
        users=fresh(Part.USERS, before.users, _users, str),
        disabled=fresh(Part.USERS, before.disabled, _disabled, str),
        tokens=fresh(Part.TOKENS, before.tokens, _tokens, str),
        keys=fresh(Part.KEYS, before.keys, _keys, str),
        grants=rules,
        shares=fresh(Part.SHARES, before.shares, read_shares, str),
        signed_out=fresh(Part.SIGNED_OUT, before.signed_out, read_signed_out, bytes.fromhex),
        sign_ins_end=fresh(Part.SIGN_INS_END, before.sign_ins_end, read_sign_ins_end, str),
        sign_in_ends=fresh(
            Part.SIGN_IN_ENDS, before.sign_in_ends, read_sign_in_ends, bytes.fromhex
        ),
        bound_keys=fresh(Part.BOUND_KEYS, before.bound_keys, read_bound_keys, str),
        stepped_up=fresh(Part.STEP_UPS, before.stepped_up, read_step_ups, bytes.fromhex),
        password_proofs=fresh(
            Part.STEP_UPS, before.password_proofs, read_password_proofs, bytes.fromhex
        ),
        request_rules=fresh(Part.REQUEST_RULES, before.request_rules, read_request_rules, int),
        requests=fresh(Part.REQUESTS, before.requests, read_open_requests, int),
        roles=fresh(Part.ROLES, before.roles, read_roles, int),
    )
    return policy.update_index(before, removed, added)


def _replace_rules(
    old: tuple[GrantRule, ...], numbers: Iterable[int], added: Sequence[GrantRule]
) -> tuple[Sequence[GrantRule], tuple[GrantRule, ...]]:
    """Return the rules of these numbers, and all others with those added. All are in order of number."""
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
        )
        for row in transaction.execute(query)
        if (row.disabled_at is not None) == disabled
    }


def _tokens(
    transaction: Transaction, only: Collection[str] | None = None
) -> dict[str, TokenRecord]:
    query = _where_in(select(tokens).order_by(tokens.c.created_at), tokens.c.id, only)
    return {
        row.id: TokenRecord(
            row.id,
            row.user_name,
            row.secret_hash,
            None if row.scopes is None else tuple(row.scopes.split()),
            row.expires_at,
        )
        for row in transaction.execute(query)
    }


def _keys(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, KeyRecord]:
    query = _where_in(select(keys).order_by(keys.c.created_at), keys.c.fingerprint, only)
    return {
        row.fingerprint: KeyRecord(row.user_name, row.fingerprint, row.public_key, row.comment)
        for row in transaction.execute(query)
    }


def _grants(transaction: Transaction, only: Collection[str] | None = None) -> dict[str, GrantRule]:
    """Return the grants by their numbers as text."""
    numbers = None if only is None else [int(name) for name in only]
    query = _where_in(select(grants).order_by(grants.c.id), grants.c.id, numbers)
    return {str(row.id): grant_of(row) for row in transaction.execute(query)}


def _where_in(
    query: Select[Any], column: ColumnElement[Any], only: Collection[Any] | None
) -> Select[Any]:
    return query if only is None else query.where(column.in_(only))


@dataclass
class PolicyChange:
    """A change of the policy in progress: its transaction, and the fields of its audit event.

    `unchanged` is true if no row of the policy was written, so that no worker has to read anything. `parts`
    are the fields of further events, one for each act of a change that has many, with their actions.
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
    """Run one change: its rows, the new policy version and the audit event are written all or not at all.

    `actor` is the account of the person, `action` the kind of change (`grant.add`). The `fields` of the
    change are plain JSON values and never a secret. `revokes` is true if it only takes rights away, and so
    must work on a full disk. Raises StoreError.
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
