"""What the flow needs from outside. A stage that is not here cannot be run by a listener."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from stagedoor.model.credential import Credential
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.session import AccessMethod, Counts, End, Ended, Opened, Ready
from stagedoor.model.source import Address, Source
from stagedoor.model.target import Target
from stagedoor.relay.ports import Stream


class Authenticator(Protocol):
    """The authn stage."""

    async def authenticate(
        self, credential: Credential | None, source: Source
    ) -> Identity | Denial: ...

    def present_now(self, identity: Identity) -> Identity:
        """The same person, whose credential has just proved that they are there."""
        ...

    def still_holds(self, credential: Credential, identity: Identity) -> Denial | None:
        """Why a session has to end now; None if it may go on."""
        ...


class Authoriser(Protocol):
    """The authz stage: answers from memory, at once."""

    def authorise(self, identity: Identity, target: Target) -> Grant | Denial: ...

    def by_share(self, identity: Identity, share_id: str) -> Grant | Denial: ...

    def to_watch(
        self, identity: Identity, target: Target, terminal: str, host: str
    ) -> Grant | Denial: ...

    def step_up_needed(self, identity: Identity, target: Target) -> Denial | None:
        """Why a grant does not suffice until somebody proves that they are there; None: it does."""
        ...

    def again(self, grant: Grant) -> Grant | Denial:
        """Whether what a grant was given for still holds."""
        ...


class StepUps(Protocol):
    """How people who are not at a page of ours prove that they are there."""

    async def begin(self, identity: Identity, target: Target, source: Source) -> str | None:
        """What the person has to do, in one line that must not be written down; None: they cannot."""
        ...

    def waiting(self, identity: Identity) -> AbstractContextManager[bool]:
        """Around a wait for the proof; False where too many wait already."""
        ...


class PolicyReader(Protocol):
    """The policy in memory, which may be older than the one in the store."""

    @property
    def version(self) -> int: ...

    @property
    def unread(self) -> bool:
        """Whether the store has been out of reach for so long that the policy in memory lets nobody in."""
        ...

    async def newer_than(self, version: int) -> bool:
        """Look at the store, and say whether the policy in memory is now newer than `version`."""
        ...


class Ledger(Protocol):
    """The audit stage. `close` and `deny` may be called from any thread and never block."""

    async def open(self, ready: Ready, way: AccessMethod, source: Source) -> Opened | Denial: ...

    def close(self, opened: Opened, ended: Ended) -> None: ...

    def deny(
        self,
        denial: Denial,
        way: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None: ...


class Resolver(Protocol):
    """Names to addresses. Raises OSError when the name has none."""

    async def resolve(self, host: str) -> tuple[Address, ...]: ...


class Dialer(Protocol):
    """Opens TCP to the first of the addresses that answers (RFC 8305), within `timeout_s`.

    Raises TimeoutError or another OSError when none does.
    """

    async def dial(self, addresses: tuple[Address, ...], port: int, timeout_s: float) -> Stream: ...


class Link(Protocol):
    """A running relay, as seen from outside. All may be called from any thread."""

    def counts(self) -> Counts: ...

    def granted(self, grant: Grant) -> None:
        """The permissions have changed: the session goes on by `grant`."""
        ...

    def close(self, end: End, detail: str = "") -> None: ...


class SessionOwner(Protocol):
    """What a session that is open needs of the flow. From any thread; never blocks."""

    def attach(self, opened: Opened, link: Link) -> None:
        """Ask `link` to close when the session has to end; at once if it has to now."""
        ...

    def leave(self, opened: Opened, ended: Ended) -> None:
        """End the session in the audit. Called exactly once."""
        ...


OnEnd = Callable[[Ended], None]
"""Called exactly once when a relay is over, in whatever thread it ran; must not block."""
