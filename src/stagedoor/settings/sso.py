"""The settings of single sign-on: the identity providers at which people may sign in."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from stagedoor.model.name import FORM, is_valid_name
from stagedoor.model.secure_url import check_issuer, check_secure_url
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.settings.form import Table, report_as


class SingleSignOnSettings(Table, frozen=True):
    """An identity provider that speaks OpenID Connect. The gateway is one of its confidential clients."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="The provider's name, on the button `Sign in with NAME` and in commands.",
        ),
    ]
    issuer: Annotated[
        str,
        Meta(
            description="The provider's issuer, exactly as in its discovery document: "
            "`https://id.example.com/realms/company`."
        ),
    ]
    client_id: Annotated[
        str, Meta(min_length=1, description="The gateway's client id at the provider.")
    ]
    client_secret_file: Annotated[
        Path,
        Meta(
            description="A file with one line, the client's secret, mode 0600. If root owns the file, a "
            "group may read it."
        ),
    ]
    redirect_uri: Annotated[
        str,
        Meta(
            description="The URL to which the provider sends browsers back, as registered there: the "
            "WebShell's address and `/sign-in/sso`, as in `https://shell.example.com/sign-in/sso`."
        ),
    ]
    scopes: Annotated[
        tuple[str, ...],
        Meta(
            description="The scopes to request. `openid` must be among them. Keycloak and Okta send groups "
            "only for their own scope, and most providers give a refresh token only for `offline_access`."
        ),
    ] = ("openid", "profile", "email")
    name_claim: Annotated[
        str,
        Meta(
            description="The claim that has a person's name. A claim inside another is written with a dot "
            "(`custom.login`). An `email` is refused unless the provider sends `email_verified` as true."
        ),
    ] = "preferred_username"
    email_verified_missing: Annotated[
        Literal["refuse", "accept"],
        Meta(
            description='With `name_claim = "email"`, for a provider that never sends `email_verified`, such '
            "as Entra ID. `accept` trusts the address anyway: a person who can change their address there "
            "can choose their name here, so use it only if addresses are set by administrators alone. If "
            "`email_verified` is sent, it must be true in either case."
        ),
    ] = "refuse"
    name_domain: Annotated[
        str | None,
        Meta(
            description="The domain after the `@` of all names, which is removed: with `example.com`, "
            "`alice@example.com` is the user `alice`, and a name of another domain is refused. None: names "
            "are used whole."
        ),
    ] = None
    reserved_names: Annotated[
        tuple[str, ...],
        Meta(
            description="Names that no person gets by a first sign-in at any provider, such as the accounts "
            "on your servers, beside those of system accounts (`root`, `postgres`, `ubuntu` …) and of apps. "
            "An administrator can give such a name."
        ),
    ] = ()
    groups_claim: Annotated[
        str,
        Meta(description="The claim that lists a person's groups, written as `name_claim` is."),
    ] = "groups"
    groups_missing: Annotated[
        Literal["keep", "none"],
        Meta(
            description="What a missing claim means. `keep`: nothing is known, and memberships stay. `none`: "
            "the person is in no group; use this for Keycloak, which then leaves the claim out."
        ),
    ] = "keep"
    groups: Annotated[
        dict[str, str],
        Meta(
            description='The groups here by the provider\'s groups: `{ "/teams/shop" = "shop" }`. Entra ID '
            "sends the groups' object ids."
        ),
    ] = field(default_factory=dict)
    group_prefix: Annotated[
        str | None,
        Meta(
            description="Other groups keep the provider's name, after this prefix: with `idp-`, `ops` is "
            "`idp-ops`. None: other groups are left out."
        ),
    ] = None
    refresh_s: Annotated[
        float,
        Meta(
            ge=10,
            description="The interval at which the provider is asked about each live sign-in, seconds: "
            "whether it is still valid, and which groups the person is in. This needs a refresh token (see "
            "`scopes`).",
        ),
    ] = 10 * MINUTE_S
    stale_s: Annotated[
        float,
        Meta(
            ge=60,
            description="How long a sign-in can open new sessions while the provider does not answer, "
            "seconds. Open sessions continue.",
        ),
    ] = 4 * HOUR_S
    auth_time: Annotated[
        bool,
        Meta(
            description="Whether the provider reports when a person last authenticated (`auth_time` in the "
            "ID token, requested by `max_age`). Without it, the gateway cannot check whether the provider "
            "has asked the person. Then it cannot be used for step-up, and after an administrator has ended "
            "a sign-in, the person is sent to the provider to authenticate, which is not verified."
        ),
    ] = True
    step_up_acr: Annotated[
        tuple[str, ...],
        Meta(
            description="The authentication classes that a step-up requests from the provider "
            "(`acr_values`), which must report one of them (`acr`): `phr` for phishing-resistant, or the "
            "provider's own names. Empty: any authentication will do."
        ),
    ] = ()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the authorities that verify the provider's TLS certificate. None: the "
            "system's."
        ),
    ] = None

    def __post_init__(self) -> None:
        with report_as("sso.issuer"):
            check_issuer(self.issuer)
        with report_as("sso.redirect_uri"):
            check_secure_url(self.redirect_uri)
        if "openid" not in self.scopes:
            raise ValueError("sso.scopes must have openid")
        if self.stale_s < self.refresh_s:
            raise ValueError("sso.stale_s must be no less than sso.refresh_s")
        for name in self.reserved_names:
            if not is_valid_name(name):
                raise ValueError(
                    f"sso.reserved_names has {name!r}, which is not a user name: {FORM}"
                )
        for group in self.groups.values():
            if not is_valid_name(group):
                raise ValueError(f"sso.groups has {group!r}, which is not a group name: {FORM}")
        if self.group_prefix is not None and not is_valid_name(self.group_prefix + "a"):
            raise ValueError(f"sso.group_prefix is {self.group_prefix!r}; in a group's name {FORM}")
