"""Libraries that speak SSH, by each access method: the table of other-clients.md."""

import asyncio
from base64 import b64encode
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from http.client import HTTPConnection

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


@pytest.mark.parametrize("method", METHODS)
def test_paramiko_runs_a_command(laptop: Laptop, method: str) -> None:
    with ExitStack() as stack:
        match method:
            case "connect":
                proxy = HTTPConnection("127.0.0.1", laptop.gateway.port(), timeout=BOUND_S)
                stack.callback(proxy.close)
                basic = b64encode(f"dev:{PASSWORD}".encode()).decode()
                proxy.set_tunnel("app01.ssh", 22, {"Proxy-Authorization": f"Basic {basic}"})
                proxy.connect()
                client = log_in(laptop, "dev", 22, proxy.sock)
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
