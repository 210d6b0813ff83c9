"""The settings of machines that log in by a token of their own: jobs of a CI, pods of Kubernetes."""

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
}
"""Issuers whose tokens everybody can have, with the claims that say whose they are. GitHub's
`job_workflow_ref` does not: everybody may call a public workflow of somebody else's."""
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
        whose = SHARED.get(self.issuer)
        if whose is not None and not any(self._narrows(claim) for claim in whose):
            raise ValueError(
                f"machines.claims must say whose the token is, since everybody can have one of "
                f"{self.issuer}: name one of {', '.join(whose)}"
            )

    def allowed(self, claim: str) -> tuple[str, ...]:
        """What the claim may be."""
        value = self.claims[claim]
        return (value,) if isinstance(value, str) else value

    def _narrows(self, claim: str) -> bool:
        """Whether it names one owner: `acme*` would be anybody's whose name begins so."""
        return claim in self.claims and all(
            not value.endswith(ANY) or ("/" in value and value[-2:-1] in ("/", ":"))
            for value in self.allowed(claim)
        )


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
