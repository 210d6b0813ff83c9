"""Whether somebody has proved themselves at the provider a moment ago (Core §3.1.2.1, `max_age`). Pure.

The two times that are compared are the provider's own (`iat` and `auth_time`), so no clock of ours counts.
"""

from stagedoor.oidc.id_token import Claims, number_of

MARGIN_S = 10.0
"""A provider writes whole seconds, and takes a moment from the proof to the token."""
NOW = (("prompt", "login"), ("max_age", "0"))
"""What has a provider ask the person again. Some know only one of the two."""


def proof_age_s(claims: Claims) -> float | None:
    """How long before the ID token was issued the person had proved themselves; None where the provider does
    not say."""
    issued = number_of(claims.all, "iat")
    if issued is None or claims.auth_time is None:
        return None
    return issued - claims.auth_time


def proved_since(claims: Claims, since_s: float) -> bool | None:
    """Whether the person has proved themselves in the last `since_s` seconds; None: nobody knows."""
    age_s = proof_age_s(claims)
    return None if age_s is None else age_s <= since_s + MARGIN_S
