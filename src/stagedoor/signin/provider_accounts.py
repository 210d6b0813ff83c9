"""The users behind accounts at identity providers: links by an administrator, and first sign-ins. Audited."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from stagedoor.admin.blocking import call_blocking, call_in_transaction, run_in_thread
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.service import AdminService
from stagedoor.model.denial import Denial
from stagedoor.model.errors import ConflictError, StagedoorError
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.target import Target
from stagedoor.oidc.mapping import Mapped
from stagedoor.oidc.reserved_names import explain_reserved
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.providers import list_reserved_names
from stagedoor.store import people
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.identities import ProviderAccount, RefusedUserError

_log = structlog.get_logger()


def link_account(
    service: AdminService, user: str, provider: SingleSignOnSettings, subject: str
) -> None:
    """Link the user to the provider's account `subject` (`sub`).

    Raises NotFoundError, ConflictError, StoreError.
    """
    with service.change("sso.link") as change:
        account = ProviderAccount(provider.issuer, subject)
        identities.link(change.transaction, account, user, service.clock())
        change.fields |= {"user": user, "provider": provider.name, "subject": subject}


def unlink_account(service: AdminService, provider: SingleSignOnSettings, subject: str) -> str:
    """Remove the link and the user's groups from the provider, and return the user's name.

    The sign-ins that the user opened at that provider end. Raises NotFoundError, StoreError.
    """
    with service.change("sso.unlink", revokes=True) as change:
        user = identities.unlink(change.transaction, ProviderAccount(provider.issuer, subject))
        # By the account too: several tables may have one issuer, and a table may have been renamed.
        opened = answers.find_sign_ins(change.transaction, provider.issuer, subject, None)
        ids = [sign_in for sign_in, _ in opened]
        passes.end_sign_ins(change.transaction, user, Method.SSO, provider.name, ids)
        change.fields |= {"user": user, "provider": provider.name, "subject": subject}
    return user


@dataclass(frozen=True, slots=True)
class Outcome:
    """The user that a sign-in would have.

    `user` includes the groups that are stored here. `known` is true if a user of that name exists already.
    `grants` are the rules for the user, including expired ones. `reserved` is why a first sign-in by that
    name is refused (`oidc.reserved_names`), or None if it is not.
    """

    mapped: Mapped
    user: User
    known: bool
    grants: tuple[GrantRule, ...]
    reserved: str | None


def judge_person(mapped: Mapped, policy: Policy, reserved: str | None) -> Outcome:
    """Return the user that `policy` gives a person with the mapped name and groups."""
    user_here = policy.all_users.get(mapped.name)
    kept = user_here.groups if user_here is not None else frozenset()
    user = User(mapped.name, kept | (mapped.groups or frozenset()))
    rules = tuple(policy.find_grants(user.subjects))
    return Outcome(mapped, user, user_here is not None, rules, None if user_here else reserved)


class ProviderAccounts:
    """The users of accounts that sign in. It uses the store in a thread; a store that fails is a Denial.

    `apps` returns the apps that exist now, whose names no new user may have.
    """

    def __init__(self, context: WorkerContext, apps: Callable[[], Iterable[Target]]) -> None:
        self._context = context
        self._apps = apps

    async def admit(
        self, provider: SingleSignOnSettings, account: ProviderAccount, mapped: Mapped
    ) -> User | Denial:
        """Return the user of the account, with the groups that the provider reports now.

        The first sign-in adds the user.
        """
        unchanged = await call_blocking(self._find_unchanged_user, account, mapped)
        if unchanged is not None:
            return unchanged
        reserved = explain_reserved(
            mapped.name, list_reserved_names(self._context.settings), self._apps()
        )
        return await call_blocking(self._store_user, provider, account, mapped, reserved)

    def _find_unchanged_user(self, account: ProviderAccount, mapped: Mapped) -> User | None:
        """Return the user if nothing has to be written, else None.

        Most sign-ins change nothing. They must not make workers read the policy again.
        """
        with self._context.database.read() as transaction:
            name = identities.find_user(transaction, account)
            if name is None:
                return None
            people.require_enabled(transaction, name)
            provided = identities.list_provided_groups(transaction, name)
            if mapped.groups not in (None, provided):
                return None
            return User(name, people.find_groups_of(transaction, name) | provided)

    def _store_user(
        self,
        provider: SingleSignOnSettings,
        account: ProviderAccount,
        mapped: Mapped,
        reserved: str | None,
    ) -> User:
        """Store the user's groups. A first sign-in adds the user, unless `reserved` says why it may not.

        Runs in a thread. Raises RefusedError, ConflictError, StoreError.
        """
        with self._context.change(mapped.name, "sso.sign-in") as change:
            transaction = change.transaction
            try:
                name = identities.admit(
                    transaction,
                    account,
                    mapped.name,
                    self._context.now(),
                    reserved=reserved is not None,
                )
            except (RefusedUserError, ConflictError) as error:
                _log_refusal(provider, account, mapped.name, error, reserved)
                raise
            people.require_enabled(transaction, name)
            if mapped.groups is not None:
                identities.set_provided_groups(transaction, name, mapped.groups)
            provided = identities.list_provided_groups(transaction, name)
            change.fields |= {
                "user": name,
                "provider": provider.name,
                "subject": account.subject,
                "groups": " ".join(sorted(provided)),
            }
            return User(name, people.find_groups_of(transaction, name) | provided)

    async def read_ended_at(self, account: ProviderAccount) -> float | Denial | None:
        """Return when an administrator last ended a sign-in of the account's user, or None."""
        return await call_in_transaction(
            self._context.database.read, identities.read_required_proof, account
        )

    @run_in_thread
    def forget_ended(self, account: ProviderAccount, ended_at: float) -> None:
        """Forget that an administrator ended a sign-in: the user has proved who they are since.

        Nothing is forgotten if another of the user's sign-ins was ended after `ended_at`.
        """
        with self._context.database.read() as transaction:
            name = identities.find_user(transaction, account)
        if name is None:
            return
        with self._context.change(name, "sso.asked") as change:
            if identities.read_required_proof(change.transaction, account) == ended_at:
                identities.require_proof(change.transaction, name, None)
            change.unchanged = True
            change.fields["user"] = name


def _log_refusal(
    provider: SingleSignOnSettings,
    account: ProviderAccount,
    name: str,
    error: StagedoorError,
    reserved: str | None,
) -> None:
    """Log for the administrator why a first sign-in added no user."""
    if isinstance(error, ConflictError):
        why = f"{name} belongs to another user; if it is the same person: stagedoor sso link {name} SUBJECT"
    else:
        why = (
            f"{name} {reserved}, and such a name is given by an administrator only: stagedoor user add USER "
            "--no-password, then stagedoor sso link USER SUBJECT"
        )
    _log.warning("sign-in refused", provider=provider.name, subject=account.subject, why=why)
