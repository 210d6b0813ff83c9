"""The settings of machines that log in by a token of their own: jobs of a CI, pods of Kubernetes."""

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.name import FORM, valid_name
from stagedoor.model.secure_url import check_issuer
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.settings.form import Table

SHARED = {
    "https://token.actions.githubusercontent.com": (
        "sub",
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "enterprise",
        "enterprise_id",
    ),
    "https://gitlab.com": ("sub", "project_path", "project_id", "namespace_path", "namespace_id"),
    "https://agent.buildkite.com": ("sub", "organization_slug", "organization_id", "pipeline_id"),
    "https://app.terraform.io": (
        "sub",
        "terraform_organization_name",
        "terraform_organization_id",
        "terraform_project_id",
        "terraform_workspace_id",
    ),
    "https://accounts.google.com": ("sub", "hd"),
    "https://oidc.vercel.com": ("sub", "owner", "owner_id", "project_id"),
}
"""Issuers of whom every customer can have tokens, with the claims that say whose a token is. GitHub's
`job_workflow_ref` does not: every customer may call a public workflow of another's."""
OWNER = ("sub",)
"""The claims that say it for any other issuer (RFC 7519 §4.1.2)."""
ANY = "*"


class Machine(Table, frozen=True):
    """A rule for machines: whose token has these claims is this user. The first table that fits counts."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="What lists, the log and the audit call the rule.",
        ),
    ]
    user: Annotated[
        str,
        Meta(
            description="The user that the machine is, whose grants count: "
            "`stagedoor user add ci-shop --no-password`."
        ),
    ]
    issuer: Annotated[
        str,
        Meta(
            description="Who signs the token, letter by letter as its `iss` has it: "
            "`https://token.actions.githubusercontent.com`, `https://gitlab.com`, a cluster's "
            "`--service-account-issuer`."
        ),
    ]
    audience: Annotated[
        str,
        Meta(
            min_length=1,
            description="Whom the token must be for (`aud`), which the job asks for: the gateway's address "
            "and nobody else's, so that no other service can use the token here.",
        ),
    ]
    claims: Annotated[
        dict[str, str | tuple[str, ...]],
        Meta(
            min_length=1,
            description="What the token must say, all of it: a claim's text, or a list of those allowed. A "
            "`*` at the end stands for anything: `refs/tags/v*`. Numbers, `true` and `false` are compared as "
            "text. A claim inside another is written with a dot.",
        ),
    ]
    own_issuer: Annotated[
        bool,
        Meta(
            description="The issuer signs for you alone, as your own GitLab or cluster does: `claims` need "
            "not say whose the token is. Where it is false, they must: for an issuer that is not known here, "
            "by `sub`."
        ),
    ] = False
    keys_file: Annotated[
        Path | None,
        Meta(
            description="The issuer's keys (a JWK set), for one that the gateway cannot ask: "
            "`kubectl get --raw /openid/v1/jwks`. Read again when a token names an unknown key. None: they "
            "are found by the issuer's discovery document."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Meta(
            description="The authorities (PEM) that the issuer's TLS certificate is verified by. None: the "
            "system's."
        ),
    ] = None
    session_s: Annotated[
        float,
        Meta(
            ge=MINUTE_S,
            le=HOUR_S,
            description="How long a login lasts, seconds. It is not renewed, and what it opened ends with "
            "it; a job logs in again with a new token.",
        ),
    ] = 15 * MINUTE_S

    def __post_init__(self) -> None:
        if not valid_name(self.user):
            raise ValueError(f"machines.user is {self.user!r}, which is no user's name: {FORM}")
        try:
            check_issuer(self.issuer)
        except ValueError as error:
            raise ValueError(f"machines.issuer: {error}") from None
        for claim in self.claims:
            if not all(self.allowed(claim)) or not self.allowed(claim):
                raise ValueError(f"machines.claims.{claim} is empty, so no token would fit")
            for value in self.allowed(claim):
                if ANY in value[:-1]:
                    raise ValueError(
                        f"machines.claims.{claim} is {value!r}; a `*` may be at its end"
                    )
        self._require_owner()

    def _require_owner(self) -> None:
        """Raises ValueError unless the claims say whose the token is, or the issuer is one's own."""
        known = SHARED.get(self.issuer.rstrip("/"))
        if self.own_issuer:
            if known is not None:
                raise ValueError(f"machines.own_issuer: {self.issuer} signs for all its customers")
            return
        if any(self._narrows(claim) for claim in known or OWNER):
            return
        if known is None:
            raise ValueError(
                "machines.claims must say whose the token is: name sub, to its owner at least; or, if "
                f"{self.issuer} signs for you alone, set own_issuer = true"
            )
        raise ValueError(
            f"machines.claims must say whose the token is, since every customer of {self.issuer} can have "
            f"one: name one of {', '.join(known)}"
        )

    def allowed(self, claim: str) -> tuple[str, ...]:
        """What the claim may be."""
        value = self.claims[claim]
        return (value,) if isinstance(value, str) else value

    def _narrows(self, claim: str) -> bool:
        """Return whether it names one owner: `acme*` would be each whose name begins so.

        A subject has the kind first: `repo:acme/*`, `organization:acme:*`.
        """
        return claim in self.claims and all(
            not value.endswith(ANY) or _names_owner(value, 2 if claim == "sub" else 1)
            for value in self.allowed(claim)
        )


def _names_owner(pattern: str, parts: int) -> bool:
    """Return whether so many whole parts are before the `*`."""
    *whole, last = re.split("[:/]", pattern.removesuffix(ANY))
    return not last and len(whole) >= parts and all(whole)


def check_machines(machines: tuple[Machine, ...], clients: frozenset[tuple[str, str]]) -> None:
    """Raises ValueError. `clients` are issuers of people, with what each calls this gateway."""
    names = [each.name for each in machines]
    if len(set(names)) < len(names):
        raise ValueError("two [[machines]] tables have the same name")
    sources: dict[str, tuple[Path | None, Path | None]] = {}
    for each in machines:
        if (each.issuer, each.audience) in clients:
            # GitLab is both: what it signs for a person must not log a machine in, nor the other way.
            raise ValueError(
                f"machines.audience of {each.name!r} is sso.client_id of the same issuer; choose another"
            )
        source = (each.keys_file, each.ca_file)
        if sources.setdefault(each.issuer, source) != source:
            raise ValueError(
                f"two [[machines]] tables of {each.issuer} differ in keys_file or ca_file"
            )
