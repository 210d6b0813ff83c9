"""The users' accounts at identity providers, and the groups that providers report.

Call each function that writes in a policy change.
"""

import hashlib

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, insert, select, update

from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Transaction
from stagedoor.store.people import add_user, has_user, require_user
from stagedoor.store.schema import identities, provided_groups, users


class ProviderAccount(Struct, frozen=True):
    """An account at an identity provider. `issuer` and `subject` (`sub`) identify it and never change."""

    issuer: str
    subject: str


class RefusedUserError(RefusedError):
    """Only an administrator may give out this name. The message is for the user who signs in."""


def find_user(transaction: Transaction, account: ProviderAccount) -> str | None:
    """Return the name of the account's user, or None if the account has never signed in."""
    return transaction.execute(select(identities.c.user_name).where(*_is(account))).scalar()


def require_proof(transaction: Transaction, name: str, after: float | None) -> None:
    """Accept the user's sign-ins at a provider only if they have authenticated there after `after`.

    With None, any session at the provider is accepted again.
    """
    transaction.execute(update(users).where(users.c.name == name).values(sign_in_again_at=after))


def read_required_proof(transaction: Transaction, account: ProviderAccount) -> float | None:
    """Return the time after which the account's user must have authenticated; None accepts any session."""
    query = (
        select(users.c.sign_in_again_at)
        .join(identities, identities.c.user_name == users.c.name)
        .where(*_is(account))
    )
    return transaction.execute(query).scalar()


def list_accounts(transaction: Transaction) -> list[tuple[str, ProviderAccount]]:
    """List users with their accounts, ordered by user name."""
    query = select(identities).order_by(identities.c.user_name, identities.c.created_at)
    return [
        (row.user_name, ProviderAccount(row.issuer, row.subject))
        for row in transaction.execute(query)
    ]


def hash_accounts(transaction: Transaction, user: str) -> frozenset[str]:
    """Return digests of the user's accounts, which always identify the same person."""
    query = select(identities.c.issuer, identities.c.subject).where(identities.c.user_name == user)
    return frozenset(
        hashlib.sha256(f"{row.issuer}\n{row.subject}".encode()).hexdigest()
        for row in transaction.execute(query)
    )


def admit(
    transaction: Transaction,
    account: ProviderAccount,
    name: str,
    at: float,
    *,
    reserved: bool = False,
) -> str:
    """Return the name of the account's user. The first sign-in adds a user `name`.

    Raises ConflictError if a user of that name exists, since a name at a provider does not prove that the
    account is that user's, and RefusedUserError for a new user whose name is `reserved`.
    """
    user = find_user(transaction, account)
    if user is not None:
        touch(transaction, Part.USERS, [user])
        return user
    if has_user(transaction, name):
        raise ConflictError(
            f"your user name is {name} there, and that name belongs to another user of this gateway; if that "
            "is you, ask your administrator to link the two"
        )
    if reserved:
        raise RefusedUserError(
            f"your user name is {name} there, and that name is reserved on this gateway; ask your "
            "administrator to add you under another name"
        )
    add_user(transaction, name, frozenset(), None, at)
    link(transaction, account, name, at)
    return name


def link(transaction: Transaction, account: ProviderAccount, name: str, at: float) -> None:
    """Link `account` to the user `name`. Raises NotFoundError, ConflictError."""
    require_user(transaction, name)
    user = find_user(transaction, account)
    if user is not None:
        raise ConflictError(f"{account.subject} is the user {user} already")
    transaction.execute(
        insert(identities).values(
            issuer=account.issuer, subject=account.subject, user_name=name, created_at=at
        )
    )
    touch(transaction, Part.USERS, [name])


def unlink(transaction: Transaction, account: ProviderAccount) -> str:
    """Remove the account's link and the user's groups from providers. Return the user's name.

    Raises NotFoundError.
    """
    user = transaction.execute(
        delete(identities).where(*_is(account)).returning(identities.c.user_name)
    ).scalar()
    if user is None:
        raise NotFoundError.with_fix(
            f"no user is {account.subject} at {account.issuer}", "see: stagedoor sso list"
        )
    set_provided_groups(transaction, str(user), frozenset())
    touch(transaction, Part.USERS, [str(user)])
    return str(user)


def list_provided_groups(transaction: Transaction, name: str) -> frozenset[str]:
    """Return the groups that identity providers put the user in."""
    query = select(provided_groups.c.group_name).where(provided_groups.c.user_name == name)
    return frozenset(transaction.execute(query).scalars())


def set_provided_groups(transaction: Transaction, name: str, groups: frozenset[str]) -> None:
    """Replace the groups that identity providers put the user in. The groups in `user_groups` stay."""
    if groups == list_provided_groups(transaction, name):
        return
    transaction.execute(delete(provided_groups).where(provided_groups.c.user_name == name))
    if groups:
        rows = [{"user_name": name, "group_name": group} for group in sorted(groups)]
        transaction.execute(insert(provided_groups), rows)
    touch(transaction, Part.USERS, [name])


def _is(account: ProviderAccount) -> tuple[ColumnElement[bool], ...]:
    return (identities.c.issuer == account.issuer, identities.c.subject == account.subject)
