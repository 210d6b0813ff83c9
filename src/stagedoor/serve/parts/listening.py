"""A worker's listening sockets, each with the listener that answers on it."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.tunnel import TunnelListener, WrapTls
from stagedoor.model.source import Network, Source
from stagedoor.net.listen import Acceptor, adopt
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import ServerTls, TlsStream, make_server_context
from stagedoor.settings.settings import Settings, parse_networks

if TYPE_CHECKING:
    from stagedoor.listeners.web.listener import WebListener

_WEB = ("web", "web-tls")


class ListeningSockets:
    """The sockets that a worker accepts connections from.

    `sockets` pairs a kind (`tunnel`, `tunnel-tls`, `ssh`, `web`, `web-tls`) with an inherited descriptor.
    Call `open` once the listeners are ready, and `stop_accepting` to accept no more connections.
    """

    def __init__(self, sockets: Iterable[tuple[str, int]], settings: Settings) -> None:
        self._sockets = [(kind, adopt(fd)) for kind, fd in sockets]
        self.tls = _load_tls(settings)
        self._wrap_tls = _make_tls_wrapper(self.tls)
        self._acceptors: list[Acceptor] = []

    @property
    def ssh_addresses(self) -> tuple[str, ...]:
        """Return the addresses on which SSH is answered."""
        return tuple(str(sock.getsockname()[0]) for kind, sock in self._sockets if kind == "ssh")

    @property
    def has_web(self) -> bool:
        """Return whether any socket serves the WebShell."""
        return any(kind in _WEB for kind, _ in self._sockets)

    def open(
        self,
        tunnel: TunnelListener,
        ssh: SshListener | None = None,
        web: "WebListener | None" = None,
    ) -> None:
        """Start accepting, on the running event loop."""
        if web is not None:
            web.start()
        for kind, sock in self._sockets:
            answer: Callable[[TcpStream, Source], None]
            if kind in _WEB:
                assert web is not None, "a socket for the web has a listener"
                answer = partial(web.serve_accepted, is_tls=kind == "web-tls")
            elif kind == "ssh":
                assert ssh is not None, "a socket for SSH has a listener"
                answer = ssh.serve_accepted
            else:
                wrap_tls = self._wrap_tls if kind == "tunnel-tls" else None
                answer = partial(tunnel.serve_accepted, wrap_tls=wrap_tls)
            self._acceptors.append(Acceptor(sock, answer, partial(_log_pause, kind)))

    def stop_accepting(self) -> None:
        """Stop accepting. Accepted connections continue."""
        for acceptor in self._acceptors:
            acceptor.stop_accepting()


def _log_pause(kind: str, why: str) -> None:
    structlog.get_logger().error(
        "accepting pauses; raise the limit of open files (LimitNOFILE=)", kind=kind, reason=why
    )


def _load_tls(settings: Settings) -> ServerTls | None:
    """Return the TLS context of the settings, or None if they name no certificate. Raises SettingsError."""
    tunnel = settings.tunnel
    if tunnel.certificate_file is None or tunnel.key_file is None:
        return None
    return make_server_context(tunnel.certificate_file, tunnel.key_file)


def _make_tls_wrapper(context: ServerTls | None) -> WrapTls | None:
    if context is None:
        return None

    def wrap_tls(stream: TcpStream, received: bytes) -> TlsStream:
        return TlsStream(stream, context, received)

    return wrap_tls


def make_accept_rules(settings: Settings, forwarded_from: tuple[Network, ...] = ()) -> AcceptRules:
    """Return the rules of a listener; `forwarded_from` are the reverse proxies that it trusts."""
    listen = settings.listen
    return AcceptRules(
        parse_networks(listen.networks), parse_networks(listen.proxy_protocol_from), forwarded_from
    )
