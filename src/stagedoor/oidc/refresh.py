"""The outcome of asking a provider again about a lasting sign-in. Pure."""

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
"""The delay after the first failure; it doubles after each further one."""
SPREAD = 0.2
"""The largest fraction by which a request is made early, so that users who signed in together spread
out."""


@dataclass(frozen=True, slots=True)
class SignInAlive:
    """The sign-in continues.

    `groups` are the user's groups in Stagedoor, None if they are unknown and so stay as they are.
    `warning` is a line for the log.
    """

    groups: frozenset[str] | None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class SignInEnded:
    """The sign-in ends. `why` is a line for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider gave no usable answer, and the sign-in continues. `why` is a line for the log."""

    why: str


Outcome = SignInAlive | SignInEnded | Unknown


def judge(
    answer: Claims | OidcError,
    subject: str,
    rules: Rules,
    previous: str | None = None,
    others_hold: bool = False,
) -> Outcome:
    """Decide what a provider's answer means for the sign-in of the person `subject`.

    `answer` is the claims, or the error that the request raised. `previous` is the reason of the last
    outcome if that was `Unknown`. `others_hold` is True if the provider has since confirmed another
    sign-in.

    `invalid_grant` and another subject end the sign-in at once. Another refusal ends it if it comes
    twice in a row. So does a failure that the provider reports twice in a row while it answers for
    other users, because then it concerns this person. An error about the client ends nothing: a wrong
    secret is the administrator's mistake.
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
        return SignInEnded("the provider answered for another user (sub)")
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
    """Return the seconds until the next request, after `failures` failures in a row.

    `random` returns a number from 0 to 1.
    """
    whole = refresh_s if failures == 0 else min(refresh_s, RETRY_S * 2.0 ** min(failures - 1, 20))
    return whole * (1 - SPREAD * random())
