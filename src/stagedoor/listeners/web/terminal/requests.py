"""The grant for the app that a request to the API of terminals names."""

from dataclasses import dataclass

from stagedoor.listeners.web.guard import web
from stagedoor.listeners.web.terminal.fields import Body, read_target, read_terminal
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow


@dataclass(frozen=True, slots=True)
class TerminalRequests:
    """The common part of all requests for terminals."""

    flow: Flow

    def deny(
        self, denial: Denial, source: Source, identity: Identity, target: Target | None = None
    ) -> Denial:
        """Audit a refusal, and return it."""
        return self.flow.deny(denial, web(source), identity, target)

    async def find_grant(self, identity: Identity, body: Body, source: Source) -> Grant | Denial:
        """Return the user's grant for the app in `target`."""
        target = read_target(body)
        if isinstance(target, Denial):
            return self.deny(target, source, identity)
        grant = await self.flow.authorise(identity, target)
        return self.deny(grant, source, identity, target) if isinstance(grant, Denial) else grant

    async def find_grant_at(
        self, identity: Identity, body: Body, source: Source
    ) -> tuple[Grant, str] | Denial:
        """Return the user's grant, and the name of the terminal in `terminal`."""
        grant = await self.find_grant(identity, body, source)
        if isinstance(grant, Denial):
            return grant
        name = read_terminal(body)
        return name if isinstance(name, Denial) else (grant, name)
