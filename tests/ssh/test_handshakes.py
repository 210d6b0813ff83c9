"""The limit of handshakes for one source: they are costly, and nothing is known yet of who asks."""

import socket
from contextlib import ExitStack
from pathlib import Path

from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import open_laptop
from tests.waiting import BOUND_S


def greeted(sock: socket.socket) -> bytes:
    sock.settimeout(BOUND_S)
    try:
        return sock.recv(64)
    except ConnectionResetError:
        return b""


def is_closed(sock: socket.socket) -> bool:
    """Return whether the gateway has closed it. It was greeted, and has sent nothing since."""
    sock.setblocking(False)
    try:
        return sock.recv(64) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_flood_of_handshakes_from_one_source_waits_and_others_do_not(tmp_path: Path) -> None:
    """One a second: five at once, fifteen that wait for their turn, and the rest are cut off."""
    settings = SSH_TABLE + "handshakes_per_s = 1\n[workers]\ncount = 1\n" + local("app01")
    with open_laptop(tmp_path / "laptop", settings) as laptop, ExitStack() as open_:
        flood = [
            open_.enter_context(socket.create_connection(("127.0.0.1", laptop.port)))
            for _ in range(40)
        ]
        cut = [greeted(sock) for sock in flood[20:]]
        # One or two more, if a second went by meanwhile.
        assert cut.count(b"") >= 17, cut
        other = open_.enter_context(
            socket.create_connection(("127.0.0.1", laptop.port), source_address=("127.0.0.2", 0))
        )
        assert greeted(other).startswith(b"SSH-2.0-Stagedoor")
        assert greeted(flood[0]).startswith(b"SSH-2.0-Stagedoor")
        assert greeted(flood[6]).startswith(b"SSH-2.0-Stagedoor"), "it has waited for its turn"


def test_who_waits_is_not_dropped_for_a_flood_from_one_ipv6_64(tmp_path: Path) -> None:
    """Each of whose connections has an address of its own."""
    settings = (
        SSH_TABLE
        + "handshakes_per_s = 1000\n[workers]\ncount = 1\n"
        + '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\nnetworks = ["2001:db8::/32"]\n'
        + local("app01")
    )
    with open_laptop(tmp_path / "laptop", settings) as laptop, ExitStack() as open_:

        def come(source: str) -> socket.socket:
            sock = open_.enter_context(socket.create_connection(("127.0.0.1", laptop.port)))
            sock.sendall(f"PROXY TCP6 {source} 2001:db8::22 4711 22\r\n".encode())
            assert greeted(sock).startswith(b"SSH-2.0-Stagedoor")
            return sock

        honest = come("2001:db8:1::1")
        flood = [come(f"2001:db8:2::{number:x}") for number in range(300)]
        laptop.gateway.wait_for(lambda line: line.get("reason") == "overloaded")
        honest.sendall(b"SSH-2.0-honest\r\n")
        assert greeted(honest), "its keys are exchanged"
        assert sum(map(is_closed, flood)) > 0


def test_an_ipv6_48_has_the_handshakes_of_four_sources(tmp_path: Path) -> None:
    """Each connection is of a source of its own, of which it has 65,536."""
    settings = (
        SSH_TABLE
        + "handshakes_per_s = 1\n[workers]\ncount = 1\n"
        + '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\nnetworks = ["2001:db8::/32"]\n'
        + local("app01")
    )
    with open_laptop(tmp_path / "laptop", settings) as laptop, ExitStack() as open_:

        def come(site: int, number: int) -> socket.socket:
            sock = open_.enter_context(socket.create_connection(("127.0.0.1", laptop.port)))
            line = f"PROXY TCP6 2001:db8:{site}:{number:x}::1 2001:db8::22 4711 22\r\n"
            sock.sendall(line.encode())
            return sock

        # 20 at once, 60 that wait for their turn, and four a second while these come.
        flood = [come(1, number) for number in range(400)]
        assert greeted(flood[0]).startswith(b"SSH-2.0-Stagedoor")
        assert greeted(come(2, 0)).startswith(b"SSH-2.0-Stagedoor"), "others do not wait"
        laptop.gateway.wait_for(lambda line: "ssh.handshakes_per_s" in str(line.get("detail", "")))
        assert greeted(flood[-1]) == b""
