"""The socket to a developer's agent: made once however often it is asked for, and never left behind."""

import asyncio

import asyncssh
import pytest

from stagedoor.listeners.ssh.connection import ClientConnection


class Socket:
    """The listener to an agent, as asyncssh keeps it."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Granting:
    async def may_use_agent(self) -> bool:
        return True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Socket]:
    """The sockets that asyncssh makes, each with a turn of the event loop in the middle, as it does."""
    sockets: list[Socket] = []

    async def make(connection: ClientConnection) -> bool:
        if connection._agent_listener is None:
            await asyncio.sleep(0)
            sockets.append(Socket())
            connection._agent_listener = sockets[-1]  # type: ignore[assignment]  # a stand-in
        return True

    monkeypatch.setattr(asyncssh.SSHServerConnection, "create_agent_listener", make)
    return sockets


def connection(*, closed: bool) -> ClientConnection:
    one = ClientConnection.__new__(ClientConnection)
    one.router = Granting()  # type: ignore[assignment]  # all that is asked of it here
    one._making_agent = asyncio.Lock()
    one._agent_listener = None
    one.is_closed = lambda: closed  # type: ignore[method-assign]
    return one


async def test_two_requests_at_once_make_one_way_to_the_agent(made: list[Socket]) -> None:
    one = connection(closed=False)
    assert await asyncio.gather(*(one.create_agent_listener() for _ in range(2))) == [True, True]
    assert len(made) == 1
    assert not made[0].closed


async def test_a_client_that_left_meanwhile_leaves_no_socket(made: list[Socket]) -> None:
    one = connection(closed=True)
    assert not await one.create_agent_listener()
    assert [socket.closed for socket in made] == [True]
    assert one._agent_listener is None
