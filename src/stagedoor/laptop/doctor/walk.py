"""The checks of each hop, with sockets and ssh. Each generator ends at the first failure."""

from __future__ import annotations

import select
import ssl
import subprocess
import time
from contextlib import closing
from email.utils import parsedate_to_datetime

from stagedoor.laptop.doctor import judge
from stagedoor.laptop.tunnel.address import ProxyAddress, join_authority
from stagedoor.laptop.tunnel.connect import ask
from stagedoor.laptop.tunnel.enter import make_refusal_error
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.reach import open_tcp, reach
from stagedoor.laptop.tunnel.secret import find_secret
from stagedoor.laptop.tunnel.tls import TlsWire
from stagedoor.laptop.tunnel.wire import TcpWire, wait_for
from stagedoor.laptop.web import SUBPROTOCOL, WebConnection
from stagedoor.wire.finding import Level, Result, ok, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SSH_S = 60.0
BULK_BYTES = 512 * 1024
"""More than the buffers on the path, so that full-size packets have to pass."""
BULK_S = 30.0
IDLE_S = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)
GREETING_S = 15.0


def check_connect(options: Options) -> Iterator[Result]:
    """Check name, corporate proxy, gateway, TLS, credential, grant, shell and sshd by HTTP CONNECT."""
    try:
        secret = find_secret(options)
        start = time.monotonic()
        wire = reach(options)
        with closing(wire.sock):
            yield from _judge_connection(options, wire, time.monotonic() - start)
            if secret is None:
                yield judge.make_failure(
                    judge.CREDENTIAL, f"no credential for {options.user} was found"
                )
                return
            target = join_authority(options.host, options.port)
            wire.shown_target = target
            credential = f"{options.user}:{secret.value}"
            answer = ask(wire, target, credential, time.monotonic() + options.timeout_s)
            if answer.status == 429:
                what = f"{options.user} has to wait: {answer.reason}"
                yield judge.make_failure(judge.CREDENTIAL, what)
                return
            if not answer.is_success:
                raise make_refusal_error(options, answer, secret)
            yield judge.CREDENTIAL, ok(f"{options.user}'s credential comes from {secret.source}")
            yield judge.GRANT, ok(f"{target} is open to {options.user}")
            yield judge.SHELL, ok(f"{target} runs")
            yield judge.judge_greeting(options.host, _read_first_line(wire))
    except TunnelError as error:
        yield judge.judge_tunnel_failure(error)


def check_web(options: Options, path: str, app: str) -> Iterator[Result]:
    """Check the hops to the WebShell, then a WebSocket, and the shell's list of terminals."""
    try:
        secret = find_secret(options)
        start = time.monotonic()
        connection = WebConnection(options, path)
        with closing(connection):
            wire = connection.wire
            yield from _judge_connection(options, wire, time.monotonic() - start)
            value = None if secret is None else secret.value
            answer = connection.ask("ticket", {"target": app}, options.user, value)
            login = connection.find_login_hint(judge.parse_object(answer.body))
            yield from _judge_date(answer.fields)
            if secret is None:
                what = f"no credential for {options.user} was found"
                yield judge.make_failure(judge.CREDENTIAL, what, also=login)
                return
            if answer.status != 200:
                yield judge.judge_web_refusal(
                    app, answer.status, judge.parse_message(answer.body), login
                )
                return
            yield judge.CREDENTIAL, ok(f"{options.user}'s credential comes from {secret.source}")
            yield judge.GRANT, ok(f"{app} is open to {options.user}")
            try:
                connection.upgrade("terminal", SUBPROTOCOL)
            except TunnelError as error:
                what = f"WebSockets do not work: {error.line}"
                fix = (
                    "a proxy on the way drops WebSockets: try --via direct, or ask an administrator "
                    "to let the gateway's reverse proxy pass on `Upgrade`"
                )
                yield judge.make_failure(judge.PROXY, what, fix)
                return
            yield judge.GATEWAY, ok("WebSockets work")
        with closing(WebConnection(options, path)) as connection:
            answer = connection.ask("terminals", {"target": app}, options.user, secret.value)
            yield judge.check_terminals(app, answer.status, answer.body)
    except TunnelError as error:
        yield judge.judge_tunnel_failure(error)


def check_ssh_port(host: str, port: int) -> Iterator[Result]:
    """Check name and gateway, and that SSH answers there, for a jump or a direct login."""
    address = ProxyAddress("http", host, port, "", "the ssh configuration")
    try:
        start = time.monotonic()
        sock = open_tcp(address, f"the gateway {address}")
    except TunnelError as error:
        yield judge.judge_tunnel_failure(error)
        return
    with closing(sock):
        yield judge.NAME, ok(f"{host} is {sock.getpeername()[0]}")
        took_ms = (time.monotonic() - start) * 1000
        yield judge.GATEWAY, ok(f"{address} answers in {took_ms:.0f} ms")
        yield judge.judge_greeting(str(address), _read_first_line(TcpWire(sock, str(address))))


def _judge_connection(options: Options, wire: TcpWire, took_s: float) -> Iterator[Result]:
    first = options.via or options.gateway
    yield judge.NAME, ok(f"{first.host} is {wire.sock.getpeername()[0]}")
    if options.via is not None:
        yield (
            judge.PROXY,
            ok(f"{options.via} (from {options.via.source}) allows the connection"),
        )
    yield judge.GATEWAY, ok(f"{options.gateway} answers in {took_s * 1000:.0f} ms")
    if isinstance(wire, TlsWire):
        certificate = wire.tls.getpeercert() or {}
        ends_at = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        yield judge.TLS, judge.check_certificate(options.server_name, ends_at, time.time())


def _read_first_line(wire: TcpWire) -> bytes:
    received = b""
    deadline = time.monotonic() + GREETING_S
    try:
        while b"\n" not in received and len(received) < 255:
            data = wait_for(wire, lambda: wire.recv(255), select.POLLIN, deadline)
            if not data:
                break
            received += data
    except (OSError, TunnelError):
        pass  # judge what was received
    return received.partition(b"\n")[0].rstrip(b"\r")


def _judge_date(fields: Mapping[str, str]) -> Iterator[Result]:
    try:
        theirs = parsedate_to_datetime(fields["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    yield judge.CLOCK, judge.judge_clock(theirs, time.time(), "the gateway's")


class SshProgram:
    """The user's own ssh, with their configuration or with `config_file`."""

    def __init__(self, host: str, config_file: str | None = None) -> None:
        """Prepare for `host`. Raises ValueError if ssh would parse it as an option."""
        if host.startswith("-"):
            raise ValueError(f"{host!r} is not a host: ssh would parse it as an option")
        self.host = host
        self._head = ["ssh", *(("-F", config_file) if config_file else ())]

    def read_config(self, host: str | None = None) -> dict[str, str]:
        """Return the configuration that ssh would use for a host (`ssh -G`). Raises OSError."""
        done = self._run([*self._head, "-G", host or self.host], b"", SSH_S)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip())
        return judge.parse_ssh_config(done.stdout.decode(errors="replace"))

    def check_login(self) -> Iterator[Result]:
        """Check the host certificate and the key by a login, then the shell's clock."""
        before = time.time()
        done = self.run(["date", "+%s"], b"", SSH_S)
        result = judge.judge_ssh_end(
            self.host, done.returncode, done.stderr.decode(errors="replace")
        )
        if result[1].level is Level.OK:
            yield judge.HOST_KEY, ok("the host key is trusted")
        yield result
        text = done.stdout.strip()
        if done.returncode == 0 and text.isdigit():
            ours = (before + time.time()) / 2
            yield judge.CLOCK, judge.judge_clock(float(text), ours, "the shell's")

    def check_full_packets(self) -> Iterator[Result]:
        """Check that full-size packets pass in both directions: an MTU black hole drops them (RFC 2923)."""
        start = time.monotonic()
        try:
            done = self.run(["cat"], bytes(BULK_BYTES), BULK_S)
        except subprocess.TimeoutExpired:
            what = f"small packets pass, but {BULK_BYTES // 1024} KiB did not within {BULK_S:g} s"
            fix = "an MTU black hole: lower the MTU of the VPN or the interface (ip link set mtu 1400 dev …)"
            yield "large packets", judge.make_failure(judge.GATEWAY, what, fix)[1]
            return
        took_s = time.monotonic() - start
        if len(done.stdout) == BULK_BYTES:
            yield "large packets", ok(f"{BULK_BYTES // 1024} KiB there and back in {took_s:.1f} s")
        else:
            what = f"{len(done.stdout)} of {BULK_BYTES} bytes came back"
            yield (
                "large packets",
                warn(what, "the shell has no `cat`, or the path drops long transfers"),
            )

    def measure_idle_limit(self, limit_s: float) -> Iterator[Result]:
        """Measure the longest idle time that the path survives, up to `limit_s`.

        This takes about twice `limit_s`.
        """
        survived_s = 0.0
        for idle_s in (s for s in (*IDLE_S, limit_s) if s <= limit_s):
            if idle_s <= survived_s:
                continue
            command = [f"sleep {idle_s:g}; echo alive"]
            options = ["-o", "ServerAliveInterval=0", "-o", "TCPKeepAlive=no"]
            try:
                done = self.run(command, b"", idle_s + SSH_S, options)
                is_alive = done.stdout.strip() == b"alive"
            except subprocess.TimeoutExpired:
                is_alive = False
            if not is_alive:
                yield "idle timeout", judge.judge_idle(survived_s, idle_s)
                return
            survived_s = idle_s
        yield "idle timeout", judge.judge_idle(survived_s, None)

    def run(
        self, command: Sequence[str], stdin: bytes, timeout_s: float, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the shell by ssh. Raises OSError, and `subprocess.TimeoutExpired`."""
        fixed = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-T"]
        argv = [*self._head, *fixed, *options, self.host, *command]
        return self._run(argv, stdin, timeout_s)

    def _run(
        self, argv: Sequence[str], stdin: bytes, timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            argv, input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
