"""Does somebody who is signed in wait, while a thousand unknown keys wait for their people?

    .venv/bin/python bench/sign_in_held.py [--quick] [--page docs/performance-login.md]

A gateway of five workers on SQLite, so that a thousand may wait (200 in each). They come from 200 addresses
of loopback, by asyncssh in processes of their own, and stay. Meanwhile somebody with a bound key logs in
by asyncssh again and again, and lists their apps. Prints a table in Markdown; --page writes it between the
marks of a page.
"""

import asyncio
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import asyncssh
from tests.login.conftest import settings
from tests.path.gateway import Gateway
from tests.ssh.signed_in import log_in

from markdown import HEAD, hand_out, options, row
from measure import raise_open_files
from stagedoor.listeners.ssh.hold import LIMITS

WORKERS = 5
LOGINS = 200
BY_PROCESS = 100
SPAWN = multiprocessing.get_context("spawn")
"""The gateway's log is read by a thread, which a fork would not take along."""
SSO = """
[[sso]]
name = "Company"
issuer = "https://id.example"
client_id = "stagedoor"
client_secret_file = "{secret}"
redirect_uri = "https://gw.example/sign-in/sso"
"""


def address_of(number: int) -> str:
    """Each in a /24 of its own, of loopback."""
    return f"127.{1 + number // 200}.{number % 200}.1"


class Held(asyncssh.SSHClient):
    """Notes that it was told where to sign in."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def auth_banner_received(self, msg: str, lang: str) -> None:
        self.told.set()


async def hold(port: int, number: int, tasks: list[asyncio.Task[object]]) -> None:
    """Stay until it is cancelled. A worker that is full refuses, and the next try meets another."""
    pair = asyncssh.load_keypairs(asyncssh.generate_private_key("ssh-ed25519"))[0]
    for _ in range(100):
        client = Held()
        task: asyncio.Task[object] = asyncio.ensure_future(
            asyncssh.connect(
                "127.0.0.1", port, local_addr=(address_of(number), 0), username="app01",
                client_factory=lambda client=client: client, client_keys=[pair, pair],
                known_hosts=None, config=None, agent_path=None, client_version="OpenSSH_9.9",
                preferred_auth="publickey", login_timeout=600,
            )
        )  # fmt: skip
        told = asyncio.ensure_future(client.told.wait())
        await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if client.told.is_set():
            tasks.append(task)
            return
        with contextlib.suppress(asyncssh.Error, OSError):
            await task
    raise AssertionError(f"nobody holds {number}")


def holders(port: int, first: int, count: int, told: Connection) -> None:
    """A process: hold `count`, say so, and stay until it is told to go."""

    async def all_() -> None:
        tasks: list[asyncio.Task[object]] = []
        for number in range(first, first + count):
            await hold(port, number // LIMITS.of_source, tasks)
        told.send(len(tasks))
        await asyncio.to_thread(told.recv)
        told.send(sum(not task.done() for task in tasks))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_())


def while_held(port: int, count: int, work: Callable[[], list[float]]) -> tuple[list[float], int]:
    """What `work` gives while so many wait, and how many of them wait still when it is done: those of a
    worker that is full give way to newcomers of sources that have fewer there."""
    made = []
    for first in range(0, count, BY_PROCESS):
        ours, theirs = SPAWN.Pipe()
        size = min(BY_PROCESS, count - first)
        process = SPAWN.Process(target=holders, args=(port, first, size, theirs))
        process.start()
        made.append((process, ours, size))
    for _, ours, size in made:
        assert ours.recv() == size
    found = work()
    for _, ours, _ in made:
        ours.send("go")
    left = [ours.recv() for _, ours, _ in made]
    for process, _, _ in made:
        process.join(60)
    assert sum(left) >= 0.9 * count, f"{sum(left)} of {count} were held to the end"
    return found, sum(left)


async def log_ins(port: int, key: Path, count: int) -> list[float]:
    """Milliseconds of each, from connect() to the list of apps."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        async with asyncssh.connect(
            "127.0.0.1", port, username="dev", client_keys=[str(key)], known_hosts=None, config=None
        ) as connection:
            done = await connection.run("ls", check=True)
        took.append((time.perf_counter() - began) * 1e3)
        assert "app01" in str(done.stdout)
    return took


def main() -> None:
    given = options(__doc__, "a tenth of it")
    part = 10 if given.quick else 1
    most, count = WORKERS * LIMITS.of_all // part, LOGINS // part
    raise_open_files()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        secret = folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text("secret")
        with Gateway(folder, settings() + SSO.format(secret=secret), workers=WORKERS) as gateway:
            gateway.add_user("dev", "app01")
            gateway.start()
            key = asyncssh.generate_private_key("ssh-ed25519")
            file = folder / "key"
            key.write_private_key(str(file))
            with gateway.changed() as service:
                log_in(service, "dev", key.export_public_key().decode(), 12 * 3600.0)
            port = gateway.port("ssh")
            before = asyncio.run(log_ins(port, file, count))
            during, waiting = while_held(
                port, most, lambda: asyncio.run(log_ins(port, file, count))
            )
    lines = [
        *HEAD,
        row("a login by a bound key, nobody waits", before, "ms", ""),
        row(f"the same while {waiting:,} wait", during, "ms", "p95 200"),
    ]
    hand_out(lines, busy, given.page, "sign_in_held")


if __name__ == "__main__":
    main()
