"""The SSH listener alone: what it does with new connections that wait, and as it drains and closes."""

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.limits import LIMITS
from stagedoor.listeners.ssh import listener as listening
from stagedoor.listeners.ssh.listener import SshListener
from stagedoor.listeners.ssh.options import HostKey, SshListenerSettings
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import StagedoorError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.rate import Rate
from stagedoor.model.session import CONNECT_AGAIN
from stagedoor.model.source import Source
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from tests.waiting import BOUND_S

LOOPBACK = (ip_network("127.0.0.0/8"),)


def new_host_key() -> HostKey:
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = key.generate_host_certificate(key, "gateway")
    return HostKey(key.export_private_key(), certificate.export_certificate().decode())


class Front:
    """A listener without a flow, and its clients."""

    def __init__(self, rules: AcceptRules | None = None, header_timeout_s: float = 10.0) -> None:
        self.denied: list[Denial] = []
        self.host_keys: list[HostKey] = [new_host_key()]
        flow: Any = SimpleNamespace(record_denial=lambda denial, _: self.denied.append(denial))
        page: Any = SimpleNamespace(sign_ins=None)
        settings = SshListenerSettings(
            rules or AcceptRules(LOOPBACK),
            handshakes=Rate(1, 1000.0, 5000.0),
            allows_passwords=False,
            idle_timeout_s=None,
            client_limits=replace(LIMITS, header_timeout_s=header_timeout_s),
        )
        direct: Any = None
        self.listener = SshListener(flow, settings, self._take_host_key, direct, page)

    def _take_host_key(self) -> HostKey:
        if not self.host_keys:
            raise StagedoorError("the CA cannot be read")
        return self.host_keys.pop()

    def connect(self) -> socket.socket:
        """Return the client's end of a new connection."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, peer = server.accept()
        for sock in (client, accepted):
            sock.setblocking(False)
        self.listener.serve_accepted(TcpStream(accepted), Source.of(*peer))
        return client


async def read(client: socket.socket) -> bytes:
    async with asyncio.timeout(BOUND_S):
        return await asyncio.get_running_loop().sock_recv(client, 4096)


async def read_all(client: socket.socket) -> bytes:
    received = b""
    while more := await read(client):
        received += more
    return received


async def test_a_socket_that_asyncio_does_not_take_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hand_over(stream: TcpStream, *_: object) -> None:
        stream.detach().close()
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(aio, "hand_over", hand_over)
    front = Front()
    with front.connect() as client:
        assert await read_all(client) == b""
    async with asyncio.timeout(BOUND_S):
        await front.listener.close()
    assert front.listener.connection_count == 0


async def test_a_connection_that_waits_for_its_handshake_does_not_hold_up_the_close() -> None:
    front = Front()
    with front.connect() as first, front.connect():
        assert (await read(first)).startswith(b"SSH-2.0-")
        async with asyncio.timeout(BOUND_S):
            await front.listener.close()
    assert front.listener.connection_count == 0


async def test_connections_that_are_not_answered_at_the_drain_are_asked_to_connect_again() -> None:
    front = Front()
    with front.connect() as first, front.connect() as waiting:
        await read(first)
        with front.connect() as late:
            assert front.listener.unanswered_count == 2, "the drain waits for the answers"
            front.listener.drain(None)
            for client in (waiting, late):
                received = await read_all(client)
                assert received.startswith(b"SSH-2.0-")
                assert CONNECT_AGAIN.encode() in received
        assert front.listener.unanswered_count == 0
        await front.listener.close()


async def test_a_login_that_ends_during_the_drain_opens_no_channel() -> None:
    front = Front()
    with front.connect() as client:
        await read(client)
        (router,) = front.listener._routers
        front.listener.drain(None)
        identity = Identity("dev", frozenset(), Method.PUBLIC_KEY, "SHA256:x")
        verified: Any = SimpleNamespace(login_name="dev", identity=identity, key=None)
        router.authentication._verified = verified
        router.auth_completed()
        with pytest.raises(asyncssh.ChannelOpenError, match=CONNECT_AGAIN):
            router.session_requested()
        await front.listener.close()


async def test_a_host_key_that_cannot_be_renewed_leaves_the_present_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = Front()
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    monkeypatch.setattr(listening, "RENEW_S", -1.0)
    with front.connect() as client:
        assert (await read(client)).startswith(b"SSH-2.0-")
        await front.listener.close()
    assert [str(fault["exception"]) for fault in faults] == ["the CA cannot be read"]


async def test_a_load_balancer_that_sends_no_header_in_time_is_recorded() -> None:
    front = Front(AcceptRules(LOOPBACK, proxy_protocol_from=LOOPBACK), header_timeout_s=0.05)
    with front.connect() as client, pytest.raises(ConnectionResetError):
        await read(client)
    assert [denial.reason for denial in front.denied] == [Reason.HEADER_TIMEOUT]
