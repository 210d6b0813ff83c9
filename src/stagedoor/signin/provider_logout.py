"""Ending sign-ins by the logout tokens of identity providers (Back-Channel Logout 1.0)."""

from collections.abc import Mapping

import structlog

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import end_all_by_provider
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.source import Source
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.logout import MAX_TOKEN_CHARS, Logout, read_unverified_issuer
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.source_limit import ATTEMPTS, SourceLimit
from stagedoor.store.sign_in import provider_answers as answers

_log = structlog.get_logger()


class ProviderLogout:
    """Accepts logout tokens. Any client may send one; only its signature proves that a provider issued it.

    Belongs to one event loop, and uses the store in a thread.
    """

    def __init__(self, context: WorkerContext, clients: Mapping[str, OidcClient]) -> None:
        """Create the service. `clients` has a client for each provider, by the provider's name."""
        self._context = context
        self._clients = clients
        complaint = "too many logout tokens from your {} did not succeed"
        self._attempts = SourceLimit(ATTEMPTS, complaint, context.now)

    async def log_out(self, token: str, source: Source) -> Denial | None:
        """End the sign-ins that the token names. Return None, or why the token is refused."""
        issuer = read_unverified_issuer(token) if len(token) <= MAX_TOKEN_CHARS else None
        providers = [
            provider for provider in self._context.settings.sso if provider.issuer == issuer
        ]
        if not providers:
            return _invalid_token(
                "the logout token names no identity provider of this gateway (iss)"
            )
        # Before the provider's keys are requested: nothing in the token is proved yet.
        if (denial := self._attempts.take(source)) is not None:
            return denial
        for provider in providers:
            try:
                logout = await self._clients[provider.name].read_logout(token)
            except UnavailableError as error:
                _log.warning("logout token refused", provider=provider.name, why=str(error))
                denial = Denial(
                    Reason.UPSTREAM_TIMEOUT,
                    f"the keys of {provider.name} cannot be read now; send the logout token again",
                    retry_after_s=10,
                )
            except OidcError as error:
                denial = _invalid_token(str(error))
            else:
                denial = await call_blocking(self._end_sign_ins, provider, logout)
                if denial is None:
                    self._attempts.give_back(source)
                return denial
        return denial

    def _end_sign_ins(self, provider: SingleSignOnSettings, logout: Logout) -> None:
        """End the sign-ins that `logout` names. Runs in a thread.

        Raises RefusedError if the token was used before, StoreError.
        """
        service = self._context.make_service(provider.name, "sso")
        with service.change("sso.logout", revokes=True) as change:
            is_new = answers.use_logout_token(
                change.transaction, logout.id, logout.expires_at, self._context.now()
            )
            if not is_new:
                raise RefusedError("this logout token was used before")
            change.fields["provider"] = provider.name
            end_all_by_provider(service, logout.issuer, logout.subject, logout.session_id, change)


def _invalid_token(why: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, why)
