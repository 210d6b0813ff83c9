"""One user: everything in the store about the user, and disabling or enabling the user."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from stagedoor.admin.service import AdminService
from stagedoor.admin.sign_ins import list_sign_ins
from stagedoor.model.errors import NotFoundError
from stagedoor.model.grant import GrantRule
from stagedoor.model.policy import KeyRecord, TokenRecord, User
from stagedoor.store import people
from stagedoor.store.policy import read_policy
from stagedoor.store.sessions import SessionRecord, list_sessions
from stagedoor.store.sign_in import identities
from stagedoor.store.sign_in.identities import ProviderAccount
from stagedoor.store.sign_in.sign_ins import SignInRecord


class UserState(Struct, frozen=True):
    """One user with their rights.

    `provided` are the groups from identity providers, which the groups of `user` include. `group_sets` are
    the access sets whose files put the user in a group, by group. `accounts` are the user's accounts at
    providers. `grants` are all grants about the user, including expired ones; `sessions` are the open ones.
    """

    user: User
    disabled: bool
    provided: frozenset[str]
    accounts: list[ProviderAccount]
    grants: list[GrantRule]
    keys: list[KeyRecord]
    tokens: list[TokenRecord]
    sign_ins: list[SignInRecord]
    sessions: list[SessionRecord]
    group_sets: Mapping[str, Sequence[str]]


def read_user_state(service: AdminService, name: str) -> UserState:
    """Return everything that the store has about the user. Raises NotFoundError, StoreError."""
    with service.database.read() as transaction:
        policy = read_policy(transaction)
        user = policy.all_users.get(name)
        if user is None:
            raise NotFoundError.of(f"user {name}", "user list")
        provided = identities.list_provided_groups(transaction, name)
        accounts = [
            account for owner, account in identities.list_accounts(transaction) if owner == name
        ]
        keys = people.list_keys(transaction, name)
        tokens = people.list_tokens(transaction, name)
        group_sets = people.list_group_sets(transaction, name)
    return UserState(
        user,
        name in policy.disabled,
        provided,
        accounts,
        policy.find_grants(user.subjects),
        keys,
        tokens,
        list_sign_ins(service, name),
        list_sessions(service.database, identity=name)[::-1],
        group_sets,
    )


def set_disabled(service: AdminService, name: str, *, disabled: bool) -> bool:
    """Disable a user, or enable a disabled one. Return whether that changed anything.

    Nothing is removed. The workers close a disabled user's sessions within seconds. Raises
    NotFoundError, StoreError.
    """
    action = "user.disable" if disabled else "user.enable"
    with service.change(action, revokes=disabled) as change:
        changed = people.set_disabled(
            change.transaction, name, service.clock() if disabled else None
        )
        change.unchanged = not changed
        change.fields["user"] = name
    return changed
