"""The harm that an anonymous client can do to the web listener: networks, names, strictness, memory."""

import hashlib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from stagedoor.listeners.limits import ClientLimits
from stagedoor.listeners.web.pages.assets import FOLDER
from tests.fixtures.gateway import Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, ticket
from tests.fixtures.worker import open_limited
from tests.net.peers import write_certificate
from tests.waiting import BOUND_S, wait_until
from tests.web.conftest import SETTINGS
from tests.web.mover import trusting

NAME = "shell.example.com"
TLS = """
[web]
addresses = ["127.0.0.1:0"]
tls_addresses = ["127.0.0.1:0"]
tmux = false

[tunnel]
addresses = ["127.0.0.1:0"]
certificate_file = "{cert}"
key_file = "{key}"

[[shells.local]]
app = "app01"
"""
PAGES = [
    "/",
    "/sign-in",
    "/link",
    "/static/x/terminal.js",
    "/manifest.webmanifest",
    "/nothing",
    "/shared",
    "/account",
    "/client",
    "/client/stagedoor",
    "/login/x",
    "/revoked.krl",
    "/.well-known/stagedoor",
]
MANY = 300
MIB = 1024 * 1024
PINGS = (b"\x89\xfd" + bytes(4) + bytes(125)) * 64


def tls_settings(folder: Path) -> str:
    cert, key = write_certificate(folder, NAME)
    return TLS.format(cert=cert, key=key)


def exchange(port: int, request: bytes) -> bytes:
    """The whole answer to these bytes, however the line ends."""
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as line:
        line.sendall(request)
        got = b""
        with suppress(ConnectionResetError):
            while data := line.recv(65536):
                got += data
        return got


def statuses(answer: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)


# Networks.


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for a network that we are not in, and whose reverse proxy we are not either."""
    folder = tmp_path_factory.mktemp("elsewhere")
    more = '\n[listen]\nnetworks = ["10.0.0.0/8"]\n'
    with open_gateway(folder, tls_settings(folder) + more) as gateway:
        yield gateway


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_gets_nothing_at_all(elsewhere: Gateway, path: str) -> None:
    at = len(elsewhere.lines)
    answer = PlainBrowser(elsewhere.port("web")).get(path)
    assert answer.status == 403
    assert "not in an allowed network" in answer.text
    assert elsewhere.wait_for_denial(after=at)["reason"] == "source_not_allowed"


def test_a_stranger_gets_no_handshake_of_tls(elsewhere: Gateway) -> None:
    context = trusting()
    at = len(elsewhere.lines)
    with (
        socket.create_connection(("127.0.0.1", elsewhere.port("web-tls")), BOUND_S) as raw,
        # OpenSSL names an end that comes without a reset in other words.
        pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError)),
    ):
        context.wrap_socket(raw)
    assert elsewhere.wait_for_denial(after=at)["reason"] == "source_not_allowed"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for another network, and we are its reverse proxy. Its names are known."""
    web = f'[web]\nforwarded_from = ["127.0.0.1/32"]\nhost_names = ["{NAME}"]'
    listen = '\n[listen]\nnetworks = ["10.0.0.0/8"]\n'
    with open_gateway(
        tmp_path_factory.mktemp("proxied"), SETTINGS.replace("[web]", web) + listen
    ) as gateway:
        yield gateway


@pytest.mark.parametrize("path", PAGES)
def test_what_a_proxy_says_of_the_source_counts_for_everything(proxied: Gateway, path: str) -> None:
    port = proxied.port("web")
    stranger = PlainBrowser(port, extra={"X-Forwarded-For": "192.0.2.7"})
    assert stranger.get(path).status == 403
    assert PlainBrowser(port, extra={"X-Forwarded-For": "10.1.2.3"}).get(path).status != 403


def test_a_proxy_header_names_the_source(tmp_path: Path) -> None:
    listen = '\n[listen]\nnetworks = ["10.0.0.0/8"]\nproxy_protocol_from = ["127.0.0.1/32"]\n'
    with open_gateway(tmp_path, SETTINGS + listen) as gateway:
        port = gateway.port("web")
        get = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        known = exchange(port, b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 80\r\n" + get)
        assert statuses(known) == [b"200"]
        stranger = exchange(port, b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n" + get)
        assert statuses(stranger) == [b"403"]
        assert gateway.wait_for_denial(after=0)["reason"] == "source_not_allowed"
        at = len(gateway.lines)
        assert exchange(port, get) == b""
        assert gateway.wait_for_denial(after=at)["reason"] == "bad_request"


# Names.


def test_only_known_names_are_answered(proxied: Gateway) -> None:
    port = proxied.port("web")
    inside = {"X-Forwarded-For": "10.1.2.3"}
    for host in (NAME, f"{NAME}:8443", f"127.0.0.1:{port}", "localhost"):
        assert PlainBrowser(port, host, extra=inside).get("/sign-in").status == 200
    at = len(proxied.lines)
    for host in ("evil.example", f"{NAME}.evil.example", "x"):
        for path in PAGES:
            answer = PlainBrowser(port, host, extra=inside).get(path)
            assert answer.status == 421
            assert "is not a name of this gateway" in answer.text
    assert proxied.wait_for_denial(after=at)["reason"] == "target_not_allowed"


def test_a_redirect_says_a_path_and_no_scheme(proxied: Gateway) -> None:
    person = PlainBrowser(
        proxied.port("web"),
        NAME,
        extra={"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https"},
    )
    answer = person.get("/sign-in/")
    assert (answer.status, answer.headers["location"]) == (307, "/sign-in")


def test_over_tls_a_name_is_for_tls_alone(proxied: Gateway) -> None:
    port, name = proxied.port("web"), "strict-transport-security"
    inside = {"X-Forwarded-For": "10.1.2.3"}
    over_tls = {**inside, "X-Forwarded-Proto": "https"}
    for path in ("/sign-in", "/nothing", "/static/x/terminal.js"):
        assert (
            PlainBrowser(port, NAME, extra=over_tls).get(path).headers[name] == "max-age=31536000"
        )
    assert name not in PlainBrowser(port, NAME, extra=inside).get("/sign-in").headers
    assert name not in PlainBrowser(port, extra=over_tls).get("/sign-in").headers


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("secure")
    with open_gateway(folder, tls_settings(folder), "app01") as gateway:
        yield gateway


def over_tls(gateway: Gateway) -> ssl.SSLSocket:
    context = trusting()
    raw = socket.create_connection(("127.0.0.1", gateway.port("web-tls")), BOUND_S)
    return context.wrap_socket(raw)


def test_the_names_in_the_certificate_are_known(secure: Gateway) -> None:
    for host, status in ((NAME, b"200"), ("evil.example", b"421")):
        with over_tls(secure) as line:
            line.sendall(
                b"GET /sign-in HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode()
            )
            answer = b""
            while data := line.recv(65536):
                answer += data
        assert statuses(answer) == [status]
        assert (b"strict-transport-security" in answer) == (host == NAME)


def test_plain_http_on_the_port_of_tls_is_told_so(secure: Gateway) -> None:
    answer = exchange(secure.port("web-tls"), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert statuses(answer) == [b"400"]
    assert b"https://" in answer


def test_a_name_that_is_none_is_refused_in_the_settings(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, SETTINGS.replace("[web]", '[web]\nhost_names = ["https://x"]'))
    done = gateway.command("user", "list", check=False)
    assert done.returncode != 0
    assert "web.host_names" in done.stderr


# Strictness.


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(
            b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and coding",
        ),
        pytest.param(
            b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n folded\r\n\r\n", id="folded"
        ),
        pytest.param(b"GET /sign-in HTTP/1.1\nHost: localhost\n\n", id="bare LF"),
        pytest.param(b"GET /sign-in HTTP/1.1\r\nHost: localhost\nX-A: 1\r\n\r\n", id="one bare LF"),
        pytest.param(
            b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\nX-A: 1\r\n\r\n",
            id="trailers",
        ),
        pytest.param(
            b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Content-Length: 5\r\n\r\nabcde",
            id="two lengths",
        ),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(secure: Gateway, request_: bytes) -> None:
    at = len(secure.lines)
    follows = b"GET /link HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(exchange(secure.port("web"), request_ + follows)) == [b"400"]
    assert secure.wait_for_denial(after=at)["reason"] == "bad_request"
    assert not [line for line in secure.lines[at:] if "exception" in line]


def test_requests_that_follow_each_other_at_once_are_looked_at_one_by_one(secure: Gateway) -> None:
    good = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n"
    bad = b"GET /link HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n folded\r\n\r\n"
    last = good.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert statuses(exchange(secure.port("web"), good + last)) == [b"200", b"200"]
    assert statuses(exchange(secure.port("web"), good + bad + good)) == [b"200", b"400"]


def test_a_header_that_is_too_long_is_told_so(secure: Gateway) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000
    assert statuses(exchange(secure.port("web"), request)) == [b"431"]


def test_a_body_that_nobody_asked_for_does_not_keep_the_line(tmp_path: Path) -> None:
    """It drips in for longer than a header may take, to a path that is none."""
    with (
        open_limited(tmp_path, SETTINGS, ClientLimits(header_timeout_s=1)) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port("web")), BOUND_S) as line,
    ):
        line.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n")
        line.settimeout(0.1)

        def over() -> bool:
            try:
                line.send(b"x")
                return line.recv(65536) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(over, what="the end of the line")


def test_a_form_that_breaks_off_is_no_fault_of_ours(secure: Gateway) -> None:
    port = secure.port("web")
    after = len(secure.lines)
    head = (
        f"POST /sign-in HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as line:
        line.sendall(head.encode() + b"Content-Length: 9999\r\n\r\nuser=")
    # What is denied after it stands in the log behind it.
    assert statuses(exchange(port, b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")) == [b"421"]
    secure.wait_for_denial(after=after)
    assert not [record for record in secure.lines[after:] if record.get("level") == "error"]


@pytest.mark.parametrize("text", [b"{}", b"\xff\xfe"])
def test_text_in_a_frame_s_place_is_refused_and_no_fault_of_ours(
    secure: Gateway, text: bytes
) -> None:
    """Each that was no UTF-8 left a traceback in the log."""
    at = len(secure.lines)
    with web_socket(secure.port("web")) as line:
        line.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
        got = b""
        while b"frames are binary" not in got:
            more = line.recv(4096)
            assert more, got
            got += more
    assert not [record for record in secure.lines[at:] if record.get("level") == "error"]


# Memory.


def web_socket(port: int) -> socket.socket:
    """One that has not said HELLO."""
    line = socket.create_connection(("127.0.0.1", port), BOUND_S)
    line.sendall(
        b"GET /terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: stagedoor.terminal.v2\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += line.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return line


def rss(gateway: Gateway) -> int:
    (worker,) = gateway.worker_pids()
    text = Path(f"/proc/{worker}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def crowd(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    """So many connections, each from an address of its own."""
    codes = []
    for number in range(count):
        line = stack.enter_context(socket.socket())
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.settimeout(BOUND_S)
        line.bind((f"127.0.{2 + number // 250}.{1 + number % 250}", 0))
        line.connect(("127.0.0.1", port))
        codes.append(line)
    return codes


def test_connections_that_say_nothing_or_half_a_hello_cost_little(secure: Gateway) -> None:
    before = rss(secure)
    with ExitStack() as stack:
        lines = crowd(stack, secure.port("web-tls"), 2 * MANY)
        for line in lines[:MANY]:
            line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
        given = ticket(secure.port("web"))  # the listener has taken all of them by now
        assert rss(secure) - before < 32 * MIB
        client = WebTerminal(secure.port("web")).hello(given, "printf he''re", terminal="quiet")
        client.shows(b"here")
        client.close()


def test_pings_before_a_hello_cost_little(secure: Gateway) -> None:
    port = secure.port("web")
    before = rss(secure)
    with ExitStack() as stack:
        lines = crowd(stack, port, 4)
        for line in lines:
            line.sendall(
                b"GET /terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Protocol: stagedoor.terminal.v2\r\n\r\n"
            )
            assert line.recv(12) == b"HTTP/1.1 101"
            line.settimeout(0.5)
        for line in lines:
            with suppress(OSError):  # it is not read from any more
                for _ in range(12 * MIB // len(PINGS)):
                    line.sendall(PINGS)
        given = ticket(port)
        assert rss(secure) - before < 16 * MIB
        client = WebTerminal(port).hello(given, "printf he''re", terminal="pings")
        client.shows(b"here")
        client.close()


def test_slow_readers_of_a_file_cost_little(secure: Gateway) -> None:
    script = FOLDER / "terminal.js"
    digest = hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    get = f"GET /static/{digest}/terminal.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
    before = rss(secure)
    with ExitStack() as stack:
        for line in crowd(stack, secure.port("web"), MANY):
            line.sendall(get.encode())
        given = ticket(secure.port("web"))
        assert rss(secure) - before < 32 * MIB
        client = WebTerminal(secure.port("web")).hello(given, "printf he''re", terminal="slow")
        client.shows(b"here")
        client.close()
