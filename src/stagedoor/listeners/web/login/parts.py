"""What logins need from outside. A store that fails is a Denial."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stagedoor.admin.login_service import LoginResult, StartedLogin
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.pending_login import LoginState, PendingLogin
from stagedoor.model.source import Source


class Logins(Protocol):
    """The machine's side."""

    @property
    def possible(self) -> bool:
        """Whether this gateway certifies keys."""
        ...

    async def begin(
        self,
        origin: str,
        challenge: bytes,
        signature: str,
        label: str,
        port: int | None,
        source: Source,
    ) -> StartedLogin | Denial:
        """A login that waits for approval, for the key that signed `login_text`."""
        ...

    async def poll(
        self, id_: str, verifier: str, code: str | None, source: Source
    ) -> LoginResult | LoginState | Denial:
        """What became of it. APPROVED is not said of one that lacks its code: it waits still."""
        ...

    async def renew(
        self, origin: str, at: int, nonce: str, signature: str, source: Source
    ) -> LoginResult | Denial:
        """A new certificate for the key that signed `renewal_text`."""
        ...

    async def end(self, secret: str, source: Source) -> Denial | None:
        """End the login of that secret; nothing where there is none."""
        ...


class Approval(Protocol):
    """The person's side."""

    async def look(self, identity: Identity, id_: str) -> PendingLogin | Denial:
        """One that lasts, for the page of somebody who may approve it."""
        ...

    async def approve(
        self, identity: Identity, id_: str, letters: str | None
    ) -> tuple[PendingLogin, str | None] | Denial:
        """Approved by the letters; without them, with the code for the port of the same machine."""
        ...

    async def deny(self, identity: Identity, id_: str) -> Denial | None:
        """The person did not want it."""
        ...


@dataclass(frozen=True, slots=True)
class LoginParts:
    """Both sides, the well-known document for a request's host name, the key revocation list, and the client
    as one file."""

    logins: Logins
    approval: Approval
    describe: Callable[[str], Mapping[str, object] | Denial]
    krl: Callable[[], Awaitable[bytes | Denial]]
    client: bytes = field(repr=False)
