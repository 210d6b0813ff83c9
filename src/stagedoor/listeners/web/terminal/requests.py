"""The grant for the app that a request to the API of terminals names."""

from stagedoor.listeners.web.guard import web
from stagedoor.listeners.web.post import Fields
from stagedoor.listeners.web.terminal.fields import read_target, read_terminal
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.source import Source
from stagedoor.session.flow import Flow


async def find_grant(
    flow: Flow, identity: Identity, body: Fields, source: Source
) -> Grant | Denial:
    """Return the user's grant for the app in `target`. A refusal is audited."""
    target = read_target(body)
    if isinstance(target, Denial):
        return flow.deny(target, web(source), identity)
    grant = await flow.authorise(identity, target)
    return flow.deny(grant, web(source), identity, target) if isinstance(grant, Denial) else grant


async def find_grant_at(
    flow: Flow, identity: Identity, body: Fields, source: Source
) -> tuple[Grant, str] | Denial:
    """Return the user's grant, and the name of the terminal in `terminal`."""
    grant = await find_grant(flow, identity, body, source)
    if isinstance(grant, Denial):
        return grant
    name = read_terminal(body)
    return name if isinstance(name, Denial) else (grant, name)
