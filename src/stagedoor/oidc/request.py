"""The authorization code flow with PKCE: attempts to sign in, and the requests and responses of each."""

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import msgspec

from stagedoor.model.units import MINUTE_S
from stagedoor.oidc.errors import (
    FailedRequestError,
    GrantEndedError,
    OidcError,
    RefusedRequestError,
    SignInDeniedError,
    UnavailableError,
)
from stagedoor.oidc.provider import Provider, read_object

RANDOM_BYTES = 32
"""The size of a state, a nonce and a verifier: 256 bits (RFC 7636 §7.1)."""
TOKEN_LIMIT_CHARS = 64 * 1024
SIGN_IN_PENDING_S = 15 * MINUTE_S
"""The time that a person has to sign in at the provider; they may have to find their phone first."""
CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type"})
"""Errors of the token endpoint about the gateway itself (RFC 6749 §5.2), which do not concern a person."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The gateway's registration at the provider. `redirect_uri` must match the registered one exactly."""

    client_id: str
    secret: str = field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid",)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to sign in.

    `state` comes back in the URL, and `nonce` in the ID token. `verifier` stays in the gateway until
    the code is exchanged.
    """

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormRequest:
    """A POST of `application/x-www-form-urlencoded`."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens from a code or a refresh token. A token that the provider did not send is None."""

    id_token: str | None = field(repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoginPrompt:
    """A request that the person authenticate again, after `begun_at` (seconds since the epoch).

    With a `sign_in` (its id, in hexadecimal) it is a step-up: it creates no sign-in, and the proof
    counts for that sign-in of `user`. `step_up` is the id of the pending step-up of a terminal, which must
    still wait when the proof comes; None for a browser's own step-up. `forget` is True if the provider
    reports the time of authentication only on request; then this one proof has to suffice for all later
    sign-ins.
    """

    begun_at: float
    user: str | None = None
    sign_in: str | None = None
    forget: bool = False
    step_up: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in in progress.

    `provider` is its name in the settings, `wanted` the path that the person requested, and `ends_at`
    seconds since the epoch. The browser keeps it, sealed: strangers who begin sign-ins use no memory,
    and any gateway with the key can finish one. `prompt` is None if any session at the provider is
    sufficient.
    """

    provider: str
    attempt: Attempt
    wanted: str
    ends_at: float
    prompt: LoginPrompt | None = None


def make_attempt(random: Callable[[int], bytes]) -> Attempt:
    """Return a new attempt. `random` returns the given number of unpredictable bytes."""
    state, nonce, verifier = (_base64url(random(RANDOM_BYTES)) for _ in range(3))
    return Attempt(state, nonce, verifier)


LOGIN_NOW = (("prompt", "login"), ("max_age", "0"))
"""Parameters that make a provider authenticate the person again. Some providers know only one of them."""


def encode_pending(pending: Pending) -> bytes:
    """Return the bytes of a pending sign-in, for sealing."""
    return msgspec.json.encode(pending)


def decode_pending(data: bytes, now: float) -> Pending | None:
    """Parse bytes from `encode_pending`. Return None if the sign-in has expired."""
    pending = msgspec.json.decode(data, type=Pending)
    return pending if now < pending.ends_at else None


def build_authorization_url(
    provider: Provider,
    client: ClientConfig,
    attempt: Attempt,
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """Return the URL to redirect the browser to (Core §3.1.2.1).

    `extra` has parameters such as `prompt`, `max_age` and `acr_values`.
    """
    challenge = _base64url(hashlib.sha256(attempt.verifier.encode()).digest())
    fields = [
        ("response_type", "code"),
        ("client_id", client.client_id),
        ("redirect_uri", client.redirect_uri),
        ("scope", " ".join(client.scopes)),
        ("state", attempt.state),
        ("nonce", attempt.nonce),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        *extra,
    ]
    separator = "&" if "?" in provider.authorization_endpoint else "?"
    return provider.authorization_endpoint + separator + urlencode(fields, quote_via=quote)


def read_callback(
    parameters: Iterable[tuple[str, str]], provider: Provider, attempt: Attempt
) -> str:
    """Return the code from the callback's query (RFC 6749 §4.1.2, RFC 9207 §2.4).

    Raises SignInDeniedError if the person or the provider refused, OidcError if the query does not
    belong to this attempt. A repeated parameter is refused (RFC 6749 §3.1).
    """
    fields: dict[str, str] = {}
    for name, value in parameters:
        if name in fields:
            raise OidcError(f"the callback has more than one {name[:32]!r}")
        fields[name] = value
    state = fields.get("state", "")
    if not hmac.compare_digest(state.encode(), attempt.state.encode()):
        raise OidcError("the callback's state is not that of this sign-in")
    issuer = fields.get("iss")
    if (issuer is None and provider.sends_issuer) or issuer not in (None, provider.issuer):
        raise OidcError("the callback is not from the issuer that was asked (RFC 9207)")
    if "error" in fields:
        raise SignInDeniedError(f"the provider says {_code_word(fields['error'])}")
    code = fields.get("code", "")
    if not code or len(code) > TOKEN_LIMIT_CHARS:
        raise OidcError("the callback has no code")
    return code


def make_code_request(
    provider: Provider, client: ClientConfig, code: str, attempt: Attempt
) -> FormRequest:
    """Return the request that exchanges the code (RFC 6749 §4.1.3, RFC 7636 §4.5)."""
    return _token_request(
        provider,
        client,
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", client.redirect_uri),
        ("code_verifier", attempt.verifier),
    )


def refresh_request(provider: Provider, client: ClientConfig, refresh_token: str) -> FormRequest:
    """Return the request that refreshes the tokens of a person (RFC 6749 §6)."""
    return _token_request(
        provider, client, ("grant_type", "refresh_token"), ("refresh_token", refresh_token)
    )


def read_tokens(status: int, body: bytes) -> Tokens:
    """Parse the token endpoint's response (RFC 6749 §5).

    Raises GrantEndedError for `invalid_grant`, RefusedRequestError for another error that does not
    concern the client, FailedRequestError and UnavailableError if a retry may help, and OidcError for
    the rest.
    """
    if status != 200:
        raise _parse_error(status, body)
    fields = read_object(body, "the token endpoint's answer")
    return Tokens(
        _token(fields, "id_token"), _token(fields, "access_token"), _token(fields, "refresh_token")
    )


def _parse_error(status: int, body: bytes) -> OidcError:
    """Return the error for a response other than 200 (RFC 6749 §5.2)."""
    answered = f"the token endpoint answered {status}"
    try:
        error = read_object(body, "the token endpoint's answer").get("error")
    except OidcError:
        error = None
    if error is None:
        return UnavailableError(answered) if _is_transient(status) else OidcError(answered)
    word = _code_word(error)
    if word == "invalid_grant" and status < 500:
        return GrantEndedError("the provider says invalid_grant: the code or the sign-in is over")
    answered = f"{answered}, {word}"
    if status == 429 or word == "temporarily_unavailable":
        return UnavailableError(answered)
    if _is_transient(status):
        return FailedRequestError(answered)
    if word in CLIENT_ERRORS:
        return OidcError(f"{answered}; check sso.client_id and sso.client_secret_file")
    return RefusedRequestError(answered) if status >= 400 else OidcError(answered)


def _is_transient(status: int) -> bool:
    """Return True if a request with this status may succeed later."""
    return status >= 500 or status == 429


def _token_request(
    provider: Provider, client: ClientConfig, *fields: tuple[str, str]
) -> FormRequest:
    headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Accept", "application/json"),
    ]
    form = list(fields)
    if provider.secret_by_post:
        form += [("client_id", client.client_id), ("client_secret", client.secret)]
    else:
        # RFC 6749 §2.3.1: both parts are form-encoded and then joined.
        pair = f"{quote(client.client_id, safe='')}:{quote(client.secret, safe='')}"
        headers.append(("Authorization", "Basic " + b64encode(pair.encode()).decode()))
    return FormRequest(provider.token_endpoint, tuple(headers), urlencode(form).encode())


def _token(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isascii() or len(value) > TOKEN_LIMIT_CHARS:
        raise OidcError(f"the token endpoint's {name} is not a token")
    return value


def _code_word(value: object) -> str:
    """Return an error code (RFC 6749 §5.2) for the log; other text from outside is not logged."""
    known = isinstance(value, str) and 0 < len(value) <= 64 and value.isascii()
    if known and isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum():
        return value
    return "an error without a name"


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
