"""Who speaks to the web, from where, and from which site: asked before anything else."""

import re
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import HTTPConnection

from stagedoor.listeners.accept import AcceptRules
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import AccessMethod, Origin
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.session.flow import Flow
from stagedoor.wire.forwarded import parse_last_forwarded
from stagedoor.wire.hostname import is_known, is_loopback, is_named
from stagedoor.wire.target import parse_login

_PORT = re.compile(r":[0-9]+\Z")
_Proof = TypeVar("_Proof")


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Who may come, from where pages may speak to us, and what a page begins with.

    `rules` say which sources are answered. `host_names` are the names that requests may be for, besides
    addresses, localhost, and `domain` with all below it. `origins` are the pages that may open a
    terminal, besides those that this gateway serves under the name that they were asked for by.
    `domain` is the name below which each app has its own, None for none; `path` is what every path
    begins with, empty or `/stagedoor`. A request's header, and a WebSocket's first frame, must be there
    within `header_timeout_s`, and `max_pending` connections at once may have said nothing. Each `ping_s`
    seconds a WebSocket is sent a PING (RFC 6455 §5.5.2). `tmux`: whether a page starts that in a new
    terminal.
    """

    rules: AcceptRules
    host_names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    domain: str | None = None
    path: str = ""
    header_timeout_s: float = 10.0
    max_pending: int = 4096
    ping_s: float = 20.0
    tmux: bool = True


def web(source: Source) -> Origin:
    """The origin of what comes over HTTP from `source`."""
    return Origin(AccessMethod.WEB, source)


class RequestGuard:
    """Asked of every connection, whatever it wants."""

    def __init__(self, flow: Flow, limits: WebLimits) -> None:
        self.flow = flow
        self.limits = limits
        self.rules = limits.rules
        self.draining = False

    def source_of(self, connection: HTTPConnection) -> Source:
        """The developer's address: the peer's, or what a trusted reverse proxy says it is.

        What `refused` refuses for it has the proxy's own, so that it can be written down.
        """
        peer = _peer(connection)
        return self._forwarded(connection, peer) or peer

    def _unread_forward(self, connection: HTTPConnection) -> Denial | None:
        """A trusted proxy names somebody in a way that cannot be read; they must not pass for the proxy."""
        peer = _peer(connection)
        if self._forwarded(connection, peer) is not None:
            return None
        return Denial.with_mend(
            Reason.BAD_REQUEST,
            f"the proxy at {peer.address} sent an X-Forwarded-For whose last entry is not an address",
            "web.forwarded_from trusts it; an administrator corrects that proxy's settings",
            "tell an administrator",
        )

    def _forwarded(self, connection: HTTPConnection, peer: Source) -> Source | None:
        shown = connection.headers.getlist("x-forwarded-for")
        if not shown or not self.rules.is_reverse_proxy(peer):
            return peer
        return parse_last_forwarded(shown)

    def barred(self, source: Source) -> Denial | None:
        """Why nobody from there is answered now."""
        if self.draining:
            return Denial(Reason.DRAINING, "the gateway is stopping; try again in a moment", 1)
        return self.rules.outsider(source)

    def outsider(self, peer: Source) -> Denial | None:
        """Why nothing of `peer` is read: it is in none of the networks, and is no proxy of ours."""
        return None if self.rules.is_reverse_proxy(peer) else self.rules.outsider(peer)

    def refused(self, connection: HTTPConnection) -> Denial | None:
        """Why this is not answered, whatever it asks for: where it comes from, and what name it is for."""
        return (
            self._unread_forward(connection)
            or self.rules.outsider(self.source_of(connection))
            or self._misnamed(connection)
        )

    def proved(self, connection: HTTPConnection, proof: _Proof | Denial) -> _Proof | Denial:
        """`proof`, once it is noted that this connection is no stranger's any more, unless it failed."""
        if not isinstance(proof, Denial):
            connection.scope["state"]["connection"].prove()
        return proof

    def _misnamed(self, connection: HTTPConnection) -> Denial | None:
        if connection.scope.get("method") == "CONNECT":  # its Host is that of the shell
            return Denial(
                Reason.BAD_REQUEST,
                "this is the WebShell's port; HTTP CONNECT has one of its own (tunnel.addresses)",
            )
        host = connection.headers.get("host", "")
        if is_known(host, self.limits.host_names, self.limits.domain):
            return None
        return Denial.with_mend(
            Reason.TARGET_NOT_ALLOWED,
            f"{host!r} is not a name of this gateway",
            "an administrator adds it to web.host_names",
            "use the address that you were given, or ask an administrator",
        )

    def secure(self, connection: HTTPConnection) -> bool:
        """Whether the browser speaks TLS: to us, or to a trusted reverse proxy that says so."""
        if connection.url.scheme in ("https", "wss"):
            return True
        shown = connection.headers.getlist("x-forwarded-proto")
        said = shown[-1].rpartition(",")[2].strip() if shown else ""
        return said in ("https", "wss") and self.rules.is_reverse_proxy(_peer(connection))

    def own_origin(self, connection: HTTPConnection) -> str:
        """The origin of our own pages, by the name that this connection came for (RFC 6454 §6.2)."""
        scheme = "https" if self.secure(connection) else "http"
        return f"{scheme}://{connection.headers.get('host', '')}"

    def address(self, connection: HTTPConnection) -> str:
        """Return the gateway's own address, by the name that this connection came for, with its path."""
        return self.own_origin(connection) + self.limits.path

    def unnamed(self, connection: HTTPConnection) -> Denial | None:
        """Refuse what is signed for an address that is not this gateway's, where its settings name it.

        Pages need no such rule: no other site can have an address for its own name. Another gateway can have
        it, and relay what its visitors sign for it. The addresses of this machine are for its own programs.
        """
        names, domain = self.limits.host_names, self.limits.domain
        host = connection.headers.get("host", "")
        if not (names or domain) or is_named(host, names, domain):
            return None
        if self.source_of(connection).address.is_loopback and is_loopback(host):
            return None
        name = min((name for name in names if not name.startswith("*")), default=domain)
        return Denial(
            Reason.TARGET_NOT_ALLOWED,
            f"this gateway is not called {host!r}, so nothing that is signed for that counts here; log in "
            + (f"at https://{name}{self.limits.path}" if name else "by its name"),
        )

    def foreign(self, connection: HTTPConnection) -> Denial | None:
        """A page of somebody else's must not open terminals with its visitor's rights (RFC 6455 §10.2).

        What is no browser sends no Origin.
        """
        origin = connection.headers.get("origin")
        if origin is None or origin in self.limits.origins:
            return None
        if origin == self.own_origin(connection):
            return None
        return Denial.with_mend(
            Reason.SOURCE_NOT_ALLOWED,
            "a page of another site may not open terminals here",
            "an administrator names it in web.origins",
            "open the gateway's own page",
        )

    def not_ours(self, connection: HTTPConnection) -> Denial | None:
        """The same where a cookie speaks for somebody: only our own page may, and it sends an Origin."""
        if connection.headers.get("origin") == self.own_origin(connection):
            return None
        return Denial(
            Reason.SOURCE_NOT_ALLOWED,
            "this was not sent by a page of this gateway, so it was not done; open the gateway's own "
            "page and try again (behind a reverse proxy: it has to pass on Host, and "
            "X-Forwarded-Proto from an address in web.forwarded_from)",
        )

    def app_of(self, connection: HTTPConnection) -> Target | None:
        """The app whose own name was asked for: `app01.shell.example.com`."""
        domain = self.limits.domain
        host = _PORT.sub("", connection.headers.get("host", "").lower())
        if domain is None or not host.endswith(f".{domain}"):
            return None
        return parse_login(host.removesuffix(f".{domain}"))


def _peer(connection: HTTPConnection) -> Source:
    assert connection.client is not None, "our sockets are TCP"
    return Source.of(connection.client.host, connection.client.port)
