"""Single sign-on: links between users and provider accounts, provider clients, and the outcome of a trial."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import subjects_of
from stagedoor.net.https import Https, NoAnswerError, Trust, load_trust
from stagedoor.oidc.client import Answer, OidcClient
from stagedoor.oidc.errors import UnavailableError
from stagedoor.oidc.mapping import Mapped, Rules
from stagedoor.oidc.request import Client, FormRequest
from stagedoor.settings.careful import read_secret
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in.identities import ProviderAccount


def link(service: AdminService, user: str, provider: SingleSignOnSettings, subject: str) -> None:
    """Link the user to the provider's account `subject` (`sub`).

    Raises NotFoundError, ConflictError, StoreError.
    """
    with service.change("sso.link") as change:
        person = ProviderAccount(provider.issuer, subject)
        identities.link(change.transaction, person, user, service.clock())
        change.fields |= {"user": user, "provider": provider.name, "subject": subject}


def unlink(service: AdminService, provider: SingleSignOnSettings, subject: str) -> str:
    """Remove the link and the user's groups from the provider, and return the user's name.

    The sign-ins that the user opened at that provider end. Raises NotFoundError, StoreError.
    """
    with service.change("sso.unlink", revokes=True) as change:
        user = identities.unlink(change.transaction, ProviderAccount(provider.issuer, subject))
        passes.end_sign_ins(change.transaction, user, Method.SSO, provider.name)
        change.fields |= {"user": user, "provider": provider.name, "subject": subject}
    return user


def list_links(service: AdminService) -> list[tuple[str, ProviderAccount]]:
    """List users with their accounts at providers, ordered by user name. Raises StoreError."""
    with service.database.read() as transaction:
        return identities.list_accounts(transaction)


class HttpsFetch:
    """Requests to one provider. Implements `oidc.client.Fetch`."""

    def __init__(self, trust: Trust) -> None:
        self._https = Https(trust)

    async def get(self, url: str, bearer: str | None = None) -> Answer:
        """Send a GET request, with the token `bearer` if there is one. Raises UnavailableError."""
        # A Kubernetes API server sends keys as application/jwk-set+json (RFC 7517 §8.5), and answers 406
        # to a request that does not accept it.
        headers = [("Accept", "application/json, application/jwk-set+json")]
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        return await self._ask("GET", url, headers)

    async def post(self, form: FormRequest) -> Answer:
        """Send a form. Raises UnavailableError."""
        return await self._ask("POST", form.url, form.headers, form.body)

    async def _ask(
        self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        try:
            return await self._https.ask(method, url, tuple(headers), body)
        except NoAnswerError as error:
            raise UnavailableError(f"{url.partition('?')[0]}: {error}") from None


def provider_named(settings: Settings, name: str | None) -> SingleSignOnSettings:
    """Return the provider called `name`, or the only one if `name` is None.

    Raises NotFoundError, and RefusedError if `name` is None and there are several.
    """
    names = ", ".join(provider.name for provider in settings.sso) or "none"
    if not settings.sso:
        raise NotFoundError("no identity provider is set up; add an [[sso]] table to the settings")
    if name is None and len(settings.sso) > 1:
        raise RefusedError(f"there is more than one identity provider; name one of: {names}")
    for provider in settings.sso:
        if name in (None, provider.name):
            return provider
    raise NotFoundError(f"there is no identity provider {name!r}; there are: {names}")


def client_of(provider: SingleSignOnSettings) -> Client:
    """Return the gateway's client data for a provider. Reads the client's secret. Raises SettingsError."""
    secret = read_secret(
        provider.client_secret_file, "sso.client_secret_file", "the client's secret"
    )
    return Client(provider.client_id, secret, provider.redirect_uri, provider.scopes)


@dataclass(frozen=True, slots=True)
class ProviderClients:
    """The clients of the providers, by the provider's name in the settings.

    Strangers can cause requests of the `signing_in` clients. So these share nothing with the `refreshing`
    clients, which find out that a user has left: no connection, no queue, and no keys.
    """

    signing_in: dict[str, OidcClient]
    refreshing: dict[str, OidcClient]


def open_clients(settings: Settings, now: Callable[[], float]) -> ProviderClients:
    """Read the clients' secrets and the files of authorities. Raises SettingsError."""
    trusts: dict[Path | None, Trust] = {}
    clients = ProviderClients({}, {})
    for provider in settings.sso:
        if provider.ca_file not in trusts:
            trusts[provider.ca_file] = load_trust(provider.ca_file, "sso.ca_file")
        for by_name in (clients.signing_in, clients.refreshing):
            by_name[provider.name] = open_client(provider, now, trusts[provider.ca_file])
    return clients


def open_client(
    provider: SingleSignOnSettings, now: Callable[[], float], trust: Trust | None = None
) -> OidcClient:
    """Return a client of the provider. Read the client's secret, and `sso.ca_file` unless `trust` is given.

    Raises SettingsError.
    """
    trust = trust or load_trust(provider.ca_file, "sso.ca_file")
    return OidcClient(provider.issuer, client_of(provider), HttpsFetch(trust), now)


def rules_of(provider: SingleSignOnSettings) -> Rules:
    """Return the rules by which the provider's claims become a user name and groups."""
    return Rules(
        provider.name_claim,
        provider.name_domain,
        provider.groups_claim,
        provider.groups_missing == "none",
        provider.groups,
        provider.group_prefix,
        provider.email_verified_missing == "accept",
    )


def reserved_names(settings: Settings) -> frozenset[str]:
    """Return `sso.reserved_names` of all providers: a name listed for one is reserved at all of them."""
    return frozenset(name for provider in settings.sso for name in provider.reserved_names)


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


def outcome_of(mapped: Mapped, policy: Policy, reserved: str | None) -> Outcome:
    """Return the user that `policy` gives a person with the mapped name and groups."""
    user_here = policy.all_users.get(mapped.name)
    kept = user_here.groups if user_here is not None else frozenset()
    user = User(mapped.name, kept | (mapped.groups or frozenset()))
    subjects = subjects_of(user.name, user.groups)
    rules = tuple(rule for rule in policy.grants if rule.subject in subjects)
    return Outcome(mapped, user, user_here is not None, rules, None if user_here else reserved)
