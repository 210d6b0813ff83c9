"""Requests without end by a client that may log in, before anything runs."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from stagedoor.wire.ssh.blob import encode_string
from tests.fixtures.gateway import SSH_TABLE, local, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.ssh.hostile import HostileShells

MIB = 1024 * 1024
MUCH = 2700
PIECE = b"x" * 30_000
PEAK_BYTES = 40 * MIB
"""The clients send twice as much."""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """app01 is a shell; app02 is silent, and a login to it takes its time."""
    with HostileShells() as shells:
        settings = SSH_TABLE + local("app01") + static("app02", shells.ports["silent"])
        with open_laptop(tmp_path_factory.mktemp("clients"), settings, ("app01", "app02")) as found:
            found.ssh("app01@gw", "true", check=True)  # what is loaded once is loaded
            yield found


class Peak:
    """The most memory, in bytes, that the worker had beyond what it has now."""

    def __init__(self, laptop: Laptop) -> None:
        (self._pid,) = laptop.gateway.worker_pids()
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")  # proc(5)
        self._before = self._read("VmRSS")

    def _read(self, what: str) -> int:
        match = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self._pid}/status").read_text())
        assert match
        return int(match[1]) * 1024

    @property
    def bytes(self) -> int:
        return self._read("VmHWM") - self._before


def connected(laptop: Laptop, app: str) -> Any:
    return asyncssh.connect(
        "127.0.0.1", laptop.port, username=app, client_keys=[str(laptop.key)], known_hosts=None,
        config=None, agent_path=None,
    )  # fmt: skip


def test_variables_without_end_are_passed_over(laptop: Laptop) -> None:
    """Each was kept until the channel ended: one client, and the worker's memory was gone."""
    peak = Peak(laptop)

    async def ask() -> Any:
        async with connected(laptop, "app01") as connection:
            env = {b"LC_%d" % n: PIECE for n in range(MUCH)}
            return await connection.run("echo here", env=env)

    done = asyncio.run(asyncio.wait_for(ask(), 100))
    assert done.stdout == "here\n"
    assert peak.bytes < PEAK_BYTES, f"{peak.bytes / MIB:.0f} MiB"


def test_requests_behind_one_that_waits_are_not_collected(laptop: Laptop) -> None:
    """Behind a wish for the agent, which waits for the shell, all others waited in memory."""
    peak = Peak(laptop)

    async def ask() -> None:
        async with connected(laptop, "app02") as connection:
            channel: Any = asyncssh.SSHClientChannel(
                connection, asyncio.get_running_loop(), "strict", None, "strict", MIB, 32768
            )
            await channel._open(b"session")
            channel._send_request(b"auth-agent-req@openssh.com")
            for _ in range(MUCH):
                channel._send_request(b"what", encode_string(PIECE))
                while connection._transport and connection._transport.get_write_buffer_size() > MIB:
                    await asyncio.sleep(0.01)
            # No longer than the shell is waited for.
            await asyncio.wait_for(connection.wait_closed(), 30)

    asyncio.run(asyncio.wait_for(ask(), 100))
    assert peak.bytes < PEAK_BYTES, f"{peak.bytes / MIB:.0f} MiB"
