"""Single sign-on on the web: a browser is sent to the identity provider, and who comes back is let in."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from stagedoor.admin.asking import ask, by_provider_itself, on_the_web
from stagedoor.admin.sign_in.sign_ins import end_all_by_provider, shown_id
from stagedoor.admin.sign_in.single_sign_on import HttpsFetch, client_of, rules_of
from stagedoor.authn.passes import by_provider
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import User
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.source import Source, source_network
from stagedoor.model.webpass import ProviderAnswer, ProviderRequest, StepUpResult
from stagedoor.net.https import Https
from stagedoor.oidc import fresh, pending
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import OidcError, SignInDeniedError, UnavailableError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.logout import MOST_TOKEN_CHARS, Logout, issuer_of
from stagedoor.oidc.mapping import Mapped, map_claims
from stagedoor.oidc.pending import PENDING_S, LoginPrompt, Pending
from stagedoor.oidc.request import Tokens, new_attempt
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOn
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in import provider_answers as answers
from stagedoor.store.sign_in.identities import ProviderAccount

PURPOSE = "sign-in under way, 2"
TRIES = Rate(burst=50, interval_s=3.0)
"""Of one source network: each may make us ask the provider, and an attacker would have us ask it for them.
Who signs in gives theirs back."""
REFRESH_PURPOSE = "refresh token"
_log = structlog.get_logger()


class SignInService:
    """Satisfies `listeners.web.ports.SignIns`. Belongs to one event loop; the store is asked in a thread."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        key: SealingKey,
        random: Callable[[int], bytes],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Reads the clients' secrets. Raises SettingsError."""
        self._settings = settings
        self._database = database
        self._key = key
        self._random = random
        self._now = now
        self._tries = SourceRates(TRIES)
        https: dict[Path | None, Https] = {}
        for each in settings.sso:
            https.setdefault(each.ca_file, Https(each.ca_file))
        self._providers = {each.name: each for each in settings.sso}
        self.clients = {
            each.name: OidcClient(
                each.issuer, client_of(each), HttpsFetch(https[each.ca_file]), now
            )
            for each in settings.sso
        }

    @property
    def providers(self) -> Sequence[str]:
        return tuple(self._providers)

    async def begin(self, provider: str, wanted: str, source: Source) -> tuple[str, str] | Denial:
        if (denial := self._too_often(source)) is not None:
            return denial
        return await self._lead(provider, wanted, None)

    async def begin_step_up(
        self, identity: Identity, wanted: str, source: Source, proves: bytes | None = None
    ) -> tuple[str, str] | Denial:
        provider = identity.credential_id or ""
        if not self.proves(identity) or identity.sign_in is None:
            return Denial(
                Reason.BAD_REQUEST,
                "no identity provider can prove that you are there: you did not sign in by one, or it does "
                "not say when you proved yourself (sso.auth_time)",
            )
        if (denial := self._too_often(source)) is not None:
            return denial
        again = LoginPrompt(self._now(), identity.name, (proves or identity.sign_in.id).hex())
        return await self._lead(provider, wanted, again)

    def proves(self, identity: Identity) -> bool:
        provider = self._providers.get(identity.credential_id or "")
        return identity.method is Method.SSO and provider is not None and provider.auth_time

    async def _lead(
        self, provider: str, wanted: str, again: LoginPrompt | None
    ) -> tuple[str, str] | Denial:
        """To the provider, which asks the person `again` if that is said."""
        client = self.clients.get(provider)
        if client is None:
            return Denial(Reason.BAD_REQUEST, "there is no identity provider of that name here")
        attempt = new_attempt(self._random)
        extra = () if again is None else fresh.NOW
        acr = self._providers[provider].step_up_acr
        if again is not None and again.sign_in is not None and acr:
            extra = (*extra, ("acr_values", " ".join(acr)))
        try:
            url = await client.authorization_url(attempt, extra)
        except OidcError as error:
            return _refused(provider, error)
        under_way = Pending(provider, attempt, wanted, self._now() + PENDING_S, again)
        return url, self._key.seal(PURPOSE, pending.encode(under_way))

    async def finish(
        self, kept: str, query: Sequence[tuple[str, str]], source: Source
    ) -> tuple[Identity, str, ProviderAnswer] | ProviderRequest | StepUpResult | Denial:
        opened = self._key.open(PURPOSE, kept)
        under_way = None if opened is None else pending.decode(opened, self._now())
        if under_way is None or under_way.provider not in self.clients:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                "this sign-in was not begun in this browser, or it took longer than 15 minutes; sign in "
                "again",
            )
        if (denial := self._too_often(source)) is not None:
            return denial
        provider = self._providers[under_way.provider]
        try:
            claims, tokens = await self.clients[provider.name].finish(query, under_way.attempt)
            mapped = map_claims(claims.all, rules_of(provider))
        except OidcError as error:
            return _refused(provider.name, error)
        person, again = ProviderAccount(claims.issuer, claims.subject), under_way.again
        if again is not None and again.sign_in is not None:
            found: StepUpResult | Denial = await self._prove(provider, under_way, claims, person)
            if isinstance(found, StepUpResult):
                self._give_back(source)
            return found
        if (more := await self._enough(provider, under_way, claims, person)) is not None:
            return more
        user = await ask(self._admit, provider, person, mapped)
        if isinstance(user, Denial):
            return user
        self._give_back(source)
        answer = self._answer(provider, claims, tokens)
        return by_provider(user, provider.name), under_way.wanted, answer

    def _give_back(self, source: Source) -> None:
        for _ in ("begin", "finish"):
            self._tries.give_back(source_network(source.address))

    async def _enough(
        self, provider: SingleSignOn, under_way: Pending, claims: Claims, person: ProviderAccount
    ) -> ProviderRequest | Denial | None:
        """None, unless an administrator has ended a sign-in of theirs since they last proved themselves
        there: then where to do so, or why that was no proof."""
        mark = await ask(self._ask_again_at, person)
        if mark is None or isinstance(mark, Denial):
            return mark
        again, now = under_way.again, self._now()
        if again is None:
            age_s = fresh.proof_age_s(claims)
            if age_s is not None and now - age_s > mark:
                return None
            asked = LoginPrompt(now, forget=age_s is None)
            led = await self._lead(provider.name, under_way.wanted, asked)
            return led if isinstance(led, Denial) else ProviderRequest(*led)
        if (not_asked := self._asked(provider, again, claims)) is not None:
            return not_asked
        return await ask(self._forget, person) if again.forget else None

    def _forget(self, person: ProviderAccount) -> None:
        """Raises StoreError. In a thread."""
        with self._database.read() as transaction:
            name = identities.user_of(transaction, person)
        if name is not None:
            with on_the_web(self._settings, self._database, name).change("sso.asked") as change:
                identities.ask_again(change.transaction, name, None)
                change.unchanged = True
                change.fields["user"] = name

    def _ask_again_at(self, person: ProviderAccount) -> float | None:
        with self._database.read() as transaction:
            return identities.ask_again_at(transaction, person)

    async def _prove(
        self, provider: SingleSignOn, under_way: Pending, claims: Claims, person: ProviderAccount
    ) -> StepUpResult | Denial:
        """The sign-in counts as proved from now on, if the provider says that it has asked its person."""
        again = under_way.again
        assert again is not None, "it is a step-up"
        if (not_asked := self._asked(provider, again, claims)) is not None:
            return not_asked
        if provider.step_up_acr and claims.acr not in provider.step_up_acr:
            return Denial(
                Reason.NO_GRANT,
                f"{provider.name} did not ask you as sso.step_up_acr wants (acr); use another way to prove "
                "yourself there, or a passkey",
            )
        denial = await ask(self._step_up, provider, again, person)
        return denial or StepUpResult(under_way.wanted)

    def _asked(self, provider: SingleSignOn, again: LoginPrompt, claims: Claims) -> Denial | None:
        """Why the provider has not asked its person since then, as far as anybody can tell: the person at
        the browser can take the question out of the address."""
        if not provider.auth_time and again.sign_in is None:
            return None
        proved = fresh.proved_since(claims, self._now() - again.begun_at)
        if proved is None:
            return Denial(
                Reason.NO_GRANT,
                f"{provider.name} does not say when you proved yourself there (auth_time); an administrator "
                "has it sent, or says that it never is with sso.auth_time",
            )
        if proved:
            return None
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"{provider.name} let you through without asking who you are; sign out there, and try again",
        )

    def _step_up(
        self, provider: SingleSignOn, again: LoginPrompt, person: ProviderAccount
    ) -> Denial | None:
        """Raises NotFoundError, StoreError. In a thread."""
        assert again.user is not None, "it is a user's"
        assert again.sign_in is not None, "it is a step-up"
        sign_in, now = bytes.fromhex(again.sign_in), self._now()
        with self._database.read() as transaction:
            user = identities.user_of(transaction, person)
        if user != again.user:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                f"at {provider.name} you are somebody else than {again.user}; sign in there as yourself",
            )
        with on_the_web(self._settings, self._database, user).change("step-up") as change:
            passes.step_up(change.transaction, sign_in, now)
            change.fields |= {
                "user": user,
                "sign_in": shown_id(sign_in),
                "provider": provider.name,
            }
        return None

    def _answer(self, provider: SingleSignOn, claims: Claims, tokens: Tokens) -> ProviderAnswer:
        """What is kept with the session. The provider is asked again only where it gave the means to."""
        now, token = self._now(), tokens.refresh_token
        if token is None:
            _log.warning(
                "the provider gave no refresh token, so it is not asked again about this sign-in; most "
                "need offline_access in sso.scopes",
                provider=provider.name,
            )
        return ProviderAnswer(
            provider.name,
            claims.issuer,
            claims.subject,
            claims.session_id,
            claims.auth_time,
            now,
            None if token is None else self._key.seal(REFRESH_PURPOSE, token.encode()),
            None if token is None else now + provider.refresh_s,
        )

    def _too_often(self, source: Source) -> Denial | None:
        network, now = source_network(source.address), self._now()
        if self._tries.take(network, now) is not None:
            return None
        wait_s = math.ceil(self._tries.wait_s(network, now))
        return Denial(
            Reason.THROTTLED,
            f"too many sign-ins from your address did not succeed; try again in {wait_s} s",
            wait_s,
        )

    async def log_out(self, token: str) -> Denial | None:
        issuer = issuer_of(token) if len(token) <= MOST_TOKEN_CHARS else None
        named = [each for each in self._providers.values() if each.issuer == issuer]
        if not named:
            return _no_logout("the logout token names no identity provider of this gateway (iss)")
        error: OidcError | None = None
        for provider in named:
            try:
                logout = await self.clients[provider.name].read_logout(token)
            except OidcError as found:
                error = found
                continue
            return await ask(self._log_out, provider, logout)
        if isinstance(error, UnavailableError):
            return _refused(named[0].name, error)
        return _no_logout(str(error))

    def _log_out(self, provider: SingleSignOn, logout: Logout) -> None:
        """Raises RefusedError where the token was used before. In a thread."""
        service = by_provider_itself(self._settings, self._database, provider.name, self._now)
        with service.change("sso.logout", revokes=True) as change:
            used = answers.use_logout_token(
                change.transaction, logout.id, logout.expires_at, self._now()
            )
            if not used:
                raise RefusedError("this logout token was used before")
            change.fields["provider"] = provider.name
            end_all_by_provider(service, logout.issuer, logout.subject, logout.session_id, change)

    def _admit(self, provider: SingleSignOn, person: ProviderAccount, mapped: Mapped) -> User:
        """The user, made at the first time, with the groups that the provider tells now. In a thread."""
        known = self._unchanged(person, mapped)
        if known is not None:
            return known
        service = on_the_web(self._settings, self._database, mapped.name)
        with service.change("sso.sign-in") as change:
            transaction = change.transaction
            name = identities.admit(transaction, person, mapped.name, service.clock())
            people.require_enabled(transaction, name)
            if mapped.groups is not None:
                identities.set_provided_groups(transaction, name, mapped.groups)
            provided = identities.provided_groups_of(transaction, name)
            change.fields |= {
                "user": name,
                "provider": provider.name,
                "subject": person.subject,
                "groups": " ".join(sorted(provided)),
            }
            return User(name, people.groups_of(transaction, name) | provided)

    def _unchanged(self, person: ProviderAccount, mapped: Mapped) -> User | None:
        """The user, if there is nothing to write: most sign-ins must not make workers read anything."""
        with self._database.read() as transaction:
            name = identities.user_of(transaction, person)
            if name is None:
                return None
            people.require_enabled(transaction, name)
            provided = identities.provided_groups_of(transaction, name)
            if mapped.groups not in (None, provided):
                return None
            return User(name, people.groups_of(transaction, name) | provided)


def _no_logout(why: str) -> Denial:
    return Denial(Reason.BAD_REQUEST, why)


def _refused(provider: str, error: OidcError) -> Denial:
    """The reason is for the log alone: an attacker who tries callbacks learns nothing by it."""
    _log.warning("sign-in refused", provider=provider, why=str(error))
    if isinstance(error, UnavailableError):
        return Denial(
            Reason.UPSTREAM_TIMEOUT,
            f"{provider} does not answer, so nobody can sign in by it now; try again, or sign in with a "
            "password or a token",
            retry_after_s=10,
        )
    if isinstance(error, SignInDeniedError):
        return Denial(Reason.CREDENTIAL_WRONG, f"{provider} did not let you sign in; try again")
    return Denial(
        Reason.CREDENTIAL_WRONG,
        f"the answer of {provider} was refused; the gateway's log says why (sign-in refused)",
    )
