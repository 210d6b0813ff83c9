"""What the WebShell needs from outside, besides the flow."""

from collections.abc import Sequence
from typing import Protocol

from stagedoor.admin.account import Past
from stagedoor.admin.credentials import Held, NewToken
from stagedoor.admin.recording_service import Take
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import KeyRecord
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.model.webpass import PassKind, ProviderAnswer, WebPass


class Passes(Protocol):
    """Gives out passes, and says whose they are. A store that fails is a Denial."""

    async def issue(
        self,
        kind: PassKind,
        identity: Identity,
        target: str | None = None,
        *,
        source: str | None = None,
        answer: ProviderAnswer | None = None,
    ) -> str | Denial:
        """A new pass's secret; `target` is the only shell that it is good for. `source` is the address that
        a session is opened from, `answer` what the identity provider said."""
        ...

    async def show(self, kind: PassKind, secret: str) -> Identity | Denial:
        """Whose pass it is, if it still holds; it may be shown again."""
        ...

    async def use_up(self, kind: PassKind, secret: str) -> tuple[Identity, str | None] | Denial:
        """Whose pass it was, and for which shell alone; nobody can show it again."""
        ...

    async def session(self, secret: str, *, used: bool) -> WebPass | Denial:
        """The pass of a session that lasts; with `used`, its end is moved as far as the settings allow.

        Whether its identity holds is for `show` to say.
        """
        ...

    async def sign_out(self, secret: str) -> Denial | None:
        """End a session, and whatever it opened anywhere, if it is one at all."""
        ...

    def over(self, identity: Identity) -> Denial | None:
        """Why the session that he came by is over; None while it lasts. From memory, at once."""
        ...


class SignIns(Protocol):
    """Single sign-on. A provider or a store that fails is a Denial."""

    @property
    def providers(self) -> Sequence[str]:
        """The names of the identity providers; none where there is no single sign-on."""
        ...

    async def begin(self, provider: str, wanted: str, source: Source) -> tuple[str, str] | Denial:
        """Where to send the browser, and what it has to keep for `finish`; `wanted` is the path to go to."""
        ...

    async def finish(
        self, kept: str, query: Sequence[tuple[str, str]], source: Source
    ) -> tuple[Identity, str, ProviderAnswer] | Denial:
        """Who came back with that query and what `begin` gave, the path that they wanted, and what is to be
        kept with their session."""
        ...

    async def log_out(self, token: str) -> Denial | None:
        """End what a provider's logout token names (Back-Channel Logout 1.0)."""
        ...


class Account(Protocol):
    """What a person sees of their own on the home page. A store that fails is a Denial."""

    async def keys(self, identity: Identity) -> Sequence[KeyRecord] | Denial:
        """The keys by which the shells know him."""
        ...

    async def sessions(self, identity: Identity) -> Sequence[Past] | Denial:
        """His last sessions, the newest first."""
        ...

    def ssh_line(self, identity: Identity, target: Target) -> str:
        """The command that enters `target` by ssh."""
        ...

    def ssh_setup(self, identity: Identity, host: str) -> str | None:
        """The command that has to be run once before; None where ssh needs nothing. `host` is the name by
        which the person reaches this gateway."""
        ...


class Credentials(Protocol):
    """What a person signs in by, and may change themselves. A store that fails is a Denial."""

    async def held(self, identity: Identity) -> Held | Denial:
        """All of it."""
        ...

    async def set_password(self, proved: Identity, password: str) -> Identity | Denial:
        """A new one for the person who was `proved` by the present one; who they are by the new one."""
        ...

    async def accept_invitation(self, secret: str, password: str) -> Identity | Denial:
        """Set the password of whoever was invited by that secret, which is used up; who they are by it."""
        ...

    async def add_token(
        self, identity: Identity, apps: Sequence[str], days: float
    ) -> NewToken | Denial:
        """A new one, for these apps alone; for none: for all that they may enter."""
        ...

    async def revoke_token(self, identity: Identity, token_id: str) -> Denial | None:
        """Remove one of theirs."""
        ...

    async def add_key(self, identity: Identity, line: str) -> Denial | None:
        """Register one more; `line` is that of a .pub file."""
        ...

    async def remove_key(self, identity: Identity, fingerprint: str) -> Denial | None:
        """Remove one of theirs."""
        ...

    async def end_sign_ins(self, identity: Identity, wanted: str) -> int | Denial:
        """End one of theirs, or all but the one that asks (`others`); how many lasted."""
        ...


class Recordings(Protocol):
    """The recordings of this gateway, for those who may play them. Default deny."""

    def viewer(self, identity: Identity) -> bool:
        """Whether there are any that he might play."""
        ...

    async def listed(
        self, identity: Identity, before: str, wanted: str
    ) -> tuple[Sequence[Take], str] | Denial:
        """Those that he may play, the newest first, older than the id `before` ("" for all).

        `wanted` is a part of a user's or an app's name. Some at a time: with the id to go on before,
        "" at the end.
        """
        ...

    async def found(self, identity: Identity, id_: str) -> Take | Denial | None:
        """One of them; None for what is not there, or is there and he may not play it."""
        ...

    def may_play(self, identity: Identity, take: Take) -> bool:
        """Whether he still may. From memory, at once."""
        ...

    async def viewed(self, identity: Identity, take: Take, source: Source) -> Denial | None:
        """Write down that he looks at it; when this returns None, it is durable."""
        ...
