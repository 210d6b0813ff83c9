"""A machine's token: of a CI's job, or of a Kubernetes service account (RFC 7519, RFC 8725). Pure.

It says who the job is, and rules say which user that is here. It may be shown again until it ends: it is
asked for once in a job, and logs in as often as the job's steps do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import KeySet

from stagedoor.model.units import HOUR_S
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.id_token import check_times, number_of, signed, text_of
from stagedoor.oidc.mapping import claim_named
from stagedoor.oidc.provider import endpoint_in, read_object

MOST_TOKEN_CHARS = 8 * 1024
"""GitLab's have some three thousand."""
AGE_S = 24 * HOUR_S
"""A token is good for so long after it was made, whatever it says itself."""
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Rule:
    """`claims`: what each may be; a `*` at the end stands for anything."""

    name: str
    audience: str
    claims: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MachineClaims:
    """What a verified token says: `subject` is its name at the issuer, `audience` whom it is for."""

    subject: str
    audience: tuple[str, ...]
    all: Mapping[str, Any] = field(repr=False)


def read_key_place(document: bytes, issuer: str) -> str:
    """Where the keys are, by a discovery document. A CI's has no endpoints for people. Raises OidcError."""
    fields = read_object(document, "the discovery document")
    if fields.get("issuer") != issuer:
        raise OidcError("the discovery document is of another issuer than machines.issuer")
    return endpoint_in(fields, "jwks_uri")


def verify_machine(token: str, keys: KeySet, *, issuer: str, now: float) -> MachineClaims:
    """The claims of a token of `issuer` that is good at `now`; whom it is for is judged by `rule_for`.

    Raises UnknownKeyError where the keys may have been rotated, else OidcError.
    """
    _, claims = signed(token, keys)
    if claims.get("iss") != issuer:
        raise OidcError("the ID token is of another issuer (iss)")
    check_times(claims, now)
    made = number_of(claims, "iat")
    if made is None or made < now - AGE_S:
        raise OidcError(
            f"the ID token was made more than {AGE_S / HOUR_S:g} h ago (iat); ask for another"
        )
    subject, audience = text_of(claims, "sub"), claims.get("aud")
    if subject is None:
        raise OidcError("the ID token names no subject (sub)")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise OidcError("the ID token does not say whom it is for (aud)")
    return MachineClaims(subject, tuple(named), claims)


def rule_for(claims: MachineClaims, rules: Sequence[Rule]) -> Rule:
    """The first that fits. Raises OidcError, with the claim that does not."""
    meant = [rule for rule in rules if rule.audience in claims.audience]
    if not meant:
        raise OidcError(
            f"the ID token is for {_shown(' '.join(claims.audience))} (aud), and no [[machines]] table of "
            "its issuer is; ask for a token with the audience that your administrators name"
        )
    wrong = {rule.name: _wrong(claims.all, rule) for rule in meant}
    for rule in meant:
        if not wrong[rule.name]:
            return rule
    nearest = min(meant, key=lambda rule: len(wrong[rule.name]))
    said = ", ".join(
        f"claim {name} is {_shown(_text(claim_named(claims.all, name)))}"
        for name in wrong[nearest.name]
    )
    raise OidcError(
        f"no [[machines]] table takes this ID token; nearest is {nearest.name!r}, but {said}"
    )


def _wrong(claims: Mapping[str, Any], rule: Rule) -> tuple[str, ...]:
    return tuple(
        name
        for name, allowed in rule.claims.items()
        if not _fits(_text(claim_named(claims, name)), allowed)
    )


def _fits(value: str | None, allowed: Sequence[str]) -> bool:
    return value is not None and any(
        value.startswith(one[:-1]) if one.endswith("*") else value == one for one in allowed
    )


def _text(value: object) -> str | None:
    """A claim as rules have it; None for a list, an object or nothing."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    return None


def _shown(value: str | None) -> str:
    """For one line of a log and of a terminal: the text is its issuer's, or a stranger's."""
    if value is None:
        return "missing"
    return ascii(value[:_SHOWN_CHARS]) + ("…" if len(value) > _SHOWN_CHARS else "")
