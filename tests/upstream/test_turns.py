"""When all developers come back in one moment, logins to one shell take turns; other shells do not wait."""

import asyncio
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import load_or_create
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity, Method
from stagedoor.model.session import ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.net.tcp import TcpStream
from stagedoor.upstream.connection import ShellConnection
from stagedoor.upstream.login import MAX_CONCURRENT, GatewayLogin, ShellAccount

DEV = Identity("dev", frozenset(), Method.PASSWORD)


def ready(app: str) -> ReadyShell:
    target = Target(app)
    return ReadyShell(Grant(DEV, target, 1, None), Shell(target, "127.0.0.1", 22))


async def test_a_crowd_at_one_shell_takes_turns_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: dict[str, int] = {"app01.ssh": 0, "app02.ssh": 0}
    most = 0
    news = asyncio.Condition()
    go_on = asyncio.Event()

    async def connect(
        sock: socket.socket, options: asyncssh.SSHClientConnectionOptions, name: str
    ) -> object:
        nonlocal most
        host = options.host
        under_way[host] += 1
        most = max(most, under_way["app01.ssh"])
        async with news:
            news.notify_all()
        await go_on.wait()
        under_way[host] -= 1
        sock.close()
        return object()

    monkeypatch.setattr(ShellConnection, "connect", connect)
    ca = CertificateAuthority(load_or_create(tmp_path / "ca"), time.time)
    upstream = GatewayLogin(ca.sign_user, (), lambda _: ShellAccount(), lambda *_: None)
    with ExitStack() as stack:

        def login(app: str) -> "asyncio.Task[object]":
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            return asyncio.create_task(
                upstream.connect(TcpStream(ours), ready(app), [], asyncssh.SSHClient)
            )

        crowd = [login("app01") for _ in range(3 * MAX_CONCURRENT)]
        async with asyncio.timeout(30), news:
            await news.wait_for(lambda: under_way["app01.ssh"] == MAX_CONCURRENT)
        crowd[-1].cancel()  # one who waits goes away
        other = login("app02")
        async with asyncio.timeout(30), news:
            await news.wait_for(lambda: under_way["app02.ssh"] == 1)
        go_on.set()
        outcomes = await asyncio.gather(*crowd, other, return_exceptions=True)
    assert most == MAX_CONCURRENT
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == [
        outcomes[3 * MAX_CONCURRENT - 1]
    ]
