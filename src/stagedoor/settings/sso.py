"""The settings of single sign-on: the identity providers that people may sign in by."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from stagedoor.model.name import FORM, valid_name
from stagedoor.model.secure_url import check_issuer, check_secure_url
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.settings.form import Table


class SingleSignOn(Table, frozen=True):
    """An identity provider that speaks OpenID Connect. The gateway is a confidential client of it."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="What the button says: `Sign in with NAME`. Commands name the provider by it.",
        ),
    ]
    issuer: Annotated[
        str,
        Meta(
            description="The provider's issuer, letter by letter as its discovery document has it: "
            "`https://id.example.com/realms/company`."
        ),
    ]
    client_id: Annotated[
        str, Meta(min_length=1, description="What the provider calls this gateway.")
    ]
    client_secret_file: Annotated[
        Path,
        Meta(
            description="A file with one line, the client's secret, mode 0600. A group may read a file of "
            "root's."
        ),
    ]
    redirect_uri: Annotated[
        str,
        Meta(
            description="Where the provider sends browsers back to, as it is registered there: the "
            "WebShell's address and `/sign-in/sso`, as in `https://shell.example.com/sign-in/sso`."
        ),
    ]
    scopes: Annotated[
        tuple[str, ...],
        Meta(
            description="What is asked for. `openid` must be among them; Keycloak and Okta send groups only "
            "if a scope of theirs is. Most providers give a refresh token only with `offline_access`."
        ),
    ] = ("openid", "profile", "email")
    name_claim: Annotated[
        str,
        Meta(
            description="The claim that has a person's name. One inside another is written with a dot "
            "(`custom.login`). An `email` is refused unless the provider sends `email_verified` as true."
        ),
    ] = "preferred_username"
    email_verified_missing: Annotated[
        Literal["refuse", "accept"],
        Meta(
            description='With `name_claim = "email"`, for a provider that never sends `email_verified`, such '
            "as Entra ID. `accept` trusts the address all the same: a person who may change their address "
            "there chooses their name here, so use it only where administrators alone set addresses. An "
            "`email_verified` that is sent must be true in either case."
        ),
    ] = "refuse"
    name_domain: Annotated[
        str | None,
        Meta(
            description="The domain behind the `@` of every name, which is left out: with `example.com`, "
            "`alice@example.com` is the user `alice`, and a name of another domain is refused. None: a "
            "name is taken whole."
        ),
    ] = None
    reserved_names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names that no person gets by a first sign-in, besides those of system accounts "
            "(`root`, `postgres`, `ubuntu` …) and of apps: the accounts that your servers have. They hold "
            "for all providers. A user that an administrator adds may have any name."
        ),
    ] = ()
    groups_claim: Annotated[
        str,
        Meta(description="The claim that lists a person's groups, written as `name_claim` is."),
    ] = "groups"
    groups_missing: Annotated[
        Literal["keep", "none"],
        Meta(
            description="What it means when the claim is missing. `keep`: nothing is known, and memberships "
            "stay. `none`: the person is in no group; for Keycloak, which leaves the claim out then."
        ),
    ] = "keep"
    groups: Annotated[
        dict[str, str],
        Meta(
            description='The group here for a group there: `{ "/teams/shop" = "shop" }`. Entra ID sends '
            "the groups' object ids."
        ),
    ] = field(default_factory=dict)
    group_prefix: Annotated[
        str | None,
        Meta(
            description="Other groups keep the name that they have there, behind this prefix: with `idp-`, "
            "`ops` is `idp-ops`. None: they are left out."
        ),
    ] = None
    refresh_s: Annotated[
        float,
        Meta(
            ge=10,
            description="So often the provider is asked again about each sign-in that lasts, seconds: "
            "whether it holds, and which groups the person is in. Only where it gives a refresh token (see "
            "`scopes`).",
        ),
    ] = 10 * MINUTE_S
    stale_s: Annotated[
        float,
        Meta(
            ge=60,
            description="For how long a sign-in opens something new although the provider does not answer, "
            "seconds. What is open goes on.",
        ),
    ] = 4 * HOUR_S
    auth_time: Annotated[
        bool,
        Meta(
            description="Whether the provider says when a person has proved themselves (`auth_time` in the "
            "ID token, where `max_age` asks for it). Without it nobody can tell whether it has asked. Then "
            "it is no step-up, and after an administrator has ended a sign-in the person is sent there to "
            "prove themselves, and believed."
        ),
    ] = True
    step_up_acr: Annotated[
        tuple[str, ...],
        Meta(
            description="What a step-up asks the provider for (`acr_values`), and one of which it must say "
            "that it was (`acr`): `phr` for something that resists phishing, or the provider's own words. "
            "Empty: any way to prove oneself will do."
        ),
    ] = ()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="The authorities (PEM) that the provider's TLS certificate is verified by. None: the "
            "system's."
        ),
    ] = None

    def __post_init__(self) -> None:
        try:
            check_issuer(self.issuer)
        except ValueError as error:
            raise ValueError(f"sso.issuer: {error}") from None
        try:
            check_secure_url(self.redirect_uri)
        except ValueError as error:
            raise ValueError(f"sso.redirect_uri: {error}") from None
        if "openid" not in self.scopes:
            raise ValueError("sso.scopes must have openid")
        if self.stale_s < self.refresh_s:
            raise ValueError("sso.stale_s must be no less than sso.refresh_s")
        for name in self.reserved_names:
            if not valid_name(name):
                raise ValueError(
                    f"sso.reserved_names has {name!r}, which is no user's name: {FORM}"
                )
        for group in self.groups.values():
            if not valid_name(group):
                raise ValueError(f"sso.groups has {group!r}, which is no group's name: {FORM}")
        if self.group_prefix is not None and not valid_name(self.group_prefix + "a"):
            raise ValueError(f"sso.group_prefix is {self.group_prefix!r}; in a group's name {FORM}")
