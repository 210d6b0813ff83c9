"""The metadata and keys that an issuer publishes, fetched again when they are old or a key is unknown."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from joserfc.jwk import KeySet

from stagedoor.model.units import HOUR_S
from stagedoor.oidc.errors import OidcError, UnavailableError, UnknownKeyError
from stagedoor.oidc.id_token import read_keys

FRESH_S = HOUR_S
"""The time for which a discovery document and a key set are used without fetching them again."""
REFETCH_S = 30.0
"""The shortest time between fetches of the keys for tokens with unknown keys."""
RETRY_S = 5.0
"""For this time after a failed fetch the issuer is not contacted again: the failure counts for all
callers."""

Issuer = TypeVar("Issuer")
"""The type of an issuer's metadata."""
Verified = TypeVar("Verified")


@dataclass(frozen=True, slots=True)
class _Known(Generic[Issuer]):
    issuer: Issuer
    keys: KeySet
    at: float


class IssuerKeys(Generic[Issuer]):
    """The keys of one issuer. Concurrent callers share one fetch, which continues if they are cancelled.

    An instance belongs to one event loop. `find` returns the issuer's metadata, which has the place of
    its keys, and `read` the key set from there; both raise OidcError. `now` returns seconds since the
    epoch.
    """

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
        self._fetching: asyncio.Task[_Known[Issuer]] | None = None
        self._fetched_at = -REFETCH_S
        self._failure: OidcError | None = None
        """The failure of the last fetch."""

    async def get_issuer(self) -> Issuer:
        """Return the issuer's metadata. Raises OidcError."""
        return (await self._load()).issuer

    async def verify(self, verify: Callable[[KeySet], Verified]) -> Verified:
        """Return the result of `verify` with the kept keys, or with newly fetched ones if a key is unknown.

        Raises OidcError.
        """
        known = await self._load()
        try:
            return verify(known.keys)
        except UnknownKeyError:
            if self._fetching is None and self._now() - self._fetched_at < REFETCH_S:
                raise
        return verify((await self._fetch()).keys)

    async def _load(self) -> _Known[Issuer]:
        known = self._known
        if known is not None and self._now() - known.at < FRESH_S:
            return known
        try:
            if self._failure is not None and self._now() - self._fetched_at < RETRY_S:
                raise type(self._failure)(*self._failure.args)
            return await self._fetch()
        except UnavailableError:
            # Old keys are better than none: keys do not expire with time.
            if known is None:
                raise
            return known

    async def _fetch(self) -> _Known[Issuer]:
        """Wait for the current fetch, or start one. It continues if the caller is cancelled."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now())
            self._fetching.add_done_callback(self._end_fetch)
        return await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> _Known[Issuer]:
        issuer = await self._find()
        return _Known(issuer, read_keys(await self._read(issuer)), self._now())

    def _end_fetch(self, task: "asyncio.Task[_Known[Issuer]]") -> None:
        self._fetching = None
        self._fetched_at = self._now()
        if task.cancelled():
            return
        error = task.exception()
        self._failure = error if isinstance(error, OidcError) else None
        if error is None:
            self._known = task.result()
