"""The rows of users, and of their groups, tokens and keys. Call each function in a policy change."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Executable, Row, Select, Table, delete, func, insert, select, update

from stagedoor.model.access_set import refuse_owned
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from stagedoor.model.policy import KeyRecord, TokenRecord, User
from stagedoor.model.selector import list_named_users
from stagedoor.store.access_requests import end_requests_of, find_owned_rules
from stagedoor.store.administration.tables import roles
from stagedoor.store.changes import Part, touch
from stagedoor.store.columns import find_owner
from stagedoor.store.database import Transaction
from stagedoor.store.schema import (
    grants,
    identities,
    keys,
    provided_groups,
    shares,
    tokens,
    user_groups,
    users,
)
from stagedoor.store.sign_in.tables import PassKind, web_passes


def has_user(transaction: Transaction, name: str) -> bool:
    """Return whether the user exists, disabled or not."""
    query = select(users.c.name).where(users.c.name == name)
    return transaction.execute(query).first() is not None


def require_user(transaction: Transaction, name: str) -> None:
    """Raise NotFoundError if the user does not exist."""
    if not has_user(transaction, name):
        raise NotFoundError.of(f"user {name}", "user list")


def require_named_users(transaction: Transaction, subjects: Iterable[str]) -> None:
    """Raise NotFoundError unless all users among `subjects` exist."""
    for name in list_named_users(subjects):
        require_user(transaction, name)


def add_user(
    transaction: Transaction,
    name: str,
    groups: frozenset[str],
    password_hash: str | None,
    at: float,
) -> None:
    """Add a user. Raises ConflictError if the user exists already."""
    if has_user(transaction, name):
        raise ConflictError.with_fix(
            f"the user {name} is there already", "see `stagedoor user list`"
        )
    transaction.execute(insert(users).values(name=name, password_hash=password_hash, created_at=at))
    touch(transaction, Part.USERS, [name])
    set_groups(transaction, name, groups)


def find_groups_of(transaction: Transaction, name: str) -> frozenset[str]:
    """Return the groups that the user is in; none for an unknown user."""
    query = select(user_groups.c.group_name).where(user_groups.c.user_name == name)
    return frozenset(transaction.execute(query).scalars())


def is_disabled(transaction: Transaction, name: str) -> bool:
    """Return whether the user is disabled; False for an unknown user."""
    query = select(users.c.name).where(users.c.name == name, users.c.disabled_at.is_not(None))
    return transaction.execute(query).first() is not None


def require_enabled(transaction: Transaction, name: str) -> None:
    """Raise RefusedError, with a message for the user, if they are disabled."""
    if is_disabled(transaction, name):
        raise RefusedError(f"the user {name!r} is disabled; ask an administrator")


def set_disabled(transaction: Transaction, name: str, at: float | None) -> bool:
    """Disable the user since `at` (seconds since the epoch), or enable them if it is None.

    Return whether that changed anything. Raises NotFoundError.
    """
    require_user(transaction, name)
    if is_disabled(transaction, name) == (at is not None):
        return False
    transaction.execute(update(users).where(users.c.name == name).values(disabled_at=at))
    touch(transaction, Part.USERS, [name])
    return True


def read_user(transaction: Transaction, name: str) -> User:
    """Return the user with the groups stored here. Raises NotFoundError."""
    user = find_user(transaction, name)
    if user is None:
        raise NotFoundError.of(f"user {name}", "user list")
    return user


def find_user(transaction: Transaction, name: str) -> User | None:
    """Return the user with the groups that are stored here, or None."""
    row = transaction.execute(select(users).where(users.c.name == name)).first()
    if row is None:
        return None
    groups = find_groups_of(transaction, name)
    return User(name, groups, row.password_hash, row.language, row.owner_set, row.created_at)


def list_group_sets(transaction: Transaction, user: str | None = None) -> dict[str, list[str]]:
    """Return the access sets whose rows put users, or one user, in a group, by group."""
    columns = user_groups.c
    query = select(columns.group_name, columns.owner_set).where(columns.owner_set.is_not(None))
    if user is not None:
        query = query.where(columns.user_name == user)
    sets: dict[str, list[str]] = {}
    for row in transaction.execute(query.distinct().order_by(columns.owner_set)):
        sets.setdefault(row.group_name, []).append(row.owner_set)
    return sets


def set_groups(transaction: Transaction, name: str, groups: frozenset[str]) -> None:
    """Replace the groups that the user is in.

    Raises NotFoundError, and RefusedError if this would remove the user from a group of an access set.
    """
    require_user(transaction, name)
    mine = user_groups.c.user_name == name
    before = {row.group_name: row for row in transaction.execute(select(user_groups).where(mine))}
    left = before.keys() - groups
    for group in sorted(left):
        refuse_owned(f"{name} in the group {group}", find_owner(before[group]))
    transaction.execute(delete(user_groups).where(mine, user_groups.c.group_name.in_(left)))
    if joined := groups - before.keys():
        transaction.execute(
            insert(user_groups), [{"user_name": name, "group_name": g} for g in sorted(joined)]
        )
    touch(transaction, Part.USERS, [name])


def set_password(
    transaction: Transaction, name: str, password_hash: str | None, before: str | None = None
) -> None:
    """Set the user's password, or remove it if `password_hash` is None.

    `before` is the hash that the current password must have, None for any. Raises NotFoundError, and
    RefusedError if the password has another hash.
    """
    present = read_user(transaction, name).password_hash
    if before is not None and present != before:
        raise RefusedError(f"the password of {name} has been changed in the meantime")
    transaction.execute(
        update(users).where(users.c.name == name).values(password_hash=password_hash)
    )
    touch(transaction, Part.USERS, [name])


def set_language(transaction: Transaction, name: str, language: str | None) -> None:
    """Set the user's language, None for that of each browser. Raises NotFoundError."""
    require_user(transaction, name)
    transaction.execute(update(users).where(users.c.name == name).values(language=language))
    touch(transaction, Part.USERS, [name])


def remove_user(
    transaction: Transaction, name: str, *, by_set: str | None = None
) -> dict[str, int]:
    """Remove the user and all their rows. Return how many keys, tokens and grants these were.

    `by_set` is the access set that removes its own user. Raises NotFoundError, and RefusedError if one of the
    rows belongs to another access set.
    """
    require_user(transaction, name)
    subject = f"user:{name}"
    _refuse_owned_rows(transaction, name, by_set)
    removed_counts = {}
    for part, removal in (
        (Part.KEYS, delete(keys).where(keys.c.user_name == name).returning(keys.c.fingerprint)),
        (Part.TOKENS, delete(tokens).where(tokens.c.user_name == name).returning(tokens.c.id)),
        (Part.GRANTS, delete(grants).where(grants.c.subject == subject).returning(grants.c.id)),
        (Part.ROLES, delete(roles).where(roles.c.subject == subject).returning(roles.c.id)),
        (Part.SHARES, delete(shares).where(shares.c.user_name == name).returning(shares.c.id)),
        (
            Part.BOUND_KEYS,
            delete(web_passes)
            .where(web_passes.c.user_name == name, web_passes.c.key_fingerprint.is_not(None))
            .returning(web_passes.c.key_fingerprint),
        ),
    ):
        removed = transaction.execute(removal).scalars().all()
        touch(transaction, part, removed)
        removed_counts[part.value] = len(removed)
    # A later user of this name must not get what was approved for this one.
    end_requests_of(transaction, name)
    transaction.execute(delete(identities).where(identities.c.user_name == name))
    transaction.execute(delete(provided_groups).where(provided_groups.c.user_name == name))
    # The database removes the user's web passes too, including ended sign-ins.
    transaction.execute(delete(user_groups).where(user_groups.c.user_name == name))
    transaction.execute(delete(users).where(users.c.name == name))
    touch(transaction, Part.USERS, [name])
    return {part: removed_counts[part] for part in ("keys", "tokens", "grants")}


def _refuse_owned_rows(transaction: Transaction, name: str, by_set: str | None) -> None:
    """Raise RefusedError if the user, or a row about them, belongs to another set than `by_set`."""
    for what, table, is_theirs in (
        (f"the user {name}", users, users.c.name == name),
        (f"a group of {name}", user_groups, user_groups.c.user_name == name),
        (f"a grant of {name}", grants, grants.c.subject == f"user:{name}"),
    ):
        columns: Select[Any] = select(table.c.owner_set, table.c.owner_file).where(is_theirs)
        for row in transaction.execute(columns.where(table.c.owner_set.is_not(None))):
            owner = find_owner(row)
            refuse_owned(what, None if owner is None or owner.set == by_set else owner)
    for number, owner in find_owned_rules(transaction, f"user:{name}"):
        refuse_owned(f"request rule {number}", None if owner.set == by_set else owner)


def add_key(transaction: Transaction, key: KeyRecord, at: float, most: int | None = None) -> None:
    """Add a key to its user.

    Raises NotFoundError if the user is unknown, ConflictError if the key is registered already or a sign-in
    of another user is bound to it, and RefusedError if the user has `most` keys.
    """
    require_user(transaction, key.user)
    _check_number(transaction, keys, key.user, most, "keys")
    row = transaction.execute(
        select(keys.c.user_name).where(keys.c.fingerprint == key.fingerprint)
    ).first()
    if row is not None:
        raise ConflictError(f"the key {key.fingerprint} is registered already, for {row.user_name}")
    # The other user has proved possession of it. A registered key takes precedence over the sign-in, so ssh
    # app01@gateway would log in as the user who registered only the public half.
    bound = transaction.execute(
        select(web_passes.c.user_name).where(
            web_passes.c.key_fingerprint == key.fingerprint,
            web_passes.c.kind == PassKind.LOGIN,
            web_passes.c.expires_at > at,
            web_passes.c.user_name != key.user,
        )
    ).first()
    if bound is not None:
        raise ConflictError.with_fix(
            f"the key {key.fingerprint} is that of a sign-in of {bound.user_name}",
            "see `stagedoor sign-in list`",
        )
    transaction.execute(
        insert(keys).values(
            fingerprint=key.fingerprint,
            user_name=key.user,
            public_key=key.public_key,
            comment=key.comment,
            created_at=at,
        )
    )
    touch(transaction, Part.KEYS, [key.fingerprint])


def list_keys(transaction: Transaction, name: str) -> list[KeyRecord]:
    """Return a user's keys, the oldest first."""
    query = select(keys).where(keys.c.user_name == name).order_by(keys.c.created_at)
    return [make_key_record(row) for row in transaction.execute(query)]


def make_key_record(row: Row[Any]) -> KeyRecord:
    """Return the key in a row of `keys`."""
    return KeyRecord(row.user_name, row.fingerprint, row.public_key, row.comment)


def remove_key(transaction: Transaction, fingerprint: str) -> str:
    """Remove a key and return its user's name. Raises NotFoundError."""
    return _remove(
        transaction,
        Part.KEYS,
        fingerprint,
        delete(keys).where(keys.c.fingerprint == fingerprint).returning(keys.c.user_name),
        NotFoundError.of(f"key {fingerprint}", "key list"),
    )


def add_token(
    transaction: Transaction, token: TokenRecord, at: float, most: int | None = None
) -> None:
    """Add a token. Raises NotFoundError if the user is unknown, RefusedError if they have `most`."""
    require_user(transaction, token.user)
    _check_number(transaction, tokens, token.user, most, "tokens")
    transaction.execute(
        insert(tokens).values(
            id=token.id,
            user_name=token.user,
            secret_hash=token.secret_hash,
            scopes=None if token.scopes is None else " ".join(token.scopes),
            expires_at=token.expires_at,
            created_at=at,
        )
    )
    touch(transaction, Part.TOKENS, [token.id])


def list_tokens(transaction: Transaction, name: str) -> list[TokenRecord]:
    """Return a user's tokens, the oldest first."""
    query = select(tokens).where(tokens.c.user_name == name).order_by(tokens.c.created_at)
    return [make_token_record(row) for row in transaction.execute(query)]


def make_token_record(row: Row[Any]) -> TokenRecord:
    """Return the token in a row of `tokens`."""
    scopes = None if row.scopes is None else tuple(row.scopes.split())
    return TokenRecord(
        row.id, row.user_name, row.secret_hash, scopes, row.expires_at, row.created_at
    )


def remove_token(transaction: Transaction, token_id: str) -> str:
    """Remove a token and return its user's name. Raises NotFoundError."""
    return _remove(
        transaction,
        Part.TOKENS,
        token_id,
        delete(tokens).where(tokens.c.id == token_id).returning(tokens.c.user_name),
        NotFoundError.of(f"token {token_id}", "token list"),
    )


def _check_number(
    transaction: Transaction, table: Table, name: str, most: int | None, what: str
) -> None:
    if most is None:
        return
    query = select(func.count()).select_from(table).where(table.c.user_name == name)
    if transaction.execute(query).scalar_one() >= most:
        raise RefusedError(f"{name} has {most} {what} already; remove one first")


def _remove(
    transaction: Transaction, part: Part, name: str, removal: Executable, missing: NotFoundError
) -> str:
    user = transaction.execute(removal).scalar()
    if user is None:
        raise missing
    touch(transaction, part, [name])
    return str(user)
