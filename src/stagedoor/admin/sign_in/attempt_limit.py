"""How often a source may make the gateway ask an identity provider, and what a person hears of a refusal."""

import math
from collections.abc import Callable

import structlog

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.source import Source, source_network
from stagedoor.oidc.errors import OidcError, SignInDeniedError, UnavailableError

RATE = Rate(burst=50, interval_s=3.0)
"""Of one source network."""
_log = structlog.get_logger()


class AttemptLimit:
    """The tries that each source has left. Belongs to one event loop.

    `what` names them in the message. An attacker would have the gateway ask the provider without end; who
    succeeds gives the try back.
    """

    def __init__(self, what: str, now: Callable[[], float]) -> None:
        self._what = what
        self._now = now
        self._rates = SourceRates(RATE)

    def take(self, source: Source) -> Denial | None:
        """Take a try of the source. Return why it has none left, if so."""
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
        """Let the source have the try that it took."""
        self._rates.give_back(source_network(source.address))


def refused(provider: str, error: OidcError) -> Denial:
    """Log why a sign-in is refused, and return what the person may know: an attacker who tries callbacks
    learns nothing by it."""
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
