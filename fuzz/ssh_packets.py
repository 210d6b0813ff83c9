"""Fuzz target: a whole gateway's SSH listener, given mutated packets before and after the login.

`python fuzz/ssh_packets.py --seconds 600 [--clients N] [--seed N]`; not one of `fuzz/run.py`, for it needs no
atheris and is not a parser. A real `stagedoor serve` runs in a process of its own; behind it is an
SSH server of this program's that runs nothing and says everything back. Clients differ from an
honest one by what `mutation.py` does to their packets, before they are encrypted as a rule, so that
they arrive where they are judged.

What must hold: the worker lives, its log has no fault or traceback, well-behaved logins work in
between, and memory and descriptors stay within bounds. Exit status: 0 it held, 1 it did not.
"""

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fixtures.laptop import Laptop

from mutation import Packet, mutated, mutated_bytes, several
from stagedoor.model.permission import Permission

AT_ONCE = 8
"""Clients side by side; well below what may wait for a login (`listeners.limits`)."""
CHECK_EVERY = 200
"""Clients between two well-behaved logins."""
CLIENT_TIMEOUT_S = 5.0
LOGIN_TIMEOUT_S = 20.0
SETTLE_S = 20.0
"""How long what belongs to a client may outlive it."""
WARM_UP = 400
"""Clients until the worker's memory is taken for its usual one."""
GROWTH_BYTES = 96 * 1024 * 1024
SPARE_FDS = 8
"""What the worker may keep of its own: threads, the store."""
USERS = ("dev", "app01", "app01.ssh", "echo", "nobody", "", "x" * 300)
_NEWKEYS = 21


class BrokenError(Exception):
    """A property that must hold does not hold."""


@dataclass
class Tally:
    clients: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    after_login: int = 0
    honest_logins: int = 0


class Odd(asyncssh.SSHClientConnection):
    """An SSH client whose packets are changed on the way out.

    It writes packets itself, because asyncssh holds back those that do not belong to the phase.
    """

    def __init__(self, options: Any, rng: random.Random, tally: Tally) -> None:
        super().__init__(asyncio.get_running_loop(), options, wait="auth")
        self.waiter: asyncio.Future[None] = options.waiter
        self.rng = rng
        self.chance = 0.0
        self.damage = 0.02
        """How often a packet is spoilt as a frame too, which is the end of the connection."""
        self.deaf = False
        """What comes is dropped: answers to what it never asked would end an honest client."""
        self.gone = asyncio.Event()
        self._tally = tally
        self._earlier: deque[Packet] = deque(maxlen=20)

    @property
    def logged_in(self) -> bool:
        return bool(self._auth_complete)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if not self.deaf:
            super().data_received(data, datatype)

    def connection_lost(self, exc: Exception | None = None) -> None:
        self.gone.set()
        super().connection_lost(exc)

    def send_packet(self, kind: int, *parts: bytes, handler: Any = None) -> None:
        packet = kind, b"".join(parts)
        self._earlier.append(packet)
        # NEWKEYS itself is left alone, or nothing encrypted would ever arrive; it may be moved.
        if kind == _NEWKEYS or self.rng.random() >= self.chance:
            super().send_packet(kind, *parts, handler=handler)
            return
        for one in mutated(self.rng, packet, tuple(self._earlier)):
            self.emit(one)

    def emit(self, packet: Packet) -> None:
        """Send a packet in any phase, encrypted once keys are exchanged (RFC 4253 §6)."""
        rng, (kind, body) = self.rng, packet
        payload = bytes([kind]) + body
        block = max(8, self._send_blocksize)
        padding = block - (self._send_enchdrlen + len(payload)) % block
        padding += block if padding < 4 else 0
        said = padding if rng.random() >= self.damage else rng.choice((0, 1, 3, 255))
        content = bytes([said]) + payload + bytes(padding)
        length = len(content).to_bytes(4, "big")
        if self._send_encryption:
            sealed, mac = self._send_encryption.encrypt_packet(self._send_seq, length, content)
            frame = sealed + mac
        else:
            frame = length + content
        if rng.random() < self.damage:
            frame = mutated_bytes(rng, frame)
        self._tally.packets += 1
        self._send(frame)
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF


class Echo(asyncssh.SSHServer):
    """A shell that admits the gateway, runs nothing, and sends back what it reads."""

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True

    def connection_requested(self, *_: Any) -> Any:
        return self._say_back

    @staticmethod
    async def _say_back(reader: Any, writer: Any) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()


async def _process(process: Any) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        process.stdout.write(f"{process.command or process.subsystem or 'shell'}\n".encode())
        while data := await process.stdin.read(65536):
            process.stdout.write(data)
            await process.stdout.drain()
    process.exit(0)


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Laptop]:
    """Run a gateway with its shell until the block ends."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    shell = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Echo, server_host_keys=[key], process_factory=_process,
        encoding=None, line_editor=False, config=None,
    )  # fmt: skip
    known = " ".join(key.export_public_key().decode().split()[:2])
    laptop = Laptop(
        folder,
        '[ssh]\naddresses = ["127.0.0.1:0"]\npasswords = true\n'
        "handshakes_per_s = 1000\n"
        '[log]\nformat = "json"\nlevel = "info"\n'
        f'[[shells.static]]\napp = "app01"\nhost = "127.0.0.1"\nport = {shell.get_port()}\n'
        f'networks = ["127.0.0.0/8"]\nhost_keys = ["{known}"]\n',
        permits=[
            ("everybody", "*", frozenset({Permission.FORWARD, Permission.AGENT, Permission.RECORD}))
        ],
    )
    try:
        await asyncio.to_thread(laptop.gateway.start)
        yield laptop
    finally:
        await asyncio.to_thread(laptop.gateway.stop)
        shell.close()


class Fuzzing:
    """A run against one gateway."""

    def __init__(self, laptop: Laptop, seed: str) -> None:
        self.tally = Tally()
        self._laptop = laptop
        self._seed = seed
        self._port = laptop.port
        self._worker = laptop.gateway.worker_pids()
        self._lines_seen = 0
        self._recent: deque[str] = deque(maxlen=AT_ONCE * 2)
        self._count = 0
        self._fds = self._descriptors()
        self._usual_bytes = 0
        self.most_bytes = 0

    async def run(self, seconds: float, clients: float) -> None:
        """Send clients until the time has passed or their number is reached. Raises BrokenError."""
        until = time.monotonic() + seconds
        await self.honest_login()
        while time.monotonic() < until and self._count < clients:
            stop_at = min(self._count + CHECK_EVERY, clients)
            await asyncio.gather(*(self._some(stop_at, until) for _ in range(AT_ONCE)))
            await self.honest_login()
            self.look()
        await self._settled()
        self.look()
        if not self.tally.after_login:
            raise BrokenError("no odd client has logged in, so nothing is proven")

    async def _some(self, stop_at: float, until: float) -> None:
        while self._count < stop_at and time.monotonic() < until:
            self._count += 1
            name = f"{self._seed}-{self._count}"
            self._recent.append(name)
            await self.one(random.Random(name))

    async def one(self, rng: random.Random) -> None:
        """Run one odd client, and count how it ends; no end is a failure."""
        way = rng.choice((self._banner, self._before, self._before, self._after, self._after))
        name = way.__name__.strip("_")
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                end = await way(rng)
        except TimeoutError:
            end = "timed out"
        except (asyncssh.Error, OSError):
            end = "ended"
        except Exception as error:  # asyncssh's client was not made for what it does here
            end = f"client fell: {type(error).__name__}"
        self.tally.clients[f"{name}: {end}"] += 1

    async def _banner(self, rng: random.Random) -> str:
        """Send bytes before there are packets."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            text = mutated_bytes(rng, b"SSH-2.0-OpenSSH_9.2p1\r\n") + rng.randbytes(
                rng.choice((0, 10, 3000))
            )
            for start in range(0, len(text), step := rng.choice((1, 7, len(text) or 1))):
                writer.write(text[start : start + step])
                await writer.drain()
            self.tally.packets += 1
            if rng.random() < 0.5:
                writer.write_eof()
            async with asyncio.timeout(0.3):
                while await reader.read(65536):
                    pass
            return "hung up on"
        except TimeoutError:
            return "waited for"
        finally:
            writer.transport.abort()

    async def _before(self, rng: random.Random) -> str:
        connection = await self._connect(rng, rng.choice(USERS), rng.choice((0.1, 0.3, 0.6)))
        try:
            await connection.waiter
            return "logged in" if connection.logged_in else "ended"
        finally:
            connection.abort()

    async def _after(self, rng: random.Random) -> str:
        """Log in, open a few channels, and send invented packets."""
        user = rng.choice(("dev", "app01"))
        connection = await self._connect(rng, user, 0.0)
        try:
            await connection.waiter
            if not connection.logged_in:
                return "no login"
            opening = [asyncio.create_task(self._channel(connection, user, rng)) for _ in range(3)]
            try:
                await asyncio.wait(opening, timeout=2)
                connection.deaf, connection.damage = True, 0.002
                wildness = rng.choice((0.0, 0.02, 0.1, 0.5))
                for packet in several(rng, rng.randint(1, 80), wildness):
                    if connection.gone.is_set():
                        return "hung up on"
                    connection.emit(packet)
                    self.tally.after_login += 1
                    if rng.random() < 0.2:
                        await asyncio.sleep(0.001)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(connection.gone.wait(), 0.2)
                return "hung up on" if connection.gone.is_set() else "stayed"
            finally:
                for task in opening:
                    task.cancel()
                await asyncio.gather(*opening, return_exceptions=True)
        finally:
            connection.abort()

    async def _channel(self, connection: Odd, user: str, rng: random.Random) -> None:
        """Open a channel that stays open: a jump, or a session in the shell."""
        if user == "dev":
            await connection.open_connection("app01.ssh", 22)
        else:
            terminal = rng.choice(("xterm", None))
            await connection.create_process(rng.choice(("ls", None)), term_type=terminal)

    async def _connect(self, rng: random.Random, user: str, chance: float) -> Odd:
        options = await self._options(user, agent_forwarding=False)
        options.waiter = asyncio.get_running_loop().create_future()
        made: list[Odd] = []

        def make() -> Odd:
            made.append(Odd(options, rng, self.tally))
            made[0].chance = chance
            return made[0]

        await asyncio.get_running_loop().create_connection(make, "127.0.0.1", self._port)
        return made[0]

    async def _options(self, user: str, **more: Any) -> Any:
        return await asyncssh.SSHClientConnectionOptions.construct(
            host="127.0.0.1", port=self._port, username=user, config=None, known_hosts=None,
            client_keys=[str(self._laptop.key)], agent_path=None, gss_host=None,
            login_timeout=LOGIN_TIMEOUT_S, **more,
        )  # fmt: skip

    async def honest_login(self) -> None:
        """Check that the page, a direct login and a jump work meanwhile."""
        try:
            async with asyncio.timeout(LOGIN_TIMEOUT_S):
                async with await self._honest("dev") as jump:
                    page = await jump.run("ls --json", check=True)
                    assert '"app01.ssh"' in str(page.stdout), page.stdout
                    reader, writer = await jump.open_connection("app01.ssh", 22, encoding=None)
                    assert (await reader.readline()).startswith(b"SSH-2.0-")
                    writer.close()
                async with await self._honest("app01") as direct:
                    done = await direct.run("say", input="this")
                    assert done.stdout == "say\nthis", (done.stdout, done.stderr)
        except (asyncssh.Error, OSError, TimeoutError, AssertionError) as error:
            self.look()
            raise BrokenError(f"a well-behaved login fails: {error!r}") from error
        self.tally.honest_logins += 1

    async def _honest(self, user: str) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect("127.0.0.1", self._port, options=await self._options(user))

    def look(self) -> None:
        """Check the worker and its log. Raises BrokenError."""
        lines = self._laptop.gateway.lines
        for line in lines[self._lines_seen :]:
            text = str(line)
            if line.get("level") in ("error", "critical") or "Traceback" in text or (
                line["event"] in ("not json", "end of log")
            ):  # fmt: skip
                raise BrokenError(f"the log says {text}")
        self._lines_seen = len(lines)
        if self._laptop.gateway.worker_pids() != self._worker:
            raise BrokenError("the worker has died")
        now = self._resident()
        self.most_bytes = max(self.most_bytes, now)
        if self._count >= WARM_UP and not self._usual_bytes:
            self._usual_bytes = now
        if self._usual_bytes and now > self._usual_bytes + GROWTH_BYTES:
            raise BrokenError(f"the worker has grown from {self._usual_bytes:,} to {now:,} bytes")

    async def _settled(self) -> None:
        """Check that nothing of the clients is left once they have gone."""
        deadline = time.monotonic() + SETTLE_S
        while (open_now := self._descriptors()) > self._fds + SPARE_FDS:
            if time.monotonic() > deadline:
                left = ", ".join(self._open_files())
                raise BrokenError(
                    f"{open_now} descriptors are open; there were {self._fds}. All: {left}"
                )
            await asyncio.sleep(0.2)

    def _descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._worker[0]}/fd").iterdir()))

    def _open_files(self) -> list[str]:
        """Return the open files, Unix sockets by their path."""
        rows = [x.split() for x in Path("/proc/net/unix").read_text(encoding="ascii").splitlines()]
        paths = {f"socket:[{row[6]}]": row[7] for row in rows if len(row) > 7}
        found = []
        for link in Path(f"/proc/{self._worker[0]}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                found.append(paths.get(target, target))
        return sorted(found)

    def _resident(self) -> int:
        status = Path(f"/proc/{self._worker[0]}/status").read_text(encoding="ascii")
        kib = next(x.split()[1] for x in status.splitlines() if x.startswith("VmRSS:"))
        return int(kib) * 1024

    def report(self) -> str:
        rows = [f"  {count:>8,}  {end}" for end, count in sorted(self.tally.clients.items())]
        mib = 1024 * 1024
        return "\n".join([
            f"{self._count:,} clients, {self.tally.packets:,} odd packets"
            f" ({self.tally.after_login:,} after a login),"
            f" {self.tally.honest_logins:,} well-behaved logins; seed {self._seed}",
            *rows,
            f"memory of the worker: {self._usual_bytes // mib} MiB when warm,"
            f" {self._resident() // mib} MiB at the end, {self.most_bytes // mib} MiB at most;"
            f" descriptors: {self._fds} before, {self._descriptors()} after",
        ])  # fmt: skip

    @property
    def recent(self) -> str:
        return " ".join(self._recent)


async def fuzz(seconds: float, clients: float, seed: str) -> int:
    with tempfile.TemporaryDirectory(prefix="stagedoor-fuzz-") as folder:
        async with gateway(Path(folder)) as laptop:
            fuzzing = Fuzzing(laptop, seed)
            try:
                await fuzzing.run(seconds, clients)
            except BrokenError as error:
                print(f"FAILED: {error}\nafter these clients: {fuzzing.recent}")
                with contextlib.suppress(OSError):  # the worker may be gone
                    print(fuzzing.report())
                return 1
            print(fuzzing.report())
    return 0


def main() -> int:
    arguments = argparse.ArgumentParser(description="Fuzz the SSH listener with odd packets.")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--clients", type=int, default=float("inf"), help="at most")
    arguments.add_argument("--seed", default=str(random.SystemRandom().randrange(10**9)))
    chosen = arguments.parse_args()
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return asyncio.run(fuzz(chosen.seconds, chosen.clients, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
