"""The changes of the policy, each as one function. Every change is audited.

The commands, the API and the pages change the policy only through these functions. They check their
arguments, so that no caller can store a name or a pattern that is misread later.
"""

import os
import platform
import pwd
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stagedoor.admin.checks import (
    check_end,
    check_groups,
    check_name,
    check_pattern,
    check_scope,
    check_subject,
    hash_new_password,
)
from stagedoor.authn.tokens import MintedToken, mint, parse_token_id
from stagedoor.model.errors import RefusedError
from stagedoor.model.event import Plain
from stagedoor.model.grant import GrantRule
from stagedoor.model.name import is_valid_name
from stagedoor.model.permission import DEFAULT, NOTHING, Permission, Permissions, to_words
from stagedoor.model.policy import KeyRecord, Policy, TokenRecord
from stagedoor.settings.settings import Settings
from stagedoor.store import grants, people
from stagedoor.store.administration.roles import SignInRules, has_administrator
from stagedoor.store.database import Database, Transaction, open_database
from stagedoor.store.policy import PolicyChange, change_policy, load_policy

_ABOUT_ADMINISTRATORS = frozenset({"user", "role", "sso", "apply"})
"""The first words of the changes that may remove an administrator."""


class ChangeGuard(Protocol):
    """The checks of a change inside its transaction. An exception undoes the change."""

    def begin(self, transaction: Transaction) -> None:
        """Check the rows before the change."""
        ...

    def finish(self, transaction: Transaction) -> None:
        """Check the rows after it."""
        ...


@dataclass(frozen=True, slots=True)
class AdminService:
    """An opened store for one administrator or user. `actor` is their name in the audit.

    `guard` checks each change, None for no further check. A change that would leave no administrator who can
    sign in by `sign_in_rules` is refused. They are None at the gateway's machine, where the caller can write
    the store anyway.
    """

    database: Database
    data_dir: Path
    actor: str
    clock: Callable[[], float]
    guard: ChangeGuard | None = None
    sign_in_rules: SignInRules | None = None

    @property
    def instance(self) -> str:
        """The name of this process in the audit."""
        return f"administration-{os.getpid()}"

    @contextmanager
    def change(self, action: str, *, revokes: bool = False) -> Iterator[PolicyChange]:
        """Begin a change of the policy, which is written to the audit as `action`.

        `revokes` is true if rights are only taken away, which works on a full disk too.
        """
        with change_policy(
            self.database,
            at=self.clock(),
            instance=self.instance,
            actor=self.actor,
            action=action,
            revokes=revokes,
        ) as change:
            if self.guard is not None:
                self.guard.begin(change.transaction)
            is_bound = action.partition(".")[0] in _ABOUT_ADMINISTRATORS
            had_one = is_bound and self._has_administrator(change.transaction)
            yield change
            if had_one and not self._has_administrator(change.transaction):
                raise RefusedError(
                    "no administrator who can sign in would be left; give another user that role first"
                )
            if self.guard is not None:
                self.guard.finish(change.transaction)

    def _has_administrator(self, transaction: Transaction) -> bool:
        rules = self.sign_in_rules
        return rules is not None and has_administrator(transaction, self.clock(), rules)


@contextmanager
def open_service(
    where: Settings | Path,
    *,
    create: bool = True,
    upgrade: bool = True,
    actor: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[AdminService]:
    """Open the store that the settings name. Raises StoreError.

    `create` creates a missing store, and `upgrade` updates its schema. A path is a `data_dir` with default
    settings. `actor` is by default the account that this process runs under.
    """
    settings = Settings(data_dir=where) if isinstance(where, Path) else where
    database = open_database(settings.store_location, create=create, upgrade=upgrade)
    data_dir = settings.data_dir
    try:
        yield AdminService(database, data_dir, actor or find_account(), clock)
    finally:
        database.close()


def find_account() -> str:
    """Return the account of this process as `NAME@MACHINE`, or `root(alice)@MACHINE` under sudo.

    SUDO_USER counts only for root, which could write anything into the store anyway.
    """
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    sudo_user = os.environ.get("SUDO_USER", "")
    if uid == 0 and is_valid_name(sudo_user):
        name = f"{name}({sudo_user})"
    return f"{name}@{platform.node()}"


def read_policy(service: AdminService) -> Policy:
    """Return the whole policy as it is now. Raises StoreError."""
    return load_policy(service.database)


def add_user(
    service: AdminService, name: str, *, groups: Iterable[str] = (), password: str | None = None
) -> None:
    """Add a user, without a password if it is None. Raises RefusedError, ConflictError, StoreError."""
    check_name(name, "user")
    wanted = check_groups(groups)
    password_hash = None if password is None else hash_new_password(password)
    with service.change("user.add") as change:
        people.add_user(change.transaction, name, wanted, password_hash, service.clock())
        change.fields |= {
            "user": name,
            "groups": " ".join(sorted(wanted)),
            "password": password is not None,
        }


def set_password(
    service: AdminService, name: str, password: str | None, *, before: str | None = None
) -> str | None:
    """Set the user's password, or remove it if it is None, and return its new hash.

    `before` is the hash that the current password must have (None: any). Raises NotFoundError,
    RefusedError, StoreError.
    """
    password_hash = None if password is None else hash_new_password(password)
    with service.change("user.password", revokes=password is None) as change:
        people.set_password(change.transaction, name, password_hash, before)
        change.fields |= {"user": name, "password": password is not None}
    return password_hash


def set_language(service: AdminService, name: str, language: str | None) -> None:
    """Set the language of the user's pages and messages, None for that of each browser.

    Raises NotFoundError, StoreError.
    """
    with service.change("user.language") as change:
        people.set_language(change.transaction, name, language)
        change.fields |= {"user": name, "language": language or ""}


def change_groups(
    service: AdminService, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> frozenset[str]:
    """Change the user's groups and return the new ones. Raises NotFoundError, RefusedError, StoreError."""
    joined = check_groups(add)
    left = frozenset(remove)
    with service.change("user.groups", revokes=not joined) as change:
        people.require_user(change.transaction, name)
        before = people.find_groups_of(change.transaction, name)
        if missing := left - before:
            raise RefusedError(f"{name} is not in the group {', '.join(sorted(missing))}")
        after = (before | joined) - left
        people.set_groups(change.transaction, name, after)
        change.fields |= {"user": name, "groups": " ".join(sorted(after))}
    return after


def remove_user(service: AdminService, name: str) -> dict[str, int]:
    """Remove a user with all keys, tokens and grants of the name. Return how many of each there were.

    The workers close the user's live sessions within seconds. Raises NotFoundError, StoreError.
    """
    with service.change("user.remove", revokes=True) as change:
        removed_counts = people.remove_user(change.transaction, name)
        change.fields |= {"user": name, **removed_counts}
    return removed_counts


def add_keys(
    service: AdminService, user: str, lines: Iterable[str], *, most: int | None = None
) -> list[KeyRecord]:
    """Register OpenSSH public keys, given as lines of `.pub` files: all of them or none.

    `most` is the number of keys that the user may have. Raises RefusedError with the reason, NotFoundError,
    ConflictError, StoreError.
    """
    # Imported here, because few commands read keys.
    from stagedoor.wire.ssh.key import KeyRefused, parse_public_key

    records = []
    for line in lines:
        key = parse_public_key(line)
        if isinstance(key, KeyRefused):
            raise RefusedError(f"this key is not taken for {user}: {key.reason}")
        records.append(KeyRecord(user, key.fingerprint, key.line, key.comment))
    if not records:
        raise RefusedError("there is no key; give the line of a .pub file, such as id_ed25519.pub")
    with service.change("key.add") as change:
        for record in records:
            people.add_key(change.transaction, record, service.clock(), most)
        fingerprints = " ".join(record.fingerprint for record in records)
        change.fields |= {"user": user, "key": fingerprints}
    return records


def remove_key(service: AdminService, fingerprint: str) -> str:
    """Remove a key and return the name of its user. Raises NotFoundError, StoreError."""
    with service.change("key.remove", revokes=True) as change:
        user = people.remove_key(change.transaction, fingerprint)
        change.fields |= {"user": user, "key": fingerprint}
    return user


def create_token(
    service: AdminService,
    user: str,
    *,
    scopes: Iterable[str] | None = None,
    expires_at: float | None = None,
    most: int | None = None,
) -> MintedToken:
    """Create a token. Its text is not stored.

    `scopes` None allows everything that the user's grants allow; `expires_at` None means no end; `most` is
    the number of tokens that the user may have, None for any. Raises NotFoundError, RefusedError, StoreError.
    """
    limits = None if scopes is None else tuple(scopes)
    for scope in limits or ():
        check_scope(scope)
    check_end(expires_at, service.clock())
    token = mint()
    record = TokenRecord(token.id, user, token.secret_hash, limits, expires_at)
    with service.change("token.create") as change:
        people.add_token(change.transaction, record, service.clock(), most)
        change.fields |= {
            "user": user,
            "token": token.id,
            "scopes": None if limits is None else " ".join(limits),
            "expires_at": expires_at,
        }
    return token


def revoke_token(service: AdminService, id_or_token: str) -> str:
    """Revoke a token and return the name of its user. `id_or_token` is its id, or the whole token.

    Raises NotFoundError, StoreError.
    """
    name = parse_token_id(id_or_token) or id_or_token
    with service.change("token.revoke", revokes=True) as change:
        user = people.remove_token(change.transaction, name)
        change.fields |= {"user": user, "token": name}
    return user


def add_grant(
    service: AdminService,
    subject: str,
    app_pattern: str,
    *,
    environment_pattern: str = "*",
    expires_at: float | None = None,
    permissions: Permissions = DEFAULT,
    resume_s: float | None = None,
    prolong: bool = False,
) -> GrantRule:
    """Give permissions to `user:NAME`, `group:NAME` or `everybody`. Patterns as in `model.grant.GrantRule`.

    An expired grant of the same is replaced; with `prolong`, a grant that ends earlier gets the new end.
    Raises NotFoundError for an unknown user, RefusedError, ConflictError, StoreError.
    """
    rule = GrantRule(
        0, subject, app_pattern, environment_pattern, expires_at, permissions, resume_s=resume_s
    )
    check_grant(rule)
    check_end(expires_at, service.clock())
    with service.change("grant.add") as change:
        now = service.clock()
        number = grants.add_grant(change.transaction, rule, now, prolong=prolong)
        change.fields |= describe_grant(number, rule)
    return replace(rule, id=number)


def check_grant(rule: GrantRule) -> None:
    """Raise RefusedError unless the grant's subject, patterns and permissions may be stored."""
    check_subject(rule.subject)
    check_pattern(rule.pattern)
    if not rule.permissions:
        raise RefusedError("the grant would permit nothing; leave it a permission, or remove it")


def change_grant(
    service: AdminService,
    number: int,
    *,
    allow: Permissions = NOTHING,
    without: Permissions = NOTHING,
    resume_s: float | None = None,
    limits_resume: bool = False,
) -> GrantRule:
    """Change the permissions of a grant, and with `limits_resume` its limit `resume_s`, and return it.

    Within seconds, live sessions lose what it no longer permits. Raises NotFoundError, RefusedError,
    StoreError.
    """
    check_permission_change(number, allow, without)
    with service.change("grant.change", revokes=not allow) as change:
        rule = grants.find_grant(change.transaction, number)
        rule = replace(rule, permissions=(rule.permissions | allow) - without)
        if limits_resume:
            rule = replace(rule, resume_s=resume_s)
        if not rule.permissions:
            raise RefusedError.with_fix(
                f"grant {number} would permit nothing",
                f"remove it: stagedoor grant remove {number}",
            )
        grants.update_grant(change.transaction, rule)
        change.fields |= describe_grant(number, rule)
    return rule


def check_permission_change(number: int, allow: Permissions, without: Permissions) -> None:
    """Raise RefusedError if the permissions of a grant cannot be changed like this."""
    if both := allow & without:
        raise RefusedError(f"{to_words(both)}: both allowed and taken away")
    if Permission.ENTER in allow | without:
        raise RefusedError.with_fix(
            "the permission enter of a grant cannot be changed",
            f"remove the grant and add another (stagedoor grant remove {number})",
        )


def remove_grant(service: AdminService, number: int) -> GrantRule:
    """Remove a grant and return it. Raises NotFoundError, StoreError."""
    with service.change("grant.remove", revokes=True) as change:
        rule = grants.remove_grant(change.transaction, number)
        change.fields |= describe_grant(number, rule)
    return rule


def describe_grant(number: int, rule: GrantRule) -> dict[str, Plain]:
    """Return the fields of a grant in its audit events."""
    return {
        "grant": number,
        "subject": rule.subject,
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "expires_at": rule.expires_at,
        "permissions": to_words(rule.permissions),
        **({} if rule.resume_s is None else {"resume_s": rule.resume_s}),
    }
