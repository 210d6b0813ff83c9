"""Who users are at identity providers, and the groups that come from there. Each runs in a policy change."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select, update

from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.store.changes import Part, touch
from stagedoor.store.database import Transaction
from stagedoor.store.people import add_user, require_user
from stagedoor.store.schema import identities, provided_groups, users


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """`issuer` and `subject` (`sub`) never change, so they are the person; the name is ours."""

    issuer: str
    subject: str


class RefusedUserError(RefusedError):
    """The name is given by an administrator only. The text is for the person who signs in."""


def user_of(transaction: Transaction, person: ProviderAccount) -> str | None:
    """The user's name here, None for somebody who never signed in."""
    return transaction.execute(select(identities.c.user_name).where(*_is(person))).scalar()


def ask_again(transaction: Transaction, name: str, at: float | None) -> None:
    """From `at` on, the user must have proved themselves at their provider to sign in by it; None: any
    session there will do again."""
    transaction.execute(update(users).where(users.c.name == name).values(sign_in_again_at=at))


def ask_again_at(transaction: Transaction, person: ProviderAccount) -> float | None:
    """After when they must have proved themselves; None: any session at the provider will do."""
    query = (
        select(users.c.sign_in_again_at)
        .join(identities, identities.c.user_name == users.c.name)
        .where(*_is(person))
    )
    return transaction.execute(query).scalar()


def list_accounts(transaction: Transaction) -> list[tuple[str, ProviderAccount]]:
    """Users and who they are elsewhere, by name."""
    query = select(identities).order_by(identities.c.user_name, identities.c.created_at)
    return [
        (row.user_name, ProviderAccount(row.issuer, row.subject))
        for row in transaction.execute(query)
    ]


def admit(
    transaction: Transaction,
    person: ProviderAccount,
    name: str,
    at: float,
    *,
    reserved: bool = False,
) -> str:
    """Return the name of the user that `person` is. Their first sign-in adds a user `name`.

    Raises ConflictError where another user has the name, since a provider's name for a person does not prove
    which user they are, and RefusedUserError for a new user whose name is `reserved`.
    """
    there = user_of(transaction, person)
    if there is not None:
        touch(transaction, Part.USERS, [there])
        return there
    if transaction.execute(select(users.c.name).where(users.c.name == name)).first() is not None:
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
    link(transaction, person, name, at)
    return name


def link(transaction: Transaction, person: ProviderAccount, name: str, at: float) -> None:
    """Say that `person` is the user `name`. Raises NotFoundError, ConflictError."""
    require_user(transaction, name)
    there = user_of(transaction, person)
    if there is not None:
        raise ConflictError(f"{person.subject} is the user {there} already")
    transaction.execute(
        insert(identities).values(
            issuer=person.issuer, subject=person.subject, user_name=name, created_at=at
        )
    )
    touch(transaction, Part.USERS, [name])


def unlink(transaction: Transaction, person: ProviderAccount) -> str:
    """Forget who it is, and the groups that came from there; the user's name. Raises NotFoundError."""
    gone = transaction.execute(
        delete(identities).where(*_is(person)).returning(identities.c.user_name)
    ).scalar()
    if gone is None:
        raise NotFoundError(
            f"no user is {person.subject} at {person.issuer}; see: stagedoor sso list"
        )
    set_provided_groups(transaction, str(gone), frozenset())
    touch(transaction, Part.USERS, [str(gone)])
    return str(gone)


def provided_groups_of(transaction: Transaction, name: str) -> frozenset[str]:
    query = select(provided_groups.c.group_name).where(provided_groups.c.user_name == name)
    return frozenset(transaction.execute(query).scalars())


def set_provided_groups(transaction: Transaction, name: str, groups: frozenset[str]) -> None:
    """Make `groups` those that an identity provider put the user in; those given here stay."""
    if groups == provided_groups_of(transaction, name):
        return
    transaction.execute(delete(provided_groups).where(provided_groups.c.user_name == name))
    if groups:
        rows = [{"user_name": name, "group_name": group} for group in sorted(groups)]
        transaction.execute(insert(provided_groups), rows)
    touch(transaction, Part.USERS, [name])


def _is(person: ProviderAccount) -> tuple[ColumnElement[bool], ...]:
    return (identities.c.issuer == person.issuer, identities.c.subject == person.subject)
