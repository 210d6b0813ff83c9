"""A check that a person authenticated at the provider a moment ago (Core §3.1.2.1, `max_age`). Pure.

The compared times are both the provider's (`iat` and `auth_time`), so the gateway's clock does not
matter.
"""

from stagedoor.oidc.id_token import Claims, get_number

MARGIN_S = 10.0
"""Providers write whole seconds, and need a moment between the authentication and the token."""
NOW = (("prompt", "login"), ("max_age", "0"))
"""Parameters that make a provider authenticate the person again. Some providers know only one of them."""


def proof_age_s(claims: Claims) -> float | None:
    """Return the seconds between the person's authentication and the ID token.

    Return None if the provider does not report them.
    """
    issued = get_number(claims.all, "iat")
    if issued is None or claims.auth_time is None:
        return None
    return issued - claims.auth_time


def is_fresh(claims: Claims, since_s: float) -> bool | None:
    """Return True if the person authenticated within the last `since_s` seconds, None if it is unknown."""
    age_s = proof_age_s(claims)
    return None if age_s is None else age_s <= since_s + MARGIN_S
