"""Connecting to the gateway: TCP, a corporate proxy if there is one, and TLS for https."""

from __future__ import annotations

import errno
import os
import select
import time

from stagedoor.laptop.tunnel.address import find_proxy_option
from stagedoor.laptop.tunnel.connect import ask
from stagedoor.laptop.tunnel.errors import UNREACHABLE, VIA, TunnelError
from stagedoor.laptop.tunnel.wire import CONNECT_TIMEOUT_S, TcpWire, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stagedoor.laptop.tunnel.address import ProxyAddress
    from stagedoor.laptop.tunnel.options import Options
    from stagedoor.laptop.tunnel.wire import Watch

STAGGER_S = 0.25  # RFC 8305 §5, Connection Attempt Delay
REPEAT_S = 1.0  # TCP itself repeats a lost SYN only after 1, 3 and 7 s


def reach(options: Options, watch: Watch | None = None) -> TcpWire:
    """Connect to the gateway, through a corporate proxy if there is one, and with TLS for https.

    Raises TunnelError, and the exceptions of `watch`.
    """
    gateway, via = options.gateway, options.via
    name = f"the gateway {gateway}"
    proxy = "" if via is None else f"the corporate proxy {via} (from {via.source})"
    sock = open_tcp(gateway, name, watch) if via is None else open_tcp(via, proxy, watch)
    try:
        if via is not None:
            connect_through_proxy(options, via, TcpWire(sock, proxy, watch))
        if gateway.scheme != "https":
            return TcpWire(sock, name, watch)
        from stagedoor.laptop.tunnel.tls import TlsWire

        return TlsWire(sock, name, options, watch)
    except BaseException:
        sock.close()
        raise


def connect_through_proxy(options: Options, via: ProxyAddress, wire: TcpWire) -> None:
    """Ask the corporate proxy to connect to the gateway. Raises TunnelError."""
    credential = find_proxy_credential(via, options.env)
    patience_s = CONNECT_TIMEOUT_S * (3 if wire.watch is None else 1)  # a reconnect waits less
    answer = ask(wire, str(options.gateway), credential, time.monotonic() + patience_s)
    if not answer.is_success:
        fix = f"{find_proxy_option(via.source)}direct goes without it"
        if answer.status == 407:
            fix = "its credential belongs in STAGEDOOR_VIA or in ~/.netrc"
        raise TunnelError(
            VIA,
            f"{wire.name} refused to connect to {options.gateway}: {answer.status} {answer.reason}; {fix}",
        )


def find_proxy_credential(via: ProxyAddress, env: dict[str, str]) -> str | None:
    """Return `name:password` for the proxy, from its URL or ~/.netrc, or None. Raises TunnelError."""
    if via.userinfo:
        from urllib.parse import unquote

        return unquote(via.userinfo)
    path = env.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    if not os.path.exists(path):
        return None
    import netrc

    try:
        entry = netrc.netrc(path).authenticators(via.host)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise TunnelError(VIA, f"cannot read {path} for the corporate proxy: {error}") from None
    return f"{entry[0]}:{entry[2]}" if entry else None


def open_tcp(address: ProxyAddress, name: str, watch: Watch | None = None) -> socket.socket:
    """Connect to the first address that answers (RFC 8305). Raises TunnelError (UNREACHABLE).

    While none answers, try all of them again each second, to use a network as soon as it returns.
    """
    results = resolve(address, name)
    queue = list(results)
    trying: dict[int, socket.socket] = {}
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    next_at = repeat_at = 0.0
    reason: str | None = "no answer within 10 s"
    try:
        while queue or trying:
            now = time.monotonic()
            if now >= deadline:
                break
            if not queue and now >= repeat_at:
                queue = list(results)
            if queue and (not trying or now >= next_at):
                next_at, repeat_at = now + STAGGER_S, now + REPEAT_S
                try:
                    sock = start_connect(queue.pop(0))
                except OSError as error:
                    reason = error.strerror
                else:
                    trying[sock.fileno()] = sock
                continue
            if watch is not None:
                watch(None)
            poller = select.poll()
            for fd in trying:
                poller.register(fd, select.POLLOUT)
            until = min(next_at if queue else repeat_at, deadline)
            for fd, _event in poller.poll(max(0.0, until - now) * 1000):
                code = trying[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return tune_socket(trying.pop(fd))
                reason = os.strerror(code)
                trying.pop(fd).close()
                next_at = 0.0
    finally:
        for sock in trying.values():
            sock.close()
    raise TunnelError(UNREACHABLE, f"cannot reach {name}: {reason}; check {address.source}")


def resolve(address: ProxyAddress, name: str) -> list[Any]:
    """Return the results of `getaddrinfo` in the order to try them. Raises TunnelError (UNREACHABLE)."""
    try:
        # As bytes: for a string, Python would load its IDNA tables.
        return interleave_families(
            socket.getaddrinfo(address.host.encode("ascii"), address.port, type=socket.SOCK_STREAM)
        )
    except OSError as error:
        line = f"cannot reach {name}: its name does not resolve ({error.strerror or error})"
        raise TunnelError(UNREACHABLE, f"{line}; check {address.source}") from None


def start_connect(result: Any) -> socket.socket:
    """Return a socket that is connecting to a result of `getaddrinfo`. Raises OSError."""
    family, kind, protocol, _, address = result
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


def interleave_families(results: list[Any]) -> list[Any]:
    """Return the results of `getaddrinfo` with the address families interleaved (RFC 8305 §4)."""
    leading = [i for i in results if i[0] == results[0][0]]
    others = [i for i in results if i[0] != results[0][0]]
    queue = [i for pair in zip(leading, others) for i in pair]  # noqa: B905 - Python 3.8 runs this
    return queue + leading[len(others) :] + others[len(leading) :]


def tune_socket(sock: socket.socket) -> socket.socket:
    """Return the socket, tuned to send keystrokes at once and to detect a dead peer after three minutes.

    The connection survives a shorter sleep of the laptop.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPALIVE", 60),  # macOS's name for it
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 8),
        ("TCP_USER_TIMEOUT", 180_000),  # Linux, milliseconds (tcp(7))
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock
