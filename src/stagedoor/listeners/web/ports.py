"""The services that the WebShell needs besides the flow."""

from collections.abc import Sequence
from typing import Protocol

from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.model.webpass import PassKind, ProviderAnswer, ProviderRequest, StepUpResult, WebPass


class PassIssuer(Protocol):
    """A service that issues and checks passes. A failure of the store is a Denial."""

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
        """Issue a pass and return its secret.

        `target` is the only shell that it is good for. `source` is the address that a session is opened
        from, `label` the device, and `answer` the identity provider's answer.
        """
        ...

    async def show(self, kind: PassKind, secret: str) -> Identity | Denial:
        """Return the identity that a pass stands for, if it is still valid. It may be shown again."""
        ...

    async def use_up(self, kind: PassKind, secret: str) -> tuple[Identity, str | None] | Denial:
        """Use a pass up. Return its identity and the only shell that it is good for, None for any."""
        ...

    async def session(self, secret: str, *, used: bool) -> WebPass | Denial:
        """Return the pass of a session; with `used`, move its end as far as the settings allow.

        This does not check its identity, which `show` does.
        """
        ...

    async def sign_out(self, secret: str, reason: str | None = None) -> Denial | None:
        """End a session, if it exists, and everything that it opened on any gateway.

        `reason` is the line that the user is shown, or None if the user signed out.
        """
        ...

    def why_ended(self, identity: Identity) -> Denial | None:
        """Return why the identity's web session is over, or None while it lasts. Reads memory only."""
        ...


class SignIns(Protocol):
    """Single sign-on. A provider or a store that fails is a Denial."""

    @property
    def providers(self) -> Sequence[str]:
        """The names of the identity providers; empty without single sign-on."""
        ...

    async def begin(self, provider: str, wanted: str, source: Source) -> tuple[str, str] | Denial:
        """Begin a sign-in.

        Return the URL to send the browser to, and the text that the browser keeps for `finish`. `wanted`
        is the address to open after the sign-in.
        """
        ...

    async def finish(
        self, kept: str, query: Sequence[tuple[str, str]], source: Source
    ) -> tuple[Identity, str, ProviderAnswer] | ProviderRequest | StepUpResult | Denial:
        """Finish a sign-in with the provider's query and the text that `begin` returned as `kept`.

        Return the identity, the address to open, and the provider's answer to store with the session. A
        `ProviderRequest` sends the browser to the provider again; a `StepUpResult` ends a step-up.
        """
        ...

    def can_prove_presence(self, identity: Identity) -> bool:
        """Return whether the user's provider can prove that the user is present."""
        ...

    async def begin_step_up(
        self, identity: Identity, wanted: str, source: Source, proves: bytes | None = None
    ) -> tuple[str, str] | Denial:
        """Begin a proof of presence at the provider for a signed-in user, as `begin`.

        `proves` is the id of the user's sign-in that it is for; None: the browser's own.
        """
        ...

    async def log_out(self, token: str, source: Source) -> Denial | None:
        """End the sign-ins that a logout token from `source` names (Back-Channel Logout 1.0)."""
        ...
