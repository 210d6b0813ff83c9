"""The settings of machines that log in by their own tokens: CI jobs, pods on Kubernetes."""

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.name import FORM, is_valid_name
from stagedoor.model.secure_url import check_issuer
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.settings.form import Table, check_unique, report_as

SHARED_ISSUERS = {
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
"""Issuers whose customers can all get tokens, with the claims that identify a token's owner. GitHub's
`job_workflow_ref` does not identify it: every customer may call another's public workflow."""
OWNER_CLAIMS = ("sub",)
"""The claims that identify the owner for any other issuer (RFC 7519 §4.1.2)."""
WILDCARD = "*"


class MachineSettings(Table, frozen=True):
    """A rule for machines: a machine whose token has these claims is this user. The first match counts."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="The rule's name in lists, the log and the audit.",
        ),
    ]
    user: Annotated[
        str,
        Meta(
            description="The machine's user, whose grants it has: "
            "`stagedoor user add ci-shop --no-password`."
        ),
    ]
    issuer: Annotated[
        str,
        Meta(
            description="The issuer of the token, exactly as in its `iss`: "
            "`https://token.actions.githubusercontent.com`, `https://gitlab.com`, a cluster's "
            "`--service-account-issuer`."
        ),
    ]
    audience: Annotated[
        str,
        Meta(
            min_length=1,
            description="The audience that the token must have (`aud`), which the job requests: the address "
            "of this gateway and of no other service, so that no other service can use the token here.",
        ),
    ]
    claims: Annotated[
        dict[str, str | tuple[str, ...]],
        Meta(
            min_length=1,
            description="The claims that the token must have, all of them: each with its text, or with a "
            "list of allowed texts. A `*` at the end matches anything: `refs/tags/v*`. Numbers, `true` and "
            "`false` are compared as text. A claim inside another is written with a dot.",
        ),
    ]
    own_issuer: Annotated[
        bool,
        Meta(
            description="Whether the issuer signs for you alone, as your own GitLab or cluster does. Then "
            "`claims` need not identify the token's owner. Otherwise they must; for an issuer that Stagedoor "
            "does not know, by `sub`."
        ),
    ] = False
    keys_file: Annotated[
        Path | None,
        Meta(
            description="A file with the issuer's keys (a JWK set), if the gateway cannot reach the issuer: "
            "`kubectl get --raw /openid/v1/jwks`. It is read again when a token names an unknown key. None: "
            "the gateway fetches them by the issuer's discovery document."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the authorities that verify the issuer's TLS certificate. None: the "
            "system's."
        ),
    ] = None
    session_s: Annotated[
        float,
        Meta(
            ge=MINUTE_S,
            le=HOUR_S,
            description="How long a login lasts, seconds. It is not renewed, and its sessions end with it; "
            "a job logs in again with a new token.",
        ),
    ] = 15 * MINUTE_S

    def __post_init__(self) -> None:
        if not is_valid_name(self.user):
            raise ValueError(f"machines.user is {self.user!r}, which is not a user name: {FORM}")
        with report_as("machines.issuer"):
            check_issuer(self.issuer)
        for claim in self.claims:
            if not all(self.list_allowed(claim)) or not self.list_allowed(claim):
                raise ValueError(f"machines.claims.{claim} is empty, so no token would match")
            for value in self.list_allowed(claim):
                if WILDCARD in value[:-1]:
                    raise ValueError(
                        f"machines.claims.{claim} is {value!r}; a `*` may be at its end"
                    )
        self._require_owner()

    def _require_owner(self) -> None:
        """Raise ValueError unless the claims identify the token's owner, or the issuer has only one."""
        known = SHARED_ISSUERS.get(self.issuer.rstrip("/"))
        if self.own_issuer:
            if known is not None:
                raise ValueError(f"machines.own_issuer: {self.issuer} signs for all its customers")
            return
        if any(self._narrows(claim) for claim in known or OWNER_CLAIMS):
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

    def list_allowed(self, claim: str) -> tuple[str, ...]:
        """Return the allowed values of a claim."""
        value = self.claims[claim]
        return (value,) if isinstance(value, str) else value

    def _narrows(self, claim: str) -> bool:
        """Return whether the claim allows one owner only: `acme*` would allow all that begin with it.

        The first part of a subject is its kind: `repo:acme/*`, `organization:acme:*`.
        """
        return claim in self.claims and all(
            not value.endswith(WILDCARD) or _names_owner(value, 2 if claim == "sub" else 1)
            for value in self.list_allowed(claim)
        )


def _names_owner(pattern: str, parts: int) -> bool:
    """Return whether the pattern has at least `parts` whole parts before the `*`."""
    *whole, last = re.split("[:/]", pattern.removesuffix(WILDCARD))
    return not last and len(whole) >= parts and all(whole)


def check_machines(
    machines: tuple[MachineSettings, ...], clients: frozenset[tuple[str, str]]
) -> None:
    """Check all rules together. Raises ValueError.

    `clients` has the issuer of each `[[sso]]` with its client id.
    """
    check_unique((machine.name for machine in machines), "[[machines]]")
    sources: dict[str, tuple[Path | None, Path | None]] = {}
    for machine in machines:
        if (machine.issuer, machine.audience) in clients:
            # GitLab signs for both: a person's token must not log in a machine, nor a machine's a person.
            raise ValueError(
                f"machines.audience of {machine.name!r} is sso.client_id of the same issuer; choose another"
            )
        source = (machine.keys_file, machine.ca_file)
        if sources.setdefault(machine.issuer, source) != source:
            raise ValueError(
                f"two [[machines]] tables of {machine.issuer} differ in keys_file or ca_file"
            )
