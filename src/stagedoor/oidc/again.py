"""What comes of asking a provider again about a sign-in that lasts. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.oidc.errors import (
    FailedRequestError,
    GrantEndedError,
    OidcError,
    RefusedRequestError,
)
from stagedoor.oidc.id_token import Claims
from stagedoor.oidc.mapping import Rules, map_groups

RETRY_S = 30.0
"""After the first failure; twice as long after each further one."""
SPREAD = 0.2
"""So much sooner, at most, each is asked: those who signed in together do not stay together."""


@dataclass(frozen=True, slots=True)
class SignInAlive:
    """The sign-in lasts. `groups` are those here, None where they are not known and so stay; `warning` is a
    line for the log."""

    groups: frozenset[str] | None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class SignInEnded:
    """It ends. `why` is a line for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known, and nothing ends. `why` is a line for the log."""

    why: str


Outcome = SignInAlive | SignInEnded | Unknown


def judge(
    answer: Claims | OidcError,
    subject: str,
    rules: Rules,
    previous: str | None = None,
    others_hold: bool = False,
) -> Outcome:
    """Judge what the provider says of a sign-in of the person `subject`. An error is what asking raised.

    `previous` is the reason of the last outcome, if that was `Unknown`; `others_hold` says whether the
    provider has since answered that another sign-in lasts.

    `invalid_grant` and another subject end the sign-in at once; another refusal does if it comes twice in a
    row. So does a failure that the provider reports twice in a row while it answers for others: it is about
    this person. What is about the client ends nothing: a wrong secret is the administrator's fault.
    """
    if isinstance(answer, GrantEndedError):
        return SignInEnded(str(answer))
    if isinstance(answer, OidcError):
        why = str(answer)
        if why == previous and isinstance(answer, RefusedRequestError):
            return SignInEnded(f"{why}, twice in a row")
        if why == previous and others_hold and isinstance(answer, FailedRequestError):
            return SignInEnded(f"{why}, twice in a row, and other sign-ins hold")
        return Unknown(why)
    if answer.subject != subject:
        return SignInEnded("the provider answers of somebody else (sub)")
    try:
        groups, _ = map_groups(answer.all, rules)
    except OidcError as error:
        return SignInAlive(None, f"{error}; memberships stay as they are")
    if groups is None:
        return SignInAlive(
            None, f"the claim {rules.groups_claim!r} is missing; memberships stay as they are"
        )
    return SignInAlive(groups)


def wait_s(refresh_s: float, failures: int, random: Callable[[], float]) -> float:
    """Return the seconds until the provider is asked again, after so many failures in a row. `random` is from
    0 to 1."""
    whole = refresh_s if failures == 0 else min(refresh_s, RETRY_S * 2.0 ** min(failures - 1, 20))
    return whole * (1 - SPREAD * random())
