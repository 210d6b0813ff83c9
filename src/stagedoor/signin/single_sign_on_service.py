"""Single sign-on on the web: send a browser to the identity provider, and check its answer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from stagedoor.admin.asking import ask, web_service
from stagedoor.admin.sign_ins import shown_id
from stagedoor.authn.passes import by_provider
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, StagedoorError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import User
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.webpass import ProviderAnswer, ProviderRequest, StepUpResult
from stagedoor.oidc import fresh, pending
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.mapping import Mapped, map_claims
from stagedoor.oidc.pending import PENDING_S, LoginPrompt, Pending
from stagedoor.oidc.request import Tokens, new_attempt
from stagedoor.oidc.reserved_names import why_reserved
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.attempt_limit import AttemptLimit, log_refusal
from stagedoor.signin.provider_logout import ProviderLogout
from stagedoor.signin.single_sign_on import reserved_names, rules_of
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in.identities import ProviderAccount, RefusedUserError

PURPOSE = "sign-in under way, 2"
REFRESH_PURPOSE = "refresh token"
_log = structlog.get_logger()


class SignInService:
    """Implements `listeners.web.ports.SignIns`. Belongs to one event loop, and uses the store in a thread."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        key: SealingKey,
        clients: Mapping[str, OidcClient],
        random: Callable[[int], bytes],
        apps: Callable[[], Iterable[Target]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Create the service.

        `clients` has a client for each provider, by the provider's name. `random(n)` returns n unpredictable
        bytes. `apps` returns the apps that exist now.
        """
        self._settings = settings
        self._database = database
        self._key = key
        self._random = random
        self._apps = apps
        self._now = now
        self._tries = AttemptLimit("sign-ins", now)
        self.log_out = ProviderLogout(settings, database, clients, now).log_out
        self._providers = {provider.name: provider for provider in settings.sso}
        self._clients = clients

    @property
    def providers(self) -> Sequence[str]:
        """The names of the identity providers."""
        return tuple(self._providers)

    async def begin(self, provider: str, wanted: str, source: Source) -> tuple[str, str] | Denial:
        """Begin a sign-in; `wanted` is the path to open after it.

        Return the provider's URL for the browser, and the text that the browser keeps for `finish`.
        """
        if (denial := self._tries.take(source)) is not None:
            return denial
        return await self._provider_request(provider, wanted, None)

    async def begin_step_up(
        self, identity: Identity, wanted: str, source: Source, proves: bytes | None = None
    ) -> tuple[str, str] | Denial:
        """Begin a step-up of a user who is signed in; the result is that of `begin`.

        `proves` is the id of the sign-in to prove, by default the browser's own.
        """
        provider = identity.credential_id or ""
        if not self.can_prove_presence(identity) or identity.sign_in is None:
            return Denial(
                Reason.BAD_REQUEST,
                "no identity provider can prove that you are there: you did not sign in by one, or it does "
                "not say when you proved yourself (sso.auth_time)",
            )
        if (denial := self._tries.take(source)) is not None:
            return denial
        prompt = LoginPrompt(self._now(), identity.name, (proves or identity.sign_in.id).hex())
        return await self._provider_request(provider, wanted, prompt)

    def can_prove_presence(self, identity: Identity) -> bool:
        """Return whether the user's provider can prove that the user is present."""
        provider = self._providers.get(identity.credential_id or "")
        return identity.method is Method.SSO and provider is not None and provider.auth_time

    async def _provider_request(
        self, provider: str, wanted: str, prompt: LoginPrompt | None
    ) -> tuple[str, str] | Denial:
        """Return the provider's URL for the browser, and what the browser keeps for `finish`.

        With `prompt` the provider has to ask the person who they are.
        """
        client = self._clients.get(provider)
        if client is None:
            return Denial(Reason.BAD_REQUEST, "there is no identity provider of that name here")
        attempt = new_attempt(self._random)
        extra = () if prompt is None else fresh.NOW
        acr = self._providers[provider].step_up_acr
        if prompt is not None and prompt.sign_in is not None and acr:
            extra = (*extra, ("acr_values", " ".join(acr)))
        try:
            url = await client.authorization_url(attempt, extra)
        except OidcError as error:
            return log_refusal(provider, error)
        under_way = Pending(provider, attempt, wanted, self._now() + PENDING_S, prompt)
        return url, self._key.seal(PURPOSE, pending.encode(under_way))

    async def finish(
        self, kept: str, query: Sequence[tuple[str, str]], source: Source
    ) -> tuple[Identity, str, ProviderAnswer] | ProviderRequest | StepUpResult | Denial:
        """Finish a sign-in or step-up when the browser comes back from the provider with `query`.

        `kept` is what `begin` gave the browser. Return for a sign-in the identity, the path that was wanted,
        and the answer to store with the session; ProviderRequest if the browser has to go to the provider
        once more; StepUpResult for a step-up.
        """
        opened = self._key.open(PURPOSE, kept)
        under_way = None if opened is None else pending.decode(opened, self._now())
        if under_way is None or under_way.provider not in self._clients:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                "this sign-in was not begun in this browser, or it took longer than 15 minutes; sign in "
                "again",
            )
        if (denial := self._tries.take(source)) is not None:
            return denial
        provider = self._providers[under_way.provider]
        try:
            claims, tokens = await self._clients[provider.name].finish(query, under_way.attempt)
            mapped = map_claims(claims.all, rules_of(provider))
        except OidcError as error:
            return log_refusal(provider.name, error)
        account, prompt = ProviderAccount(claims.issuer, claims.subject), under_way.again
        if prompt is not None and prompt.sign_in is not None:
            result: StepUpResult | Denial = await self._step_up(
                provider, under_way, prompt, claims, account
            )
            if isinstance(result, StepUpResult):
                self._give_back(source)
            return result
        proof = await self._proof_still_needed(provider, under_way, claims, account)
        if proof is not None:
            return proof
        user = await self._admitted_user(provider, account, mapped)
        if isinstance(user, Denial):
            return user
        self._give_back(source)
        answer = self._answer(provider, claims, tokens)
        return by_provider(user, provider.name), under_way.wanted, answer

    def _give_back(self, source: Source) -> None:
        """Give back the attempts of a sign-in that succeeded."""
        for _ in ("begin", "finish"):
            self._tries.give_back(source)

    async def _proof_still_needed(
        self,
        provider: SingleSignOnSettings,
        under_way: Pending,
        claims: Claims,
        account: ProviderAccount,
    ) -> ProviderRequest | Denial | None:
        """Return None if no administrator has ended a sign-in since the user last proved who they are.

        Otherwise return the request with which the user proves it at the provider, or why the provider's
        answer is no proof.
        """
        ended_at = await ask(self._ask_again_at, account)
        if ended_at is None or isinstance(ended_at, Denial):
            return ended_at
        prompt, now = under_way.again, self._now()
        if prompt is None:
            age_s = fresh.proof_age_s(claims)
            if age_s is not None and now - age_s > ended_at:
                return None
            prompt = LoginPrompt(now, forget=age_s is None)
            request = await self._provider_request(provider.name, under_way.wanted, prompt)
            return request if isinstance(request, Denial) else ProviderRequest(*request)
        if (denial := self._why_not_proved(provider, prompt, claims)) is not None:
            return denial
        return await ask(self._forget_ended, account) if prompt.forget else None

    def _forget_ended(self, account: ProviderAccount) -> None:
        """Forget that an administrator ended a sign-in. Runs in a thread. Raises StoreError."""
        with self._database.read() as transaction:
            name = identities.user_of(transaction, account)
        if name is not None:
            with web_service(self._settings, self._database, name).change("sso.asked") as change:
                identities.ask_again(change.transaction, name, None)
                change.unchanged = True
                change.fields["user"] = name

    def _ask_again_at(self, account: ProviderAccount) -> float | None:
        """Return when an administrator last ended a sign-in of the account's user, or None.

        Runs in a thread. Raises StoreError.
        """
        with self._database.read() as transaction:
            return identities.ask_again_at(transaction, account)

    async def _step_up(
        self,
        provider: SingleSignOnSettings,
        under_way: Pending,
        prompt: LoginPrompt,
        claims: Claims,
        account: ProviderAccount,
    ) -> StepUpResult | Denial:
        """Mark the sign-in as proved from now on, if the provider has asked the person who they are."""
        if (denial := self._why_not_proved(provider, prompt, claims)) is not None:
            return denial
        if provider.step_up_acr and claims.acr not in provider.step_up_acr:
            return Denial(
                Reason.NO_GRANT,
                f"{provider.name} did not ask you as sso.step_up_acr wants (acr); use another way to prove "
                "yourself there, or a passkey",
            )
        denial = await ask(self._mark_proved, provider, prompt, account)
        return denial or StepUpResult(under_way.wanted)

    def _why_not_proved(
        self, provider: SingleSignOnSettings, prompt: LoginPrompt, claims: Claims
    ) -> Denial | None:
        """Return None if the provider has asked the person since `prompt`, else why that is not proved.

        The person can remove the request to ask from the browser's address bar, so only the claims count.
        """
        if not provider.auth_time and prompt.sign_in is None:
            return None
        proved = fresh.is_fresh(claims, self._now() - prompt.begun_at)
        if proved is None:
            return Denial.with_mend(
                Reason.NO_GRANT,
                f"{provider.name} does not say when you proved yourself there (auth_time)",
                "an administrator has it sent, or says that it never is with sso.auth_time",
                "tell an administrator",
            )
        if proved:
            return None
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"{provider.name} let you through without asking who you are; sign out there, and try again",
        )

    def _mark_proved(
        self, provider: SingleSignOnSettings, prompt: LoginPrompt, account: ProviderAccount
    ) -> Denial | None:
        """Store that the sign-in is proved. Return why not if the account is another user's.

        Runs in a thread. Raises NotFoundError, StoreError.
        """
        assert prompt.user is not None, "it is a user's"
        assert prompt.sign_in is not None, "it is a step-up"
        sign_in, now = bytes.fromhex(prompt.sign_in), self._now()
        with self._database.read() as transaction:
            user = identities.user_of(transaction, account)
        if user != prompt.user:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                f"at {provider.name} you are somebody else than {prompt.user}; sign in there as yourself",
            )
        with web_service(self._settings, self._database, user).change("step-up") as change:
            passes.step_up(change.transaction, sign_in, now)
            change.fields |= {
                "user": user,
                "sign_in": shown_id(sign_in),
                "provider": provider.name,
            }
        return None

    def _answer(
        self, provider: SingleSignOnSettings, claims: Claims, tokens: Tokens
    ) -> ProviderAnswer:
        """Return the answer to store with the session.

        Without a refresh token the provider cannot be asked again, which is logged.
        """
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

    async def _admitted_user(
        self, provider: SingleSignOnSettings, account: ProviderAccount, mapped: Mapped
    ) -> User | Denial:
        """Return the user of the account, with the groups that the provider reports now."""
        unchanged = await ask(self._user_if_unchanged, account, mapped)
        if unchanged is not None:
            return unchanged
        reserved = why_reserved(mapped.name, reserved_names(self._settings), self._apps())
        return await ask(self._admit, provider, account, mapped, reserved)

    def _admit(
        self,
        provider: SingleSignOnSettings,
        account: ProviderAccount,
        mapped: Mapped,
        reserved: str | None,
    ) -> User:
        """Store the user's groups. The first sign-in adds the user, unless `reserved` says why it may not.

        Runs in a thread. Raises RefusedError, ConflictError, StoreError.
        """
        service = web_service(self._settings, self._database, mapped.name)
        with service.change("sso.sign-in") as change:
            transaction = change.transaction
            try:
                name = identities.admit(
                    transaction,
                    account,
                    mapped.name,
                    service.clock(),
                    reserved=reserved is not None,
                )
            except (RefusedUserError, ConflictError) as error:
                _log_refused(provider, account, mapped.name, error, reserved)
                raise
            people.require_enabled(transaction, name)
            if mapped.groups is not None:
                identities.set_provided_groups(transaction, name, mapped.groups)
            provided = identities.provided_groups_of(transaction, name)
            change.fields |= {
                "user": name,
                "provider": provider.name,
                "subject": account.subject,
                "groups": " ".join(sorted(provided)),
            }
            return User(name, people.groups_of(transaction, name) | provided)

    def _user_if_unchanged(self, account: ProviderAccount, mapped: Mapped) -> User | None:
        """Return the user if nothing has to be written, else None.

        Most sign-ins change nothing. They must not make workers read the policy again.
        """
        with self._database.read() as transaction:
            name = identities.user_of(transaction, account)
            if name is None:
                return None
            people.require_enabled(transaction, name)
            provided = identities.provided_groups_of(transaction, name)
            if mapped.groups not in (None, provided):
                return None
            return User(name, people.groups_of(transaction, name) | provided)


def _log_refused(
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
