"""The mapping from a provider's claims to a user name and groups in Stagedoor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stagedoor.model.name import FORM, is_valid_name
from stagedoor.oidc.errors import OidcError

MAX_GROUPS = 1000
"""The maximum number of a person's groups; Entra ID sends 200 in a token."""

MAX_SHOWN = 20
"""The maximum number of claims that a message lists."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings for reading claims.

    `name_claim` and `groups_claim` name a claim, or a claim inside another one (`realm_access.roles`).
    `name_domain` is the domain that every name must have after its `@`, and that is removed
    (`alice@example.com` becomes `alice`). With `missing_is_none`, a missing claim of groups stands for
    no groups. `groups` maps the provider's groups to Stagedoor's. Other groups get the prefix
    `group_prefix`, or are left out if that is None. With `trust_email`, an `email` is accepted as a
    name even if the provider sends no `email_verified`.
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
    """The result of the mapping. `groups` is None if the claim is missing; then the known groups stay.

    `left_out` are the provider's groups that map to no group in Stagedoor, as the provider names them.
    """

    name: str
    groups: frozenset[str] | None
    left_out: tuple[str, ...]


def map_claims(claims: Mapping[str, Any], rules: Rules) -> Mapped:
    """Return the user name and groups for `claims`. Raises OidcError, which names the claim and the setting.

    A name is taken unchanged or refused. It is never converted to lower case, so that two people of the
    provider cannot get the same name.
    """
    name = _name(claims, rules)
    groups, left_out = map_groups(claims, rules)
    return Mapped(name, groups, left_out)


def map_groups(
    claims: Mapping[str, Any], rules: Rules
) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """Return the groups, and the provider's groups that are left out, as in `Mapped`. Raises OidcError."""
    value = find_claim(claims, rules.groups_claim)
    if value is None:
        return (frozenset() if rules.missing_is_none else None), ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OidcError(
            f"claim {rules.groups_claim!r} is not a list of names; see sso.groups_claim"
        )
    if len(names) > MAX_GROUPS:
        raise OidcError(
            f"claim {rules.groups_claim!r} has {len(names)} groups, more than {MAX_GROUPS}; have the "
            "provider send only those that matter here"
        )
    mapped = {name: _group(name, rules) for name in names}
    return (
        frozenset(group for group in mapped.values() if group is not None),
        tuple(sorted(name for name, group in mapped.items() if group is None)),
    )


def _name(claims: Mapping[str, Any], rules: Rules) -> str:
    value = find_claim(claims, rules.name_claim)
    if not isinstance(value, str) or not value:
        named = sorted(name for name, claim in claims.items() if isinstance(claim, str))
        known = ", ".join(repr(name) for name in named[:MAX_SHOWN])
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
    if not is_valid_name(name):
        raise OidcError(
            f"{name!r} (claim {rules.name_claim!r}) cannot be a user's name here: {FORM}"
        )
    return name


def _require_verified_email(claims: Mapping[str, Any], rules: Rules) -> None:
    """Refuse an address that the person may have made up. Raises OidcError.

    OpenID Connect Core §5.1 defines `email_verified` as a JSON boolean, so a text or a number is no
    proof.
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
    return ours if is_valid_name(ours) else None


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim `name`, or the one inside another claim if `name` is a path; None if there is none.

    A claim's own name may contain dots: `https://example.com/groups`.
    """
    if name in claims:
        return claims[name]
    at: Any = claims
    for part in name.split("."):
        if not isinstance(at, Mapping) or part not in at:
            return None
        at = at[part]
    return at
