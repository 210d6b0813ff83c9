"""What the WebShell needs from outside, besides the flow."""

from collections.abc import Sequence
from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.model.webpass import PassKind, ProviderAnswer, ProviderRequest, StepUpResult, WebPass


class PassIssuer(Protocol):
    """Gives out passes, and says whose they are. A store that fails is a Denial."""

    async def issue(
        self,
        kind: PassKind,
        identity: Identity,
        target: str | None = None,
        *,
        source: str | None = None,
        label: str | None = None,
        answer: ProviderAnswer | None = None,
    ) -> str | Denial:
        """Return a new pass's secret. `target` is the only shell that it is good for. `source` is the address
        that a session is opened from, `label` the device, `answer` what the identity provider said."""
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

    async def sign_out(self, secret: str, reason: str | None = None) -> Denial | None:
        """End a session, and whatever it opened anywhere, if it is one at all. `reason` is the line for the
        person; None where they signed out themselves."""
        ...

    def why_ended(self, identity: Identity) -> Denial | None:
        """Return why the identity's web session is over, or None while it lasts. Reads memory only."""
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
    ) -> tuple[Identity, str, ProviderAnswer] | ProviderRequest | StepUpResult | Denial:
        """Who came back with that query and what `begin` gave, the path that they wanted, and what is to be
        kept with their session. `ProviderRequest`: they have to go there once more. `StepUpResult`: it was
        a step-up."""
        ...

    def can_prove_presence(self, identity: Identity) -> bool:
        """Return whether the user's provider can prove that the user is present."""
        ...

    async def begin_step_up(
        self, identity: Identity, wanted: str, source: Source, proves: bytes | None = None
    ) -> tuple[str, str] | Denial:
        """As `begin`, for somebody who is signed in, to prove there that they are there. `proves`: the id
        of the sign-in of theirs that it is for; None: the browser's own."""
        ...

    async def log_out(self, token: str, source: Source) -> Denial | None:
        """End what a provider's logout token names (Back-Channel Logout 1.0). `source` sent it."""
        ...
