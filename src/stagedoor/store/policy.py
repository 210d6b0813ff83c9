"""The policy as one snapshot, and the only way to change it: counted and audited."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy import Table, select, update

from stagedoor.model.event import Event, Kind
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord, User
from stagedoor.store.database import Database, Transaction
from stagedoor.store.journal import append
from stagedoor.store.passes import read_signed_out
from stagedoor.store.schema import grants, keys, meta, tokens, user_groups, users, watch_rules
from stagedoor.store.shares import read_shares

Plain = str | int | float | bool | None


def load_policy(database: Database) -> Policy:
    """The whole policy as it stood at one moment. Raises StoreError."""
    with database.read() as transaction:
        return read_policy(transaction)


def read_policy(transaction: Transaction) -> Policy:
    """The whole policy, as `transaction` sees it."""
    groups: dict[str, set[str]] = defaultdict(set)
    for row in transaction.execute(select(user_groups)):
        groups[row.user_name].add(row.group_name)
    signed_out, sign_ins_end = read_signed_out(transaction)
    return Policy(
        version=transaction.execute(
            select(meta.c.value).where(meta.c.name == "policy_version")
        ).scalar_one(),
        users=MappingProxyType(
            {
                row.name: User(row.name, frozenset(groups[row.name]), row.password_hash)
                for row in transaction.execute(select(users).order_by(users.c.name))
            }
        ),
        tokens=MappingProxyType(
            {
                row.id: TokenRecord(
                    row.id,
                    row.user_name,
                    row.secret_hash,
                    None if row.scopes is None else tuple(row.scopes.split()),
                    row.expires_at,
                )
                for row in transaction.execute(select(tokens).order_by(tokens.c.created_at))
            }
        ),
        keys=MappingProxyType(
            {
                row.fingerprint: KeyRecord(
                    row.user_name, row.fingerprint, row.public_key, row.comment
                )
                for row in transaction.execute(select(keys).order_by(keys.c.created_at))
            }
        ),
        grants=_rules(transaction, grants),
        shares=MappingProxyType(read_shares(transaction)),
        watch_rules=_rules(transaction, watch_rules),
        signed_out=signed_out,
        sign_ins_end=MappingProxyType(sign_ins_end),
    )


def _rules(transaction: Transaction, table: Table) -> tuple[GrantRule, ...]:
    return tuple(
        GrantRule(row.id, row.subject, row.app_pattern, row.environment_pattern, row.expires_at)
        for row in transaction.execute(select(table).order_by(table.c.id))
    )


@dataclass
class Change:
    """A policy change in the making: what to write with, and what the audit will say of it."""

    transaction: Transaction
    fields: dict[str, Plain] = field(default_factory=dict)


@contextmanager
def change_policy(
    database: Database,
    *,
    at: float,
    instance: str,
    actor: str,
    action: str,
    revokes: bool = False,
) -> Iterator[Change]:
    """Run one change: its rows, the new policy version and the audit event, all or nothing.

    `actor` is the account of the person, `action` says what (`grant.add`). `fields` of the change
    are plain JSON values and never a secret. `revokes`: it only takes rights away, and so must work
    on a full disk.
    """
    with database.write(revokes=revokes) as transaction:
        change = Change(transaction, {"action": action})
        yield change
        transaction.execute(
            update(meta).where(meta.c.name == "policy_version").values(value=meta.c.value + 1)
        )
        event = Event(
            at=at,
            kind=Kind.POLICY_CHANGED,
            instance=instance,
            identity=actor,
            fields=MappingProxyType(change.fields),
        )
        append(transaction, [event])
