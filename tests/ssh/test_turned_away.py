"""sshd turns the gateway away with a line in SSH's place: every access method says why."""

import asyncio
import getpass
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.laptop.tunnel import errors
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, EchoServer, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.fixtures.terminal import WebTerminal, ticket
from tests.laptop.conftest import TUNNEL
from tests.ssh import newest
from tests.ssh.test_direct_sshd import SSHD, Sshd
from tests.waiting import BOUND_S, wait_until

Done = subprocess.CompletedProcess[bytes]
WEB = '[web]\naddresses = ["127.0.0.1:0"]\n'
HOLDER = 'holder = "/nowhere"\n'
"""Without one the WebShell would not try."""
PENALTY = "PerSourcePenaltyExemptList"
"""What the audit has."""
ADVICE = "try again later, or ask an administrator"
"""What the developer reads."""


def turn_away(sock: socket.socket) -> None:
    sock.sendall(b"Not allowed at this time\r\n")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    server = EchoServer(turn_away)
    settings = SSH_TABLE + WEB + static("app01", server.port) + HOLDER
    with open_laptop(tmp_path_factory.mktemp("away"), settings) as one:
        yield one
    server.close()


def through_client(laptop: Laptop, command: "list[str | Path]", *options: str) -> Done:
    """Run `command` with the client's password in its environment."""
    return subprocess.run(
        [*command, *options], input=b"", capture_output=True, timeout=BOUND_S,
        env={**os.environ, "STAGEDOOR_PASSWORD": PASSWORD},
    )  # fmt: skip


def by_connect(laptop: Laptop, client_option: str = "", ssh_option: str = "LogLevel=INFO") -> Done:
    """ssh through `stagedoor tunnel`."""
    client = shlex.join([*TUNNEL, "--gateway", f"127.0.0.1:{laptop.gateway.port()}"])
    proxy = f"ProxyCommand={client} --user dev {client_option} -- %h %p"
    command = ["ssh", "-F", laptop.config(), "-o", proxy, "-o", ssh_option]
    return through_client(laptop, command, "dev@app01.ssh", "true")


def assert_every_method_says(laptop: Laptop, advice: str) -> None:
    alone = through_client(
        laptop,
        [*TUNNEL, "--gateway", f"127.0.0.1:{laptop.gateway.port()}"],
        *("--user", "dev", "app01.ssh"),
    )
    assert alone.returncode == errors.NO_SHELL
    assert advice in alone.stderr.decode()
    for done in (
        by_connect(laptop),
        laptop.ssh("app01.ssh", "true"),
        laptop.ssh("app01@gw", "true"),
    ):
        assert done.returncode == 255
        assert advice in done.stderr.decode(), done.stderr
        assert "sshd_config" not in done.stderr.decode()
    port = laptop.gateway.port("web")
    visitor = WebTerminal(port).hello(ticket(port, "app01"))
    assert any(advice in getattr(notice, "text", "") for notice in visitor.notices)
    visitor.close()


def test_every_access_method_says_what_turned_them_away_and_what_to_do(laptop: Laptop) -> None:
    assert_every_method_says(laptop, ADVICE)


def test_ssh_that_has_the_socket_itself_reads_it_too(laptop: Laptop) -> None:
    done = by_connect(laptop, "--fdpass", "ProxyUseFdpass=yes")
    assert ADVICE in done.stderr.decode()


def test_the_audit_says_that_no_session_reached_its_shell(laptop: Laptop) -> None:
    by_connect(laptop)
    laptop.ssh("app01.ssh", "true")
    for access_method in ("connect", "jump"):
        wait_until(
            lambda access_method=access_method: any(
                session["way"] == access_method
                and session["outcome"] == "unreached"
                and PENALTY in str(session["detail"])
                for session in laptop.gateway.sessions()
            )
        )


async def test_the_jump_keeps_the_channel_open_until_the_client_has_read_why(
    laptop: Laptop,
) -> None:
    """Otherwise ssh fails to write its next message, and never reads the one that explains."""
    async with (
        asyncio.timeout(BOUND_S),
        asyncssh.connect(
            "127.0.0.1", laptop.port, username="dev", client_keys=[str(laptop.key)],
            known_hosts=None, config=None,
        ) as client,
    ):  # fmt: skip
        reader, writer = await client.open_connection("app01.ssh", 22, encoding=None)
        writer.write(b"SSH-2.0-test\r\n")
        said = b""
        while ADVICE.encode() not in said:
            more = await reader.read(4096)
            assert more
            said += more
        writer.write(b"its next message")
        await client.run("ls")  # one round trip: a channel that was closed would be known to be
        assert not writer.is_closing()
        writer.write_eof()
        await writer.wait_closed()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """Debian 13's sshd, which has penalties since 9.8."""
    try:
        programs = newest.folder()
    except newest.MissingError as error:
        pytest.skip(f"no newer OpenSSH: {error}")
    one = Sshd(tmp_path / "sshd", str(programs / "sshd"), *newest.server_settings(programs))
    yield one
    one.stop()


@pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is missing; apt install openssh-server")
def test_one_persons_wrong_key_turns_all_away_and_they_learn_it(tmp_path: Path, sshd: Sshd) -> None:
    entry = f'login_name = "{getpass.getuser()}"\nhost_keys = ["{sshd.public}"]\n'
    settings = SSH_TABLE + WEB + static("app01", sshd.port) + entry + HOLDER
    with open_laptop(tmp_path / "gateway", settings) as laptop:
        sshd.start(
            (laptop.gateway.data_dir / "keys" / "user_ca.pub").read_text(),
            "PerSourcePenalties authfail:1h min:1s",
        )
        assert laptop.ssh("app01@gw", "true").returncode == 0
        # The developer's own key, which this server does not know; nothing else is wrong.
        trusting = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
        assert b"Permission denied" in laptop.ssh(*trusting, "app01.ssh", "true").stderr
        assert_every_method_says(laptop, ADVICE)
