"""How often a client may exchange keys, before and after its login."""

import asyncio
import os
from typing import Any

import asyncssh
import pytest

from stagedoor.listeners.ssh import bounds
from stagedoor.listeners.ssh.bounds import (
    BYTES_EACH,
    EXCHANGE_BURST,
    EXCHANGES_PER_SECOND,
    WAITING_S,
    KeyExchanges,
    LoginPhase,
)
from tests.openssh import KEX
from tests.ssh.test_algorithms import AcceptingServer, Server, server, ssh
from tests.waiting import BOUND_S

__all__ = ["server"]
FLOOD = 3 * EXCHANGE_BURST


def begun(limit: KeyExchanges, phase: LoginPhase, now: float) -> int:
    """Exchanges that are taken at once, up to a flood."""
    return next((n for n in range(FLOOD) if not limit.begin(phase, now)), FLOOD)


def test_a_login_has_one_exchange() -> None:
    assert begun(KeyExchanges(), LoginPhase.LOGIN, 0.0) == 1


def test_a_key_that_waits_for_its_person_may_exchange_once_a_minute() -> None:
    limit = KeyExchanges()
    assert limit.begin(LoginPhase.LOGIN, 0.0)
    assert limit.begin(LoginPhase.WAITING, WAITING_S)
    assert not limit.begin(LoginPhase.WAITING, 2 * WAITING_S - 1)


def test_after_the_login_time_and_data_pay_for_more() -> None:
    limit = KeyExchanges()
    assert limit.begin(LoginPhase.LOGIN, 0.0)
    assert begun(limit, LoginPhase.LOGGED_IN, 0.0) == EXCHANGE_BURST
    limit.count_bytes(10 * BYTES_EACH)
    assert begun(limit, LoginPhase.LOGGED_IN, 0.0) == 9  # one was owed
    assert begun(limit, LoginPhase.LOGGED_IN, 10.0) == 10 * EXCHANGES_PER_SECOND - 1
    limit.count_bytes(10 * EXCHANGE_BURST * BYTES_EACH)
    assert begun(limit, LoginPhase.LOGGED_IN, 10.0) == EXCHANGE_BURST, (
        "data is not saved up without end"
    )


class Exchanging(asyncssh.SSHClient):
    """A client that exchanges keys as often as it can, either during its login or after it."""

    def __init__(self) -> None:
        self.count = 1
        self.lost = asyncio.Event()
        self.reason = ""

    def connection_made(self, conn: Any) -> None:
        self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        self.reason = str(exc)
        self.lost.set()

    async def public_key_auth_requested(self) -> None:
        await self.exchange(FLOOD)

    async def exchange(self, most: int) -> None:
        for _ in range(most):
            self._connection._send_kexinit()
            self._connection._kexinit_sent = True
            while not self._connection._kex_complete:
                if self.lost.is_set():
                    return
                await asyncio.sleep(0)
            self.count += 1


async def flood(server: Server, *, after_login: bool) -> Exchanging:
    client = Exchanging()
    async with asyncio.timeout(BOUND_S):
        try:
            async with asyncssh.connect(
                "127.0.0.1", server.port, username="dev", known_hosts=None, config=None,
                client_factory=lambda: client, agent_path=None,
            ):  # fmt: skip
                assert after_login
                await client.exchange(FLOOD)
        except asyncssh.Error as error:
            client.reason = str(error)
    return client


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server wants a login, which no client ends."""
    monkeypatch.setattr(AcceptingServer, "begin_auth", lambda *_: True)
    monkeypatch.setattr(AcceptingServer, "take_partial_success", lambda _: False, raising=False)
    monkeypatch.setattr(AcceptingServer, "public_key_auth_supported", lambda _: True)


@pytest.mark.usefixtures("logins")
async def test_a_stranger_exchanges_keys_once(server: Server) -> None:
    """One connection had 165 exchanges a second of the worker, as many as its own processor could ask for."""
    client = await flood(server, after_login=False)
    assert client.count == 1
    assert "too many key exchanges" in client.reason


@pytest.mark.usefixtures("logins")
async def test_a_client_whose_key_waits_may_exchange_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "WAITING_S", 0.0)
    monkeypatch.setattr(
        AcceptingServer,
        "begin_auth",
        lambda visitor, _: visitor.connection.suspend_login_timeout() or True,
    )
    monkeypatch.setattr(Exchanging, "public_key_auth_requested", lambda client: client.exchange(3))
    client = await flood(server, after_login=False)
    assert client.count == 4
    assert "Permission denied" in client.reason


async def test_a_person_has_a_burst_of_exchanges(server: Server) -> None:
    client = await flood(server, after_login=True)
    assert EXCHANGE_BURST <= client.count <= EXCHANGE_BURST + EXCHANGES_PER_SECOND * BOUND_S
    assert "too many key exchanges" in client.reason


@pytest.mark.usefixtures("openssh")
@pytest.mark.parametrize(("limit", "size"), [("64K", 4 << 20), ("1K", 16 << 10)])
async def test_openssh_may_exchange_keys_as_often_as_its_data_needs(
    server: Server, limit: str, size: int
) -> None:
    """At 64K it exchanges keys more often than the burst; it takes up to ten seconds."""
    sent = os.urandom(size)
    came, said = await ssh(server, sent, "-o", f"RekeyLimit={limit}", "-o", KEX)
    assert came == sent, said[-2000:]
    assert said.count("SSH2_MSG_NEWKEYS sent") > (EXCHANGE_BURST if limit == "64K" else 2), said[
        -2000:
    ]
