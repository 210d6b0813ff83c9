"""One provider, asked: its discovery document and keys are kept, and fetched again when they are old."""

from collections.abc import Callable, Iterable
from typing import Protocol

from stagedoor.oidc import id_token, request
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.logout import Logout, verify_logout
from stagedoor.oidc.provider import Provider, discovery_url, read_provider
from stagedoor.oidc.published import IssuerKeys
from stagedoor.oidc.request import Attempt, Client, FormRequest, Tokens

Answer = tuple[int, bytes]
"""A status, and a body."""


class Fetch(Protocol):
    """HTTP, as far as it is needed here. Both raise UnavailableError where no whole answer comes."""

    async def get(self, url: str, bearer: str | None = None) -> Answer:
        """`bearer` is an access token (RFC 6750 §2.1)."""
        ...

    async def post(self, form: FormRequest) -> Answer: ...


class OidcClient:
    """Belongs to one event loop. `now` is seconds since the epoch."""

    def __init__(self, issuer: str, client: Client, fetch: Fetch, now: Callable[[], float]) -> None:
        self._issuer = issuer
        self._client = client
        self._fetch = fetch
        self._now = now
        self._published = IssuerKeys(self._discover, self._key_set, now)

    async def provider(self) -> Provider:
        """Return the provider as it describes itself; its keys have been read as well. Raises OidcError."""
        return await self._published.issuer()

    async def authorization_url(
        self, attempt: Attempt, extra: Iterable[tuple[str, str]] = ()
    ) -> str:
        """Where to send the browser. Raises OidcError."""
        provider = await self._published.issuer()
        return request.authorization_url(provider, self._client, attempt, extra)

    async def finish(
        self, parameters: Iterable[tuple[str, str]], attempt: Attempt
    ) -> tuple[Claims, Tokens]:
        """Who came back by the callback with this query. Raises OidcError."""
        provider = await self._published.issuer()
        code = request.read_callback(parameters, provider, attempt)
        tokens = await self._exchange(request.code_request(provider, self._client, code, attempt))
        claims = await self._verified(tokens, attempt.nonce)
        return await self._completed(claims, tokens, provider), tokens

    async def ask_again(self, refresh_token: str) -> Tokens:
        """Ask whether a sign-in lasts. What comes is to be kept before anything else is done: the token that
        was shown may be good no more.

        Raises GrantEndedError if the sign-in is over, UnavailableError if nothing is known.
        """
        provider = await self._published.issuer()
        return await self._exchange(request.refresh_request(provider, self._client, refresh_token))

    async def read_again(self, tokens: Tokens) -> Claims:
        """What `ask_again` brought. A provider need send no new ID token (Core §12.2): then userinfo alone
        says who it is. Raises OidcError."""
        provider = await self._published.issuer()
        if tokens.id_token is not None:
            return await self._completed(await self._verified(tokens, None), tokens, provider)
        if provider.userinfo_endpoint is None or tokens.access_token is None:
            raise OidcError("the provider answers a refresh without an ID token or userinfo")
        body = await self._get(provider.userinfo_endpoint, "userinfo", tokens.access_token)
        return id_token.of_userinfo(self._issuer, body)

    async def _completed(self, claims: Claims, tokens: Tokens, provider: Provider) -> Claims:
        """With what the provider tells beside the ID token: Core §5.4 has names and groups there."""
        if provider.userinfo_endpoint is None or tokens.access_token is None:
            return claims
        body = await self._get(provider.userinfo_endpoint, "userinfo", tokens.access_token)
        return id_token.with_userinfo(claims, body)

    async def _exchange(self, form: FormRequest) -> Tokens:
        return request.read_tokens(*await self._fetch.post(form))

    async def read_logout(self, token: str) -> Logout:
        """What a logout token says that came from wherever. Raises OidcError."""
        return await self._published.verified(
            lambda keys: verify_logout(
                token,
                keys,
                issuer=self._issuer,
                client_id=self._client.client_id,
                now=self._now(),
            )
        )

    async def _verified(self, tokens: Tokens, nonce: str | None) -> Claims:
        return await self._published.verified(
            lambda keys: id_token.verify(
                tokens,
                keys,
                issuer=self._issuer,
                client_id=self._client.client_id,
                nonce=nonce,
                now=self._now(),
            )
        )

    async def _discover(self) -> Provider:
        return read_provider(
            await self._get(discovery_url(self._issuer), "the discovery document"), self._issuer
        )

    async def _key_set(self, provider: Provider) -> bytes:
        return await self._get(provider.jwks_uri, "the key set")

    async def _get(self, url: str, name: str, bearer: str | None = None) -> bytes:
        status, body = await self._fetch.get(url, bearer)
        if status == 200:
            return body
        if status >= 500 or status == 429:
            raise UnavailableError(f"{name}: {url} answered {status}")
        raise OidcError(f"{name}: {url} answered {status}; check sso.issuer")
