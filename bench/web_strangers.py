"""The cost of strangers for the WebShell's listener: memory of a worker, and the time of a login meanwhile.

    python bench/web_strangers.py [--count 5000] [--sources 250] [KIND…]

KIND is one or more of silent, hello, slow, slow-tls, ping, body (all, if none is named). For each, it
opens `--count` connections from `--sources` loopback addresses, holds them, and prints the worker's
memory before and with them, how many are still open, the worker's CPU time, and the time of a login.
It runs in its own network namespace with small send buffers, as towards a slow line, and so needs root.
"""

import argparse
import hashlib
import http.client
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fixtures.gateway import Gateway
from tests.net.peers import write_certificate

INSIDE = "STAGEDOOR_BENCH_INSIDE"
BOUND_S = 10.0
SETTLE_S = 3.0
ESTABLISHED = 1
"""TCP_ESTABLISHED, in the first byte of tcp_info."""
PINGS = (b"\x89\xfd" + bytes(4) + bytes(125)) * 64
UPGRADE = (
    b"GET /terminal HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: stagedoor.terminal.v2\r\n\r\n"
)
SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]
tls_addresses = ["127.0.0.1:0"]

[tunnel]
addresses = ["127.0.0.1:0"]
certificate_file = "{cert}"
key_file = "{key}"

[[shells.local]]
app = "app01"
"""


class Crowd:
    """Connections of strangers, all in `sockets`. Each method in `KINDS` opens one more of its kind."""

    def __init__(self, gateway: Gateway, sources: int) -> None:
        self.plain, self.tls = gateway.port("web"), gateway.port("web-tls")
        self.sources = sources
        self.sockets: list[socket.socket] = []
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.file = self._script()

    def _script(self) -> bytes:
        page = Path(__file__).parent.parent / "src/stagedoor/listeners/web/static/terminal.js"
        digest = hashlib.sha256(page.read_bytes()).hexdigest()[:16]
        return f"GET /static/{digest}/terminal.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def connect(self, port: int) -> socket.socket:
        """Open a connection from the next source; return its socket."""
        number = len(self.sockets) % self.sources
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(BOUND_S)
        self.sockets.append(sock)
        sock.bind((f"127.0.{1 + number // 250}.{1 + number % 250}", 0))
        sock.connect(("127.0.0.1", port))
        return sock

    def silent(self) -> None:
        """Connect to the TLS port and send nothing."""
        self.connect(self.tls)

    def hello(self) -> None:
        """Send an unfinished TLS ClientHello."""
        self.connect(self.tls).sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400))

    def slow(self) -> None:
        """Request a large file and do not read it."""
        self.connect(self.plain).sendall(self.file)

    def slow_tls(self) -> None:
        """Request a large file over TLS and do not read it."""
        raw = self.connect(self.tls)
        self.sockets.pop()
        sock = self.context.wrap_socket(raw)
        self.sockets.append(sock)
        sock.sendall(self.file)

    def ping(self) -> None:
        """Send many PINGs on a WebSocket and do not read the answers."""
        sock = self.connect(self.plain)
        sock.sendall(UPGRADE)
        answer = sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        sock.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(64):
                sock.sendall(PINGS)

    def body(self) -> None:
        """Send an unfinished body of a form."""
        head = (
            b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
            % (
                self.plain,
                self.plain,
            )
        )
        sock = self.connect(self.plain)
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.send(head + b"Content-Length: 32000\r\n\r\n" + b"x" * 31000)

    def still_open(self) -> int:
        """Return how many connections the kernel has as open: unread data would hide a reset from recv(2)."""
        states = [
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] for sock in self.sockets
        ]
        return states.count(ESTABLISHED)

    def close(self) -> None:
        """Close all connections."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()


KINDS: dict[str, Callable[[Crowd], None]] = {
    "silent": Crowd.silent,
    "hello": Crowd.hello,
    "slow": Crowd.slow,
    "slow-tls": Crowd.slow_tls,
    "ping": Crowd.ping,
    "body": Crowd.body,
}


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def login_s(port: int, token: str) -> float:
    """Load the sign-in page and get a ticket; return the seconds."""
    began = time.monotonic()
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request("GET", "/sign-in")
    assert line.getresponse().read()
    line.request(
        "POST", "/api/ticket", b'{"target": "app01"}', {"Authorization": f"Bearer {token}"}
    )
    answer = line.getresponse()
    assert answer.status == 200, answer.read()
    line.close()
    return time.monotonic() - began


def measure(kind: str, count: int, sources: int) -> str:
    """Measure one kind at a new gateway, which no earlier kind has touched; return a row."""
    with tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as name:
        folder = Path(name)
        cert, key = write_certificate(folder)
        settings = SETTINGS.format(cert=cert, key=key)
        with Gateway(folder, settings) as gateway:
            gateway.start()
            gateway.add_user("dev", "app01")
            token = gateway.token()
            (worker,) = gateway.worker_pids()[:1]
            crowd = Crowd(gateway, sources)
            login_s(crowd.plain, token)
            before = rss_mib(worker)
            refused, slowest, peak = 0, 0.0, before
            began, cpu_before = time.monotonic(), cpu_s(worker)
            for number in range(count):
                try:
                    KINDS[kind](crowd)
                except (OSError, AssertionError):
                    refused += 1
                if number % (count // 5) == count // 5 - 1:
                    slowest = max(slowest, login_s(crowd.plain, token))
                    peak = max(peak, rss_mib(worker))
            took = time.monotonic() - began
            time.sleep(SETTLE_S)
            slowest = max(slowest, login_s(crowd.plain, token))
            peak = max(peak, rss_mib(worker))
            held = crowd.still_open()
            cpu = cpu_s(worker) - cpu_before
            crowd.close()
            return (
                f"{kind:9} {count:6} {before:8.1f} {peak:8.1f} {peak - before:+8.1f} MiB"
                f"  open {held:5}  refused {refused:5}  in {took:5.1f} s"
                f"  worker {cpu:4.1f} s  login {slowest:6.3f} s"
            )


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="what to measure; default: all")
    parser.add_argument("--count", type=int, default=5000, help="connections of each kind")
    parser.add_argument("--sources", type=int, default=250, help="addresses that they come from")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        if kind not in KINDS:
            parser.error(f"there is no kind {kind!r}; there are {', '.join(KINDS)}")
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        setup = "ip link set lo up; sysctl -qw net.ipv4.tcp_wmem='4096 16384 65536'; exec \"$@\""
        os.execvp(
            "unshare",
            ["unshare", "-n", "sh", "-c", setup, "sh", sys.executable, *sys.argv],
        )
    print("kind       count   before     with     cost")
    for kind in arguments.kinds or KINDS:
        print(measure(kind, arguments.count, arguments.sources), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
