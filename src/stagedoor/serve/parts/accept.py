"""The rules by which the listeners accept sources, from the settings."""

from stagedoor.listeners.accept import AcceptRules
from stagedoor.model.source import Network
from stagedoor.settings.settings import Settings, parse_networks


def accept_rules(settings: Settings, forwarded_from: tuple[Network, ...] = ()) -> AcceptRules:
    """Return the rules of a listener; `forwarded_from` are the reverse proxies that it trusts."""
    listen = settings.listen
    return AcceptRules(
        parse_networks(listen.networks), parse_networks(listen.proxy_protocol_from), forwarded_from
    )
