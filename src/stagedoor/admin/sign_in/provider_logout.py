"""Sign-ins that an identity provider ends by a logout token (Back-Channel Logout 1.0)."""

from collections.abc import Callable, Mapping

from stagedoor.admin.asking import ask, by_provider_itself
from stagedoor.admin.sign_in.attempt_limit import AttemptLimit, refused
from stagedoor.admin.sign_in.sign_ins import end_all_by_provider
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.source import Source
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.logout import MOST_TOKEN_CHARS, Logout, issuer_of
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOn
from stagedoor.store.database import Database
from stagedoor.store.sign_in import provider_answers as answers


class ProviderLogout:
    """Takes logout tokens, from anybody: only its signature says that a provider made one.

    Belongs to one event loop; the store is asked in a thread.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clients: Mapping[str, OidcClient],
        now: Callable[[], float],
    ) -> None:
        """`clients` has one for each provider, by its name."""
        self._settings = settings
        self._database = database
        self._clients = clients
        self._now = now
        self._tries = AttemptLimit("logout tokens", now)

    async def log_out(self, token: str, source: Source) -> Denial | None:
        """End what the token names. Return why not, if so."""
        issuer = issuer_of(token) if len(token) <= MOST_TOKEN_CHARS else None
        named = [each for each in self._settings.sso if each.issuer == issuer]
        if not named:
            return _bad_token("the logout token names no identity provider of this gateway (iss)")
        # Before the provider is asked for its keys: nothing of the token is proved yet.
        if (denial := self._tries.take(source)) is not None:
            return denial
        for provider in named:
            try:
                logout = await self._clients[provider.name].read_logout(token)
            except UnavailableError as error:
                denial = refused(provider.name, error)
            except OidcError as error:
                denial = _bad_token(str(error))
            else:
                denial = await ask(self._end_sign_ins, provider, logout)
                if denial is None:
                    self._tries.give_back(source)
                return denial
        return denial

    def _end_sign_ins(self, provider: SingleSignOn, logout: Logout) -> None:
        """Raises RefusedError where the token was used before. In a thread."""
        service = by_provider_itself(self._settings, self._database, provider.name, self._now)
        with service.change("sso.logout", revokes=True) as change:
            is_new = answers.use_logout_token(
                change.transaction, logout.id, logout.expires_at, self._now()
            )
            if not is_new:
                raise RefusedError("this logout token was used before")
            change.fields["provider"] = provider.name
            end_all_by_provider(service, logout.issuer, logout.subject, logout.session_id, change)


def _bad_token(why: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, why)
