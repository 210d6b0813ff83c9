"""The algorithms that a stock client and the gateway agree on without any setting."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator

import asyncssh
import pytest

from stagedoor.listeners.accept import AcceptRules
from stagedoor.listeners.ssh.bounds import KEXINIT_WAIT_S
from stagedoor.listeners.ssh.connection import ClientConnection
from stagedoor.listeners.ssh.options import HostKey, SshListenerSettings, make_server_options
from stagedoor.listeners.ssh.packets import READ_BYTES, Gcm
from stagedoor.model.rate import Rate
from tests.fixtures.laptop import Laptop
from tests.waiting import BOUND_S

AES_GCM = "aes128-gcm@openssh.com"
LIMITS = SshListenerSettings(
    rules=AcceptRules(()),
    handshakes=Rate(100, 0.05),
    allows_passwords=False,
    idle_timeout_s=None,
)


class Echo(asyncssh.SSHTCPSession[bytes]):
    """Says all back, by the short way where that is open."""

    takes_views = True

    def __init__(self, connection: "Counting") -> None:
        self._connection = connection

    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._chan = chan

    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        self._connection.send_data(self._chan, bytes(data))

    def eof_received(self) -> bool:
        self._chan.close()  # after what is still to be sent
        return True


class AcceptingServer(asyncssh.SSHServer):
    """A server that accepts each login."""

    def __init__(self, connection: "Counting") -> None:
        self.connection = connection

    def begin_auth(self, username: str) -> bool:
        return False

    @property
    def authentication(self) -> "AcceptingServer":
        return self

    def connection_requested(self, *_: object) -> Echo:
        return Echo(self.connection)

    @property
    def has_only_sign_in_left(self) -> bool:
        return False

    def count_failed_try(self) -> bool:
        return False

    def update_relays(self) -> None:
        pass


class Counting(ClientConnection):
    """Counts the packets that take the short way."""

    taken = 0

    def _deliver_data(self, plain: bytes) -> bool:
        took = super()._deliver_data(plain)
        self.taken += took
        return took


class Server:
    def __init__(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        certificate = key.generate_host_certificate(key, "gw", principals=["gw"])
        self.options = make_server_options(
            HostKey(key.export_private_key(), certificate.export_certificate().decode()), LIMITS
        )
        self.connections: list[Counting] = []
        self.port = 0

    def begin(self) -> Counting:
        buffer = memoryview(bytearray(READ_BYTES))
        made = Counting(self.options, buffer, AcceptingServer)  # type: ignore[arg-type]  # asks for no key
        self.connections.append(made)
        return made


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    listening = await asyncio.get_running_loop().create_server(one.begin, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    yield one
    listening.close()
    for connection in one.connections:
        connection.abort()


async def ssh(server: Server, sent: bytes, *options: str) -> tuple[bytes, str]:
    """Stock ssh with its own defaults: what came back, and what -v says."""
    command = ["ssh", "-v", "-F", "/dev/null", *options, "-p", str(server.port)]
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command += ["-o", "IdentityFile=none", "-o", "IdentityAgent=none"]
    command += ["-W", "echo.ssh:22", "127.0.0.1"]
    done = await asyncio.to_thread(
        subprocess.run, command, input=sent, capture_output=True, timeout=BOUND_S
    )
    return done.stdout, done.stderr.decode()


@pytest.mark.usefixtures("openssh")
async def test_a_stock_client_takes_the_short_way_by_its_defaults(server: Server) -> None:
    sent = os.urandom(1 << 20)
    came, said = await ssh(server, sent)
    assert came == sent, said
    for way in ("server->client", "client->server"):
        assert f"kex: {way} cipher: {AES_GCM} MAC: <implicit> compression: none" in said
    [connection] = server.connections
    assert isinstance(connection._send_encryption, Gcm)
    assert isinstance(connection._recv_encryption, Gcm)
    assert connection.taken >= len(sent) // 32768, "data packets went by asyncssh's way"


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr"])
async def test_a_client_that_wants_another_cipher_of_ours_gets_it(
    server: Server, cipher: str
) -> None:
    came, said = await ssh(server, b"x" * 100_000, "-o", f"Ciphers={cipher}")
    assert came == b"x" * 100_000, said
    assert f"kex: server->client cipher: {cipher} " in said


@pytest.mark.usefixtures("openssh")
async def test_with_aes_ctr_openssh_has_a_mac_of_what_is_encrypted(server: Server) -> None:
    came, said = await ssh(server, b"x" * 1000, "-o", "Ciphers=aes128-ctr")
    assert came == b"x" * 1000, said
    assert re.search(r"kex: server->client cipher: aes128-ctr MAC: \S+-etm@openssh.com ", said), (
        said
    )


@pytest.mark.parametrize("mac", ["hmac-sha2-256", "hmac-sha2-512"])
async def test_a_client_that_has_nothing_better_has_a_plain_mac(server: Server, mac: str) -> None:
    came, said = await ssh(server, b"x" * 100_000, "-o", "Ciphers=aes256-ctr", "-o", f"MACs={mac}")
    assert came == b"x" * 100_000, said
    assert f"MAC: {mac} " in said


async def test_a_client_that_has_chacha20_alone_reads_which_ciphers_there_are(
    server: Server,
) -> None:
    _, said = await ssh(server, b"", "-o", "Ciphers=chacha20-poly1305@openssh.com")
    [line] = [line for line in said.splitlines() if "no matching cipher found" in line]
    assert "Their offer: aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes256-ctr" in line


@pytest.mark.parametrize("version", ["OpenSSH_9.2", "libssh_0.9"])
async def test_a_client_that_waits_for_our_proposal_is_not_kept_waiting(
    server: Server, version: str
) -> None:
    """libssh's client says nothing before it has ours; nor may one that only calls itself OpenSSH."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"SSH-2.0-{version}\r\n".encode())
    async with asyncio.timeout(KEXINIT_WAIT_S + BOUND_S):
        assert (await reader.readline()).startswith(b"SSH-2.0-Stagedoor")
        proposal = await reader.read(4096)
    assert b"aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes256-ctr" in proposal
    writer.close()


def test_no_group_of_large_numbers_is_offered(laptop: Laptop) -> None:
    """D(HE)at: a client makes the server compute in group 18 (8192 bits), 15 ms each, for nothing."""
    for kex in ("diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"):
        done = laptop.ssh("gw", "ls", config=laptop.config(f"KexAlgorithms {kex}"))
        assert b"no matching key exchange method found" in done.stderr
        offer = done.stderr.partition(b"Their offer:")[2]
        assert b"curve25519-sha256" in offer
        assert b"diffie" not in offer
