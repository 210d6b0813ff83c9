"""Sign-ins at identity providers: send a browser there, and check the answer that it comes back with.

A browser goes to the provider for one of three reasons: to sign in; to sign in with a new proof of who the
person is, because an administrator has ended a sign-in of theirs; or to prove for a sign-in that lasts that
its user is present (a step-up).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.sign_ins import show_id
from stagedoor.authn.passes import by_provider
from stagedoor.keys.sealing import SealingKey
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.pending_step_up import PendingStepUp
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.units import MINUTE_S
from stagedoor.model.webpass import ProviderAnswer
from stagedoor.oidc.client import OidcClient
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import Claims, is_fresh, measure_proof_age
from stagedoor.oidc.mapping import map_claims
from stagedoor.oidc.request import (
    LOGIN_NOW,
    SIGN_IN_PENDING_S,
    LoginPrompt,
    Pending,
    Tokens,
    decode_pending,
    encode_pending,
    make_attempt,
)
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.provider_accounts import ProviderAccounts
from stagedoor.signin.providers import log_refusal, read_rules
from stagedoor.signin.source_limit import ATTEMPTS, SourceLimit
from stagedoor.signin.step_up import find_open_step_up
from stagedoor.store.sign_in import identities, passes
from stagedoor.store.sign_in.identities import ProviderAccount

PURPOSE = "sign-in under way, 3"
REFRESH_PURPOSE = "refresh token"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A redirect of the browser to its identity provider: `url` leads there.

    The browser keeps `sealed_state` until it returns.
    """

    url: str
    sealed_state: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProviderSignIn:
    """A successful sign-in. The browser continues at `wanted`; `answer` is stored with its session."""

    identity: Identity
    wanted: str
    answer: ProviderAnswer


@dataclass(frozen=True, slots=True)
class StepUpResult:
    """A successful step-up. The browser continues at `wanted`."""

    wanted: str


@dataclass(frozen=True, slots=True)
class _Callback:
    """A browser that has come back from the provider, with the verified claims about its user."""

    provider: SingleSignOnSettings
    pending: Pending
    claims: Claims

    @property
    def account(self) -> ProviderAccount:
        return ProviderAccount(self.claims.issuer, self.claims.subject)


class ProviderSignIns:
    """Signs users in at identity providers. Belongs to one event loop, and uses the store in a thread.

    A provider or a store that fails is a Denial.
    """

    def __init__(
        self,
        context: WorkerContext,
        key: SealingKey,
        clients: Mapping[str, OidcClient],
        random: Callable[[int], bytes],
        apps: Callable[[], Iterable[Target]],
    ) -> None:
        """Create the service.

        `clients` has a client for each provider, by the provider's name. `random(n)` returns n unpredictable
        bytes. `apps` returns the apps that exist now.
        """
        self._context = context
        self._key = key
        self._random = random
        self._accounts = ProviderAccounts(context, apps)
        # Without it an attacker could make the gateway send requests to the providers without end.
        complaint = "too many sign-ins from your {} did not succeed"
        self._attempts = SourceLimit(ATTEMPTS, complaint, context.now)
        self._providers = {provider.name: provider for provider in context.settings.sso}
        self._clients = clients

    @property
    def providers(self) -> Sequence[str]:
        """The names of the identity providers; empty without single sign-on."""
        return tuple(self._providers)

    async def begin(self, provider: str, wanted: str, source: Source) -> ProviderRequest | Denial:
        """Begin a sign-in; `wanted` is the address to open after it."""
        if (denial := self._attempts.take(source)) is not None:
            return denial
        return await self._request(provider, wanted, None)

    async def begin_step_up(
        self,
        identity: Identity,
        wanted: str,
        source: Source,
        waiting: PendingStepUp | None = None,
    ) -> ProviderRequest | Denial:
        """Begin a step-up of a user who is signed in; `wanted` is the address to open after it.

        The proof is for the browser's own sign-in or, with `waiting`, for that of a terminal whose letters
        the user has typed.
        """
        provider = identity.credential_id or ""
        if not self.can_prove_presence(identity) or identity.sign_in is None:
            return Denial.with_fix(
                Reason.BAD_REQUEST,
                "no identity provider can confirm your identity: you did not sign in by one, or it does "
                "not say when you authenticated",
                "sso.auth_time",
            )
        if (denial := self._attempts.take(source)) is not None:
            return denial
        sign_in = identity.sign_in.id if waiting is None else waiting.sign_in
        prompt = LoginPrompt(
            self._context.now(),
            identity.name,
            sign_in.hex(),
            step_up=None if waiting is None else waiting.id,
        )
        return await self._request(provider, wanted, prompt)

    def can_prove_presence(self, identity: Identity) -> bool:
        """Return whether the user's provider can prove that the user is present."""
        provider = self._providers.get(identity.credential_id or "")
        return identity.method is Method.SSO and provider is not None and provider.auth_time

    async def _request(
        self, provider: str, wanted: str, prompt: LoginPrompt | None
    ) -> ProviderRequest | Denial:
        """Return the redirect to the provider. With `prompt` the person has to prove there who they are."""
        client = self._clients.get(provider)
        if client is None:
            return Denial(Reason.BAD_REQUEST, "there is no identity provider of that name here")
        attempt = make_attempt(self._random)
        extra = () if prompt is None else LOGIN_NOW
        acr = self._providers[provider].step_up_acr
        if prompt is not None and prompt.sign_in is not None and acr:
            extra = (*extra, ("acr_values", " ".join(acr)))
        try:
            url = await client.build_authorization_url(attempt, extra)
        except OidcError as error:
            return log_refusal(provider, error)
        pending = Pending(
            provider, attempt, wanted, self._context.now() + SIGN_IN_PENDING_S, prompt
        )
        return ProviderRequest(url, self._key.seal(PURPOSE, encode_pending(pending)))

    async def finish(
        self, sealed_state: str, query: Sequence[tuple[str, str]], source: Source
    ) -> ProviderSignIn | ProviderRequest | StepUpResult | Denial:
        """Finish a sign-in or step-up when the browser comes back from the provider with `query`.

        `sealed_state` is that of the `ProviderRequest`. The result is another one if the browser has to go to
        the provider once more.
        """
        opened = self._key.open(PURPOSE, sealed_state)
        pending = None if opened is None else decode_pending(opened, self._context.now())
        if pending is None or pending.provider not in self._clients:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                "this sign-in was not begun in this browser, or it took longer than "
                f"{SIGN_IN_PENDING_S // MINUTE_S} minutes; sign in again",
            )
        if (denial := self._attempts.take(source)) is not None:
            return denial
        provider = self._providers[pending.provider]
        try:
            claims, tokens = await self._clients[provider.name].finish(query, pending.attempt)
            mapped = map_claims(claims.all, read_rules(provider))
        except OidcError as error:
            return log_refusal(provider.name, error)
        callback = _Callback(provider, pending, claims)
        prompt = pending.prompt
        if prompt is not None and prompt.sign_in is not None:
            denial = await self._finish_step_up(callback, prompt)
            if denial is not None:
                return denial
            self._give_back(source)
            return StepUpResult(pending.wanted)
        needed = await self._request_missing_proof(callback)
        if needed is not None:
            return needed
        user = await self._accounts.admit(provider, callback.account, mapped)
        if isinstance(user, Denial):
            return user
        self._give_back(source)
        identity = by_provider(user, provider.name)
        return ProviderSignIn(identity, pending.wanted, self._answer(callback, tokens))

    def _give_back(self, source: Source) -> None:
        """Give back the attempts of a sign-in that succeeded."""
        for _ in ("begin", "finish"):
            self._attempts.give_back(source)

    async def _request_missing_proof(self, callback: _Callback) -> ProviderRequest | Denial | None:
        """Return None if no administrator has ended a sign-in since the user last proved who they are.

        Otherwise return the request with which the user proves it at the provider, or why the provider's
        answer is no proof.
        """
        ended_at = await self._accounts.read_ended_at(callback.account)
        if ended_at is None or isinstance(ended_at, Denial):
            return ended_at
        prompt, now = callback.pending.prompt, self._context.now()
        if prompt is None or prompt.begun_at < ended_at:
            age_s = measure_proof_age(callback.claims)
            if age_s is not None and now - age_s > ended_at:
                return None
            prompt = LoginPrompt(now, forget=age_s is None)
            return await self._request(callback.provider.name, callback.pending.wanted, prompt)
        if (denial := self._check_proof(callback, prompt)) is not None:
            return denial
        if not prompt.forget:
            return None
        return await self._accounts.forget_ended(callback.account, ended_at)

    async def _finish_step_up(self, callback: _Callback, prompt: LoginPrompt) -> Denial | None:
        """Mark the sign-in as proved from now on, if the provider has asked the person who they are."""
        if (denial := self._check_proof(callback, prompt)) is not None:
            return denial
        provider = callback.provider
        if provider.step_up_acr and callback.claims.acr not in provider.step_up_acr:
            return Denial.with_fix(
                Reason.NO_GRANT,
                f"{provider.name} did not authenticate you in the way that this gateway requires",
                "acr is not in sso.step_up_acr",
                "authenticate there in another way, or use a passkey",
            )
        return await call_blocking(self._mark_proved, callback, prompt)

    def _check_proof(self, callback: _Callback, prompt: LoginPrompt) -> Denial | None:
        """Return None if the provider has asked the person since `prompt`, else why that is not proved.

        The person can remove the request to ask from the browser's address bar, so only the claims count.
        """
        provider = callback.provider
        if not provider.auth_time and prompt.sign_in is None:
            return None
        proved = is_fresh(callback.claims, self._context.now() - prompt.begun_at)
        if proved is None:
            return Denial.with_fix(
                Reason.NO_GRANT,
                f"{provider.name} does not report when you authenticated (auth_time)",
                "an administrator makes it send auth_time, or sets sso.auth_time to false",
                "ask an administrator",
            )
        if proved:
            return None
        return Denial(
            Reason.CREDENTIAL_WRONG,
            f"{provider.name} signed you in without asking you to authenticate; sign out there, and try "
            "again",
        )

    def _mark_proved(self, callback: _Callback, prompt: LoginPrompt) -> Denial | None:
        """Store that the sign-in is proved. Return why not if the account is another user's.

        Runs in a thread. Raises RefusedError if the terminal no longer waits, NotFoundError, StoreError.
        """
        assert prompt.user is not None, "it is a user's"
        assert prompt.sign_in is not None, "it is a step-up"
        sign_in = bytes.fromhex(prompt.sign_in)
        with self._context.database.read() as transaction:
            user = identities.find_user(transaction, callback.account)
        if user != prompt.user:
            return Denial(
                Reason.CREDENTIAL_WRONG,
                f"at {callback.provider.name} you are not {prompt.user}; sign in there as yourself",
            )
        now = self._context.now()
        with self._context.change(user, "step-up") as change:
            if prompt.step_up is not None:
                find_open_step_up(change.transaction, prompt.step_up, user, now)
            passes.record_step_up(change.transaction, sign_in, now)
            change.fields |= {
                "user": user,
                "sign_in": show_id(sign_in),
                "provider": callback.provider.name,
            }
        return None

    def _answer(self, callback: _Callback, tokens: Tokens) -> ProviderAnswer:
        """Return the provider's answer to store with the session.

        Without a refresh token the provider cannot be asked again, which is logged.
        """
        provider, claims = callback.provider, callback.claims
        now, token = self._context.now(), tokens.refresh_token
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
