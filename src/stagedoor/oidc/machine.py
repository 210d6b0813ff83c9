"""Tokens of machines: of a CI job, or of a Kubernetes service account (RFC 7519, RFC 8725). Pure.

A token identifies the job, and rules map it to a user in Stagedoor. It may be used again until it ends:
a job requests it once, and logs in as often as its steps need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import KeySet

from stagedoor.model.units import HOUR_S
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import check_times, get_number, get_text, verify_signature
from stagedoor.oidc.mapping import find_claim
from stagedoor.oidc.provider import read_endpoint, read_object

MAX_TOKEN_CHARS = 8 * 1024
"""The maximum length of a token. GitLab's have about three thousand characters."""
AGE_S = 24 * HOUR_S
"""The time for which a token is valid after it was issued, whatever it claims."""
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for tokens. `claims` has the accepted values of each claim; a final `*` matches any suffix."""

    name: str
    audience: str
    claims: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MachineClaims:
    """The contents of a verified token: its identifier at the issuer, its recipients, and all claims."""

    subject: str
    audience: tuple[str, ...]
    all: Mapping[str, Any] = field(repr=False)


def read_jwks_uri(document: bytes, issuer: str) -> str:
    """Return the URL of the keys from a discovery document. Raises OidcError.

    A CI's document has no endpoints for people.
    """
    fields = read_object(document, "the discovery document")
    if fields.get("issuer") != issuer:
        raise OidcError("the discovery document of the issuer is of another one")
    return read_endpoint(fields, "jwks_uri")


def verify_machine(token: str, keys: KeySet, *, issuer: str, now: float) -> MachineClaims:
    """Return the claims of a token issued by `issuer` and valid at `now`. `find_rule` checks its audience.

    Raises UnknownKeyError if the keys may have been rotated, and otherwise OidcError.
    """
    _, claims = verify_signature(token, keys)
    if claims.get("iss") != issuer:
        raise OidcError("the ID token is of another issuer (iss)")
    check_times(claims, now)
    issued = get_number(claims, "iat")
    if issued is None or issued < now - AGE_S:
        raise OidcError(
            f"the ID token was made more than {AGE_S / HOUR_S:g} h ago (iat); ask for another"
        )
    subject, audience = get_text(claims, "sub"), claims.get("aud")
    if subject is None:
        raise OidcError("the ID token names no subject (sub)")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
        raise OidcError("the ID token names no audience (aud)")
    return MachineClaims(subject, tuple(audiences), claims)


def find_rule(claims: MachineClaims, rules: Sequence[Rule]) -> Rule:
    """Return the first rule that matches. Raises OidcError, which names the claim that does not match."""
    candidates = [rule for rule in rules if rule.audience in claims.audience]
    if not candidates:
        raise OidcError(
            f"the ID token is for {_shown(' '.join(claims.audience))} (aud), and no rule for machines of "
            "its issuer is; ask for a token with the audience that your administrators name"
        )
    wrong = {rule.name: _wrong(claims.all, rule) for rule in candidates}
    for rule in candidates:
        if not wrong[rule.name]:
            return rule
    nearest = min(candidates, key=lambda rule: len(wrong[rule.name]))
    mismatches = ", ".join(
        f"claim {name} is {_shown(_text(find_claim(claims.all, name)))}"
        for name in wrong[nearest.name]
    )
    raise OidcError(
        f"no rule for machines takes this ID token; nearest is {nearest.name!r}, but {mismatches}"
    )


def _wrong(claims: Mapping[str, Any], rule: Rule) -> tuple[str, ...]:
    return tuple(
        name
        for name, allowed in rule.claims.items()
        if not _fits(_text(find_claim(claims, name)), allowed)
    )


def _fits(value: str | None, allowed: Sequence[str]) -> bool:
    return value is not None and any(
        value.startswith(text[:-1]) if text.endswith("*") else value == text for text in allowed
    )


def _text(value: object) -> str | None:
    """Return a claim in the form that rules use, or None for a list, an object or a missing claim."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    return None


def _shown(value: str | None) -> str:
    """Return text of an issuer, or of a stranger, in a form that is safe in a log and in a terminal."""
    if value is None:
        return "missing"
    return ascii(value[:_SHOWN_CHARS]) + ("…" if len(value) > _SHOWN_CHARS else "")
