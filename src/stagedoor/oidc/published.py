"""What an issuer publishes, kept: who it is and its keys, fetched again when they are old or unknown."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from joserfc.jwk import KeySet

from stagedoor.model.units import HOUR_S
from stagedoor.oidc.errors import UnavailableError, UnknownKeyError
from stagedoor.oidc.id_token import read_keys

FRESH_S = HOUR_S
"""For so long a discovery document and a key set are good without another look."""
LOOK_S = 30.0
"""A token with an unknown key makes us fetch the keys again, but once in so many seconds at most."""

Issuer = TypeVar("Issuer")
"""What is known of an issuer beside its keys."""
Verified = TypeVar("Verified")


@dataclass(frozen=True, slots=True)
class _Known(Generic[Issuer]):
    issuer: Issuer
    keys: KeySet
    at: float


class IssuerKeys(Generic[Issuer]):
    """Belongs to one event loop. `find` tells where the issuer says that its keys are, and `read` returns the
    key set from there; both raise OidcError. `now` is seconds since the epoch."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Issuer]],
        read: Callable[[Issuer], Awaitable[bytes]],
        now: Callable[[], float],
    ) -> None:
        self._find = find
        self._read = read
        self._now = now
        self._known: _Known[Issuer] | None = None
        self._looked_at = -LOOK_S

    async def issuer(self) -> Issuer:
        """Raises OidcError."""
        return (await self._fresh()).issuer

    async def verified(self, verify: Callable[[KeySet], Verified]) -> Verified:
        """What `verify` returns by the keys; where it knows none, by those that are published now.
        Raises OidcError."""
        known = await self._fresh()
        try:
            return verify(known.keys)
        except UnknownKeyError:
            if self._now() - self._looked_at < LOOK_S:
                raise
        return verify((await self._look(known.issuer)).keys)

    async def _fresh(self) -> _Known[Issuer]:
        known = self._known
        if known is not None and self._now() - known.at < FRESH_S:
            return known
        try:
            return await self._look(await self._find())
        except UnavailableError:
            # What was known is better than nothing: keys do not end by the clock.
            if known is None:
                raise
            return known

    async def _look(self, issuer: Issuer) -> _Known[Issuer]:
        self._looked_at = self._now()
        self._known = _Known(issuer, read_keys(await self._read(issuer)), self._now())
        return self._known
