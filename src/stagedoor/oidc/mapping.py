"""From a provider's claims to a user's name and groups here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stagedoor.model.name import FORM, valid_name
from stagedoor.oidc.errors import OidcError

MOST_GROUPS = 1000
"""Of one person; Entra ID sends 200 in a token."""

MOST_SHOWN = 20
"""Claims that one message names."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How to read claims.

    `name_claim` and `groups_claim` name a claim, or one inside another (`realm_access.roles`).
    `name_domain`: what stands behind the `@` of every name, and is left out (`alice@example.com` is
    `alice`). `missing_is_none`: whether a missing claim of groups says that there are none. `groups`: the
    group here for a group there. `group_prefix`: what other groups are named here, this before their name;
    None: they are left out. `trust_email`: whether an `email` is accepted as a name although the provider
    sends no `email_verified`.
    """

    name_claim: str = "preferred_username"
    name_domain: str | None = None
    groups_claim: str = "groups"
    missing_is_none: bool = False
    groups: Mapping[str, str] = field(default_factory=dict)
    group_prefix: str | None = None
    trust_email: bool = False


@dataclass(frozen=True, slots=True)
class Mapped:
    """`groups` is None where the claim is missing, which is no empty list: what was known is kept.

    `left_out` are the provider's groups that become none here, as they came.
    """

    name: str
    groups: frozenset[str] | None
    left_out: tuple[str, ...]


def map_claims(claims: Mapping[str, Any], rules: Rules) -> Mapped:
    """Who that is here. Raises OidcError, which names the claim and the setting.

    A name is taken as it is or not at all: lower case is not made of upper case, so that two people
    of the provider never meet in one name here.
    """
    name = _name(claims, rules)
    groups, left_out = map_groups(claims, rules)
    return Mapped(name, groups, left_out)


def map_groups(
    claims: Mapping[str, Any], rules: Rules
) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """The groups here, and those of the provider that become none, as in `Mapped`. Raises OidcError."""
    found = claim_named(claims, rules.groups_claim)
    if found is None:
        return (frozenset() if rules.missing_is_none else None), ()
    named = [found] if isinstance(found, str) else found
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise OidcError(f"claim {rules.groups_claim!r} is no list of names; see sso.groups_claim")
    if len(named) > MOST_GROUPS:
        raise OidcError(
            f"claim {rules.groups_claim!r} has {len(named)} groups, more than {MOST_GROUPS}; have the "
            "provider send only those that matter here"
        )
    mapped = {one: _group(one, rules) for one in named}
    return (
        frozenset(group for group in mapped.values() if group is not None),
        tuple(sorted(one for one, group in mapped.items() if group is None)),
    )


def _name(claims: Mapping[str, Any], rules: Rules) -> str:
    value = claim_named(claims, rules.name_claim)
    if not isinstance(value, str) or not value:
        named = sorted(name for name, each in claims.items() if isinstance(each, str))
        known = ", ".join(repr(name) for name in named[:MOST_SHOWN])
        raise OidcError(
            f"there is no claim {rules.name_claim!r} with a name; set sso.name_claim to one of: {known}"
        )
    if rules.name_claim == "email":
        _require_verified_email(claims, rules)
    name = value
    if rules.name_domain is not None:
        name, at, domain = value.rpartition("@")
        if not at or domain != rules.name_domain:
            raise OidcError(f"{value!r} is not in sso.name_domain, which is {rules.name_domain!r}")
    if not valid_name(name):
        raise OidcError(
            f"{name!r} (claim {rules.name_claim!r}) cannot be a user's name here: {FORM}"
        )
    return name


def _require_verified_email(claims: Mapping[str, Any], rules: Rules) -> None:
    """Refuse an address that its person may have made up. Raises OidcError.

    OpenID Connect Core §5.1 has `email_verified` as a JSON boolean, so a text or a number is no proof.
    """
    if "email_verified" not in claims:
        if not rules.trust_email:
            raise OidcError(
                "the provider does not say that it has verified the person's email address "
                "(email_verified); have it send that claim, or see sso.email_verified_missing"
            )
    elif claims["email_verified"] is not True:
        raise OidcError(
            "the provider has not verified the person's email address (email_verified is not true)"
        )


def _group(name: str, rules: Rules) -> str | None:
    if name in rules.groups:
        return rules.groups[name]
    if rules.group_prefix is None:
        return None
    ours = rules.group_prefix + name
    return ours if valid_name(ours) else None


def claim_named(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name (which may have dots: `https://example.com/groups`), or the one inside."""
    if name in claims:
        return claims[name]
    at: Any = claims
    for part in name.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return None
        at = at[part]
    return at
