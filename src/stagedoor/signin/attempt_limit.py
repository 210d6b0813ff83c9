"""The limit on attempts that make the gateway ask an identity provider, and the refusals that users see."""

import math
from collections.abc import Callable

import structlog

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.source import Source, source_network
from stagedoor.oidc.errors import OidcError, SignInDeniedError, UnavailableError

RATE = Rate(burst=50, interval_s=3.0)
"""The attempts of one source network."""
_log = structlog.get_logger()


class AttemptLimit:
    """The attempts that each source has left. Belongs to one event loop.

    Without it an attacker could make the gateway send requests to the provider without end. An attempt that
    succeeds is given back. `what` names the attempts in the message, in the plural.
    """

    def __init__(self, what: str, now: Callable[[], float]) -> None:
        self._what = what
        self._now = now
        self._rates = SourceRates(RATE)

    def take(self, source: Source) -> Denial | None:
        """Take one of the source's attempts. Return a denial if it has none left, else None."""
        network, now = source_network(source.address), self._now()
        if self._rates.take(network, now) is not None:
            return None
        wait_s = math.ceil(self._rates.wait_s(network, now))
        return Denial(
            Reason.THROTTLED,
            f"too many {self._what} from your address did not succeed; try again in {wait_s} s",
            wait_s,
        )

    def give_back(self, source: Source) -> None:
        """Give the source back the attempt that it took."""
        self._rates.give_back(source_network(source.address))


def log_refusal(provider: str, error: OidcError) -> Denial:
    """Log why a sign-in is refused, and return the denial for the browser.

    The denial holds no details, so that an attacker who forges callbacks learns nothing from it.
    """
    _log.warning("sign-in refused", provider=provider, why=str(error))
    if isinstance(error, UnavailableError):
        return Denial(
            Reason.UPSTREAM_TIMEOUT,
            f"{provider} does not answer, so nobody can sign in by it now; try again, or sign in with a "
            "password or a token",
            retry_after_s=10,
        )
    if isinstance(error, SignInDeniedError):
        return Denial(Reason.CREDENTIAL_WRONG, f"{provider} did not let you sign in; try again")
    return Denial(
        Reason.CREDENTIAL_WRONG,
        f"the answer of {provider} was refused; the gateway's log says why (sign-in refused)",
    )
