"""An identity provider, as its discovery document describes it."""

import json
from dataclasses import dataclass
from typing import Any

from stagedoor.model.secure_url import check_secure_url
from stagedoor.oidc.errors import OidcError

DISCOVERY_PATH = "/.well-known/openid-configuration"
DOCUMENT_LIMIT_BYTES = 256 * 1024
"""The maximum size of a discovery document, a key set and a token response: real ones have a few
kilobytes."""
BASIC, POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. Endpoints are absolute URLs.

    `sends_issuer`: its response names the issuer (RFC 9207). `secret_by_post`: the client's secret goes
    into the form, because the provider does not accept it in the header (Core §9). `scopes` are the
    scopes that it lists, which may be incomplete.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    sends_issuer: bool = False
    secret_by_post: bool = False
    scopes: frozenset[str] = frozenset()


def join_discovery_url(issuer: str) -> str:
    """Return the URL of the discovery document (Discovery §4).

    Its path follows the issuer's own, without a final slash.
    """
    return issuer.rstrip("/") + DISCOVERY_PATH


def read_provider(document: bytes, issuer: str) -> Provider:
    """Parse a discovery document (Discovery §3, §4.3). Raises OidcError."""
    fields = read_object(document, "the discovery document")
    named = fields.get("issuer")
    if named != issuer:
        raise OidcError(
            f"the discovery document is of issuer {named!r}, and sso.issuer is {issuer!r}: "
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
        read_endpoint(fields, "authorization_endpoint"),
        read_endpoint(fields, "token_endpoint"),
        read_endpoint(fields, "jwks_uri"),
        read_endpoint(fields, "userinfo_endpoint") if "userinfo_endpoint" in fields else None,
        fields.get("authorization_response_iss_parameter_supported") is True,
        BASIC not in methods,
        frozenset(_texts(fields, "scopes_supported")),
    )


def read_object(document: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object within the size limit. Raises OidcError, which quotes nothing of it."""
    if len(document) > DOCUMENT_LIMIT_BYTES:
        raise OidcError(f"{name} is larger than {DOCUMENT_LIMIT_BYTES} bytes")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        raise OidcError(f"{name} is not JSON") from None
    if not isinstance(value, dict):
        raise OidcError(f"{name} is not a JSON object")
    return value


def read_endpoint(fields: dict[str, Any], name: str) -> str:
    """Return a URL of a discovery document to which secrets may be sent. Raises OidcError."""
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
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
