"""What an issuer publishes, kept: who it is and its keys, fetched again when they are old or unknown."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from joserfc.jwk import KeySet

from stagedoor.model.units import HOUR_S
from stagedoor.oidc.errors import OidcError, UnavailableError, UnknownKeyError
from stagedoor.oidc.id_token import read_keys

FRESH_S = HOUR_S
"""For so long a discovery document and a key set are good without another look."""
LOOK_S = 30.0
"""A token with an unknown key makes us fetch the keys again, but once in so many seconds at most."""
RETRY_S = 5.0
"""For so long after a fetch that failed the issuer is not asked again: it fails for all at once."""

Issuer = TypeVar("Issuer")
"""What is known of an issuer beside its keys."""
Verified = TypeVar("Verified")


@dataclass(frozen=True, slots=True)
class _Known(Generic[Issuer]):
    issuer: Issuer
    keys: KeySet
    at: float


class IssuerKeys(Generic[Issuer]):
    """The keys of one issuer. All who need them at the same time share one fetch, whatever becomes of them.

    Belongs to one event loop. `find` returns where the issuer says that its keys are, and `read` the key set
    from there; both raise OidcError. `now` is seconds since the epoch.
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
        self._fetched_at = -LOOK_S
        self._failure: OidcError | None = None
        """Of the last fetch."""

    async def issuer(self) -> Issuer:
        """Return what is known of the issuer. Raises OidcError."""
        return (await self._fresh()).issuer

    async def verified(self, verify: Callable[[KeySet], Verified]) -> Verified:
        """Return what `verify` returns by the keys; where it knows none, by those that are published now.
        Raises OidcError."""
        known = await self._fresh()
        try:
            return verify(known.keys)
        except UnknownKeyError:
            if self._fetching is None and self._now() - self._fetched_at < LOOK_S:
                raise
        return verify((await self._fetch()).keys)

    async def _fresh(self) -> _Known[Issuer]:
        known = self._known
        if known is not None and self._now() - known.at < FRESH_S:
            return known
        try:
            if self._failure is not None and self._now() - self._fetched_at < RETRY_S:
                raise type(self._failure)(*self._failure.args)
            return await self._fetch()
        except UnavailableError:
            # What was known is better than nothing: keys do not end by the clock.
            if known is None:
                raise
            return known

    async def _fetch(self) -> _Known[Issuer]:
        """Wait for the fetch that is under way, or begin one. It goes on if the caller is cancelled."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_now())
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)

    async def _fetch_now(self) -> _Known[Issuer]:
        issuer = await self._find()
        return _Known(issuer, read_keys(await self._read(issuer)), self._now())

    def _fetched(self, task: "asyncio.Task[_Known[Issuer]]") -> None:
        self._fetching = None
        self._fetched_at = self._now()
        if task.cancelled():
            return
        error = task.exception()
        self._failure = error if isinstance(error, OidcError) else None
        if error is None:
            self._known = task.result()
