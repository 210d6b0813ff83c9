"""A client of one provider. It keeps the discovery document and the keys, and fetches them again in time."""

from collections.abc import Callable, Iterable
from typing import Protocol

from stagedoor.oidc import id_token, request
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.logout import Logout, verify_logout
from stagedoor.oidc.provider import Provider, join_discovery_url, read_provider
from stagedoor.oidc.published import IssuerKeys
from stagedoor.oidc.request import Attempt, ClientConfig, FormRequest, Tokens

FetchAnswer = tuple[int, bytes]
"""A status and a body."""


class Fetch(Protocol):
    """The HTTP requests that the client needs. Both raise UnavailableError if there is no complete answer."""

    async def get(self, url: str, bearer: str | None = None) -> FetchAnswer:
        """Return the answer to a GET; `bearer` is an access token (RFC 6750 §2.1)."""
        ...

    async def post(self, form: FormRequest) -> FetchAnswer:
        """Return the answer to a POST of a form."""
        ...


class OidcClient:
    """A client of the provider `issuer`. It belongs to one event loop.

    `now` returns seconds since the epoch.
    """

    def __init__(
        self, issuer: str, client: ClientConfig, fetch: Fetch, now: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._client = client
        self._fetch = fetch
        self._now = now
        self._published = IssuerKeys(self._discover, self._key_set, now)

    async def get_provider(self) -> Provider:
        """Return the provider's description of itself, once its keys have been read too. Raises OidcError."""
        return await self._published.get_issuer()

    async def build_authorization_url(
        self, attempt: Attempt, extra: Iterable[tuple[str, str]] = ()
    ) -> str:
        """Return the URL to redirect the browser to. Raises OidcError."""
        provider = await self._published.get_issuer()
        return request.build_authorization_url(provider, self._client, attempt, extra)

    async def finish(
        self, parameters: Iterable[tuple[str, str]], attempt: Attempt
    ) -> tuple[Claims, Tokens]:
        """Complete a sign-in from the callback's query, and return the person's claims and tokens.

        Raises OidcError.
        """
        provider = await self._published.get_issuer()
        code = request.read_callback(parameters, provider, attempt)
        tokens = await self._exchange(
            request.make_code_request(provider, self._client, code, attempt)
        )
        claims = await self._verify(tokens, attempt.nonce)
        return await self._add_userinfo(claims, tokens, provider), tokens

    async def refresh(self, refresh_token: str) -> Tokens:
        """Ask the provider whether a sign-in still holds, and return its new tokens.

        Store the result before doing anything else, because the old token may no longer be valid.
        Raises GrantEndedError if the sign-in is over, UnavailableError if the answer is unknown.
        """
        provider = await self._published.get_issuer()
        return await self._exchange(request.refresh_request(provider, self._client, refresh_token))

    async def read_refreshed(self, tokens: Tokens) -> Claims:
        """Return the claims for tokens from `refresh`. Raises OidcError.

        A provider may omit a new ID token (Core §12.2); then userinfo alone identifies the person.
        """
        provider = await self._published.get_issuer()
        if tokens.id_token is not None:
            return await self._add_userinfo(await self._verify(tokens, None), tokens, provider)
        if provider.userinfo_endpoint is None or tokens.access_token is None:
            raise OidcError("the provider answers a refresh without an ID token or userinfo")
        body = await self._get(provider.userinfo_endpoint, "userinfo", tokens.access_token)
        return id_token.read_userinfo(self._issuer, body)

    async def _add_userinfo(self, claims: Claims, tokens: Tokens, provider: Provider) -> Claims:
        """Return the claims with those of userinfo, where Core §5.4 puts names and groups."""
        if provider.userinfo_endpoint is None or tokens.access_token is None:
            return claims
        body = await self._get(provider.userinfo_endpoint, "userinfo", tokens.access_token)
        return id_token.merge_userinfo(claims, body)

    async def _exchange(self, form: FormRequest) -> Tokens:
        return request.read_tokens(*await self._fetch.post(form))

    async def read_logout(self, token: str) -> Logout:
        """Parse and verify a logout token from an untrusted source. Raises OidcError."""
        return await self._published.verify(
            lambda keys: verify_logout(
                token,
                keys,
                issuer=self._issuer,
                client_id=self._client.client_id,
                now=self._now(),
            )
        )

    async def _verify(self, tokens: Tokens, nonce: str | None) -> Claims:
        return await self._published.verify(
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
            await self._get(join_discovery_url(self._issuer), "the discovery document"),
            self._issuer,
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
