"""Libraries that speak SSH, by each access method: the table of other-clients.md."""

import asyncio
import socket
from base64 import b64encode
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import asyncssh
import paramiko
import pytest

from tests.fixtures.gateway import PASSWORD
from tests.fixtures.laptop import Laptop
from tests.ssh.test_clients import METHODS, laptop, tunnel
from tests.waiting import BOUND_S

__all__ = ["laptop"]


def log_in(laptop: Laptop, user: str, port: int, sock: object = None) -> paramiko.SSHClient:
    """Log in with paramiko at 127.0.0.1, or through `sock`."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        "127.0.0.1",
        port,
        user,
        pkey=paramiko.Ed25519Key(filename=str(laptop.key)),
        allow_agent=False,
        look_for_keys=False,
        sock=sock,
        timeout=BOUND_S,
    )
    return client


def connected(laptop: Laptop) -> socket.socket:
    """Return a connection to app01 by CONNECT, from which nothing after the answer was read."""
    line = socket.create_connection(("127.0.0.1", laptop.gateway.port()), timeout=BOUND_S)
    basic = b64encode(f"dev:{PASSWORD}".encode()).decode()
    head = ("CONNECT app01.ssh:22 HTTP/1.1", "Host: app01.ssh:22")
    line.sendall("\r\n".join([*head, f"Proxy-Authorization: Basic {basic}", "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = line.recv(1)
        assert byte, answer
        answer += byte
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return line


@pytest.mark.parametrize("method", METHODS)
def test_paramiko_runs_a_command(laptop: Laptop, method: str) -> None:
    with ExitStack() as stack:
        match method:
            case "connect":
                client = log_in(laptop, "dev", 22, stack.enter_context(connected(laptop)))
            case "jump":
                gateway = stack.enter_context(log_in(laptop, "dev", laptop.port)).get_transport()
                assert gateway is not None
                channel = gateway.open_channel("direct-tcpip", ("app01.ssh", 22), ("", 0))
                client = log_in(laptop, "dev", 22, channel)
            case _:
                client = log_in(laptop, "app01", laptop.port)
        stack.enter_context(client)
        stdin, stdout, _ = client.exec_command("cat; echo end", timeout=BOUND_S)
        stdin.write(b"in ")
        stdin.channel.shutdown_write()
        assert stdout.read() == b"in end\n"


@pytest.mark.parametrize("method", METHODS)
async def test_asyncssh_runs_a_command(laptop: Laptop, method: str) -> None:
    connect = partial(
        asyncssh.connect, config=None, known_hosts=None, client_keys=[str(laptop.key)]
    )
    async with AsyncExitStack() as stack, asyncio.timeout(BOUND_S):
        match method:
            case "connect":
                way = connect("app01.ssh", username="dev", proxy_command=tunnel(laptop))
            case "jump":
                gateway = connect("127.0.0.1", laptop.port, username="dev")
                through = await stack.enter_async_context(gateway)
                way = connect("app01.ssh", username="dev", tunnel=through)
            case _:
                way = connect("127.0.0.1", laptop.port, username="app01")
        client = await stack.enter_async_context(way)
        done = await client.run("cat; echo end", input="in ")
        assert done.stdout == "in end\n"
