"""A reverse proxy that is believed and names no client: no client is let in as the proxy itself."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from tests.fixtures.gateway import Gateway, open_gateway
from tests.web.conftest import SETTINGS


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The test is the proxy, at 127.0.0.1; people in 127.0.0.0/8 may come."""
    settings = SETTINGS.replace("[web]", '[web]\nforwarded_from = ["127.0.0.1/32"]')
    with open_gateway(tmp_path_factory.mktemp("forwarded"), settings, "app01") as one:
        yield one


def ask(gateway: Gateway, method: str, path: str, shown: str, **more: str) -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", gateway.port("web"), timeout=30)
    line.request(method, path, None, {"X-Forwarded-For": shown, **more})
    answer = line.getresponse()
    text = answer.read().decode()
    line.close()
    return answer.status, text


@pytest.mark.parametrize("shown", ["203.0.113.9", "203.0.113.9:4711", "[2001:db8::9]:443"])
def test_who_is_named_with_a_port_is_who_is_judged(gateway: Gateway, shown: str) -> None:
    status, text = ask(gateway, "GET", "/", shown)
    assert (status, "not in an allowed network" in text) == (403, True), text
    assert ("203.0.113.9" if "203" in shown else "2001:db8::9") in text


def test_an_address_of_ours_with_a_port_is_let_in(gateway: Gateway) -> None:
    assert ask(gateway, "GET", "/", "127.0.0.9:4711")[0] == 303


def test_the_proxy_closes_a_connection_between_two_requests_and_never_the_gateway(
    gateway: Gateway,
) -> None:
    """A proxy that keeps it, as Traefik for 90 s, may send a request just as the gateway closes it: a 502.

    What the gateway does with one of any other client takes 5 s to see.
    """
    by_proxy, by_guest = (
        http.client.HTTPConnection(
            "127.0.0.1", gateway.port("web"), timeout=30, source_address=(address, 0)
        )
        for address in ("127.0.0.1", "127.0.0.2")
    )
    for line in (by_proxy, by_guest):
        line.request("GET", "/sign-in")
        line.getresponse().read()
    assert by_guest.sock.recv(1) == b""
    by_proxy.auto_open = False
    by_proxy.request("GET", "/sign-in")
    assert by_proxy.getresponse().status == 200
    by_proxy.close()
    by_guest.close()


PATHS = [("GET", "/"), ("GET", "/sign-in"), ("POST", "/api/ticket"), ("GET", "/nothing/here")]


@pytest.mark.parametrize("shown", ["unknown", "", "127.0.0.9, unknown", "127.0.0.9:70000"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_who_names_nobody_is_refused_everywhere(
    gateway: Gateway, method: str, path: str, shown: str
) -> None:
    at = len(gateway.lines)
    status, text = ask(gateway, method, path, shown)
    assert status == 400
    assert "X-Forwarded-For" in text
    assert "127.0.0.1" in text, "it says which proxy"
    denial = gateway.wait_for_denial(after=at)
    assert denial["reason"] == "bad_request"


def test_a_tunnel_s_client_at_this_port_is_told_so(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port("web")), timeout=30) as sock:
        head = "CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\nX-Forwarded-For: 127.0.0.9\r\n\r\n"
        sock.sendall(head.encode())
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 400
        assert "this is the WebShell's port" in answer.read().decode()


def test_a_terminal_s_websocket_too(gateway: Gateway) -> None:
    status, _ = ask(
        gateway, "GET", "/terminal", "unknown", Connection="Upgrade", Upgrade="websocket",
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
    )  # fmt: skip
    assert status == 403
