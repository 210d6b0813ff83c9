"""An identity provider, as its discovery document describes it."""

import json
from dataclasses import dataclass
from typing import Any

from stagedoor.model.secure_url import check_secure_url
from stagedoor.oidc.errors import OidcError

DISCOVERY_PATH = "/.well-known/openid-configuration"
DOCUMENT_LIMIT_BYTES = 256 * 1024
"""Of a discovery document, a key set and a token answer: real ones have some kilobytes."""
BASIC, POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True, slots=True)
class Provider:
    """Endpoints are absolute URLs.

    `sends_issuer`: its answer names the issuer (RFC 9207). `secret_by_post`: the client's secret goes
    into the form, since the provider does not take it in the header (Core §9). `scopes` are those that it
    says it supports, which need not be all.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    sends_issuer: bool = False
    secret_by_post: bool = False
    scopes: frozenset[str] = frozenset()


def discovery_url(issuer: str) -> str:
    """Discovery §4: the path goes behind the issuer's own, whose last slash is dropped."""
    return issuer.rstrip("/") + DISCOVERY_PATH


def read_provider(document: bytes, issuer: str) -> Provider:
    """Read a discovery document (Discovery §3, §4.3). Raises OidcError."""
    fields = read_object(document, "the discovery document")
    found = fields.get("issuer")
    if found != issuer:
        raise OidcError(
            f"the discovery document is of issuer {found!r}, and sso.issuer is {issuer!r}: "
            "they must be equal, letter by letter"
        )
    methods = _texts(fields, "token_endpoint_auth_methods_supported") or [BASIC]
    if not {BASIC, POST} & set(methods):
        raise OidcError(f"the provider takes a client's secret neither by {BASIC} nor by {POST}")
    challenges = _texts(fields, "code_challenge_methods_supported")
    if challenges and "S256" not in challenges:
        raise OidcError("the provider does not support PKCE with S256 (RFC 7636)")
    return Provider(
        issuer,
        endpoint_in(fields, "authorization_endpoint"),
        endpoint_in(fields, "token_endpoint"),
        endpoint_in(fields, "jwks_uri"),
        endpoint_in(fields, "userinfo_endpoint") if "userinfo_endpoint" in fields else None,
        fields.get("authorization_response_iss_parameter_supported") is True,
        BASIC not in methods,
        frozenset(_texts(fields, "scopes_supported")),
    )


def read_object(document: bytes, name: str) -> dict[str, Any]:
    """A JSON object within the limit. Raises OidcError, which repeats nothing of it."""
    if len(document) > DOCUMENT_LIMIT_BYTES:
        raise OidcError(f"{name} is larger than {DOCUMENT_LIMIT_BYTES} bytes")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        raise OidcError(f"{name} is not JSON") from None
    if not isinstance(value, dict):
        raise OidcError(f"{name} is not a JSON object")
    return value


def endpoint_in(fields: dict[str, Any], name: str) -> str:
    """A URL of a discovery document that secrets may be sent to. Raises OidcError."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise OidcError(f"the discovery document has no {name}")
    try:
        check_secure_url(value)
    except ValueError as error:
        raise OidcError(f"{name} of the discovery document: {error}") from None
    return value


def _texts(fields: dict[str, Any], name: str) -> list[str]:
    value = fields.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
