"""The rules by which the listeners accept sources, and the limits of CONNECT, from the settings."""

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.tunnel import TunnelLimits
from stagedoor.model.source import Network
from stagedoor.settings.settings import Settings, parse_networks


def accept_rules(settings: Settings, forwarded_from: tuple[Network, ...] = ()) -> AcceptRules:
    """Return the rules of a listener; `forwarded_from` are the reverse proxies that it trusts."""
    listen = settings.listen
    return AcceptRules(
        parse_networks(listen.networks), parse_networks(listen.proxy_protocol_from), forwarded_from
    )


def read_tunnel_limits(settings: Settings) -> TunnelLimits:
    """Return the limits of the listener of CONNECT."""
    return TunnelLimits(
        rules=accept_rules(settings),
        header_timeout_s=settings.listen.header_timeout_s,
        max_pending=settings.listen.max_pending,
    )
