"""Identity providers by the settings: their clients, and the rules for their claims."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError, RefusedError
from stagedoor.net.https import Https, NoAnswerError, Trust, load_trust
from stagedoor.oidc.client import FetchAnswer, OidcClient
from stagedoor.oidc.errors import OidcError, SignInDeniedError, UnavailableError
from stagedoor.oidc.mapping import Rules
from stagedoor.oidc.request import ClientConfig, FormRequest
from stagedoor.settings.safe_files import read_secret
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings

_log = structlog.get_logger()


class HttpsFetch:
    """Requests to one provider. Implements `oidc.client.Fetch`."""

    def __init__(self, trust: Trust) -> None:
        self._https = Https(trust)

    async def get(self, url: str, bearer: str | None = None) -> FetchAnswer:
        """Send a GET request, with the token `bearer` if there is one. Raises UnavailableError."""
        # A Kubernetes API server sends keys as application/jwk-set+json (RFC 7517 §8.5), and answers 406
        # to a request that does not accept it.
        headers = [("Accept", "application/json, application/jwk-set+json")]
        if bearer is not None:
            headers.append(("Authorization", f"Bearer {bearer}"))
        return await self._ask("GET", url, headers)

    async def post(self, form: FormRequest) -> FetchAnswer:
        """Send a form. Raises UnavailableError."""
        return await self._ask("POST", form.url, form.headers, form.body)

    async def _ask(
        self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> FetchAnswer:
        try:
            return await self._https.ask(method, url, tuple(headers), body)
        except NoAnswerError as error:
            raise UnavailableError(f"{url.partition('?')[0]}: {error}") from None


def find_provider(settings: Settings, name: str | None) -> SingleSignOnSettings:
    """Return the provider called `name`, or the only one if `name` is None.

    Raises NotFoundError, and RefusedError if `name` is None and there are several.
    """
    names = ", ".join(provider.name for provider in settings.sso) or "none"
    if not settings.sso:
        raise NotFoundError.with_fix(
            "no identity provider is set up", "add an [[sso]] table to the settings"
        )
    if name is None and len(settings.sso) > 1:
        raise RefusedError(f"there is more than one identity provider; name one of: {names}")
    for provider in settings.sso:
        if name in (None, provider.name):
            return provider
    raise NotFoundError(f"there is no identity provider {name!r}; there are: {names}")


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
    secret = read_secret(
        provider.client_secret_file, "sso.client_secret_file", "the client's secret"
    )
    config = ClientConfig(provider.client_id, secret, provider.redirect_uri, provider.scopes)
    return OidcClient(provider.issuer, config, HttpsFetch(trust), now)


def read_rules(provider: SingleSignOnSettings) -> Rules:
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


def list_reserved_names(settings: Settings) -> frozenset[str]:
    """Return `sso.reserved_names` of all providers: a name listed for one is reserved at all of them."""
    return frozenset(name for provider in settings.sso for name in provider.reserved_names)


def log_refusal(provider: str, error: OidcError) -> Denial:
    """Log why a sign-in is refused, and return the denial for the browser.

    The denial holds no details, so that an attacker who forges callbacks learns nothing from it.
    """
    _log.warning("sign-in refused", provider=provider, why=str(error))
    if isinstance(error, UnavailableError):
        return Denial(
            Reason.UPSTREAM_TIMEOUT,
            f"{provider} does not answer, so sign-ins by it fail now; try again, or sign in with a password "
            "or a token",
            retry_after_s=10,
        )
    if isinstance(error, SignInDeniedError):
        return Denial(Reason.CREDENTIAL_WRONG, f"{provider} did not let you sign in; try again")
    return Denial(
        Reason.CREDENTIAL_WRONG,
        f"the answer of {provider} was refused; the gateway's log says why (sign-in refused)",
    )
