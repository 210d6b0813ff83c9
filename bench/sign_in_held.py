"""The time of a login by a bound key while a thousand unknown keys wait for their sign-ins.

    .venv/bin/python bench/sign_in_held.py [--quick] [--page docs/performance-login.md]

A gateway has five workers on SQLite, so that a thousand connections may wait (200 at each). They come from
200 loopback addresses, by asyncssh in separate processes, and stay. Meanwhile a user with a bound key logs in
by asyncssh again and again, and lists their apps. It prints a table in Markdown; --page writes it between the
marks of a page.
"""

import asyncio
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import asyncssh
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import log_in
from tests.login.conftest import settings

from markdown import HEAD, hand_out, options, row
from measure import raise_open_files
from stagedoor.listeners.ssh.pending_keys import PENDING_LIMITS

WORKERS = 5
LOGINS = 200
BY_PROCESS = 100
SPAWN = multiprocessing.get_context("spawn")
"""Not fork, which would not copy the thread that reads the gateway's log."""
SSO = """
[[sso]]
name = "Company"
issuer = "https://id.example"
client_id = "stagedoor"
client_secret_file = "{secret}"
redirect_uri = "https://gw.example/sign-in/sso"
"""


def address_of(number: int) -> str:
    """Return a loopback address, each in its own /24."""
    return f"127.{1 + number // 200}.{number % 200}.1"


class Held(asyncssh.SSHClient):
    """A client that waits for its sign-in; `has_banner` is set by the banner with the address for it."""

    def __init__(self) -> None:
        self.has_banner = asyncio.Event()

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Record the banner."""
        self.has_banner.set()

    def kbdint_auth_requested(self) -> str:
        """Accept keyboard-interactive, in which the gateway waits for the sign-in."""
        return ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Answer a challenge without prompts."""
        return ["" for _ in prompts]


async def hold(port: int, number: int, tasks: list[asyncio.Task[object]]) -> None:
    """Open a connection that waits, and add its task to `tasks`.

    A full worker refuses it, and the next try may reach another.
    """
    pair = asyncssh.load_keypairs(asyncssh.generate_private_key("ssh-ed25519"))[0]
    for _ in range(100):
        client = Held()
        task: asyncio.Task[object] = asyncio.ensure_future(
            asyncssh.connect(
                "127.0.0.1", port, local_addr=(address_of(number), 0), username="app01",
                client_factory=lambda client=client: client, client_keys=[pair, pair],
                known_hosts=None, config=None, agent_path=None, client_version="OpenSSH_9.9",
                preferred_auth="publickey,keyboard-interactive", login_timeout=600,
            )
        )  # fmt: skip
        banner = asyncio.ensure_future(client.has_banner.wait())
        await asyncio.wait((task, banner), return_when=asyncio.FIRST_COMPLETED)
        banner.cancel()
        if client.has_banner.is_set():
            tasks.append(task)
            return
        with contextlib.suppress(asyncssh.Error, OSError):
            await task
    raise AssertionError(f"no worker holds {number}")


def holders(port: int, first: int, count: int, parent: Connection) -> None:
    """Hold `count` connections in this process, and report that; at a message, report how many are left."""

    async def all_() -> None:
        tasks: list[asyncio.Task[object]] = []
        for number in range(first, first + count):
            await hold(port, number // PENDING_LIMITS.of_source, tasks)
        parent.send(len(tasks))
        await asyncio.to_thread(parent.recv)
        parent.send(sum(not task.done() for task in tasks))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_())


def while_held(port: int, count: int, work: Callable[[], list[float]]) -> tuple[list[float], int]:
    """Call `work` while `count` connections wait; return its result and how many still wait afterwards.

    A full worker drops connections in favour of new ones from sources that have fewer there.
    """
    processes = []
    for first in range(0, count, BY_PROCESS):
        ours, theirs = SPAWN.Pipe()
        size = min(BY_PROCESS, count - first)
        process = SPAWN.Process(target=holders, args=(port, first, size, theirs))
        process.start()
        processes.append((process, ours, size))
    for _, ours, size in processes:
        assert ours.recv() == size
    times = work()
    for _, ours, _ in processes:
        ours.send("go")
    left = [ours.recv() for _, ours, _ in processes]
    for process, _, _ in processes:
        process.join(60)
    assert sum(left) >= 0.9 * count, f"{sum(left)} of {count} were held to the end"
    return times, sum(left)


async def log_ins(port: int, key: Path, count: int) -> list[float]:
    """Log in `count` times; return the milliseconds of each, from connect() to the list of apps."""
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
    """Run the benchmark."""
    given = options(__doc__, "a tenth of it")
    part = 10 if given.quick else 1
    most, count = WORKERS * PENDING_LIMITS.of_all // part, LOGINS // part
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
        row("a login by a bound key, no key waits", before, "ms", ""),
        row(f"the same while {waiting:,} wait", during, "ms", "p95 200"),
    ]
    hand_out(lines, busy, given.page, "sign_in_held")


if __name__ == "__main__":
    main()
