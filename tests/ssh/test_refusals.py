"""The refusals, in the words that the developer reads, and that nothing else breaks by them."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable

import asyncssh
import pytest

from stagedoor.wire.ssh.blob import encode_string
from tests.fixtures.laptop import Laptop
from tests.waiting import BOUND_S, wait_until

PROHIBITED = "channel 0: open failed: administratively prohibited: "


def stderr(laptop: Laptop, *words: str) -> str:
    done = laptop.ssh(*words)
    assert done.returncode != 0
    return done.stderr.decode()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("app02.ssh:22", "no grant for 'dev' to enter app02"),
        ("app01.ssh:2222", "port 2222 is not allowed; only port 22 is"),
        ("127.0.0.1:22", "addresses are not allowed"),
        ("[::1]:22", "addresses are not allowed"),
        ("2130706433:22", "addresses are not allowed"),
        ("metadata.google.internal:80", "port 80 is not allowed"),
        ("localhost:22", "does not name an app's shell"),
        ("app01.ssh.:22", "leave out the dot"),
        ("nowhere.ssh:22", "no grant for 'dev' to enter nowhere"),
        ("closed.ssh:22", "the shell closed-ssh could not be reached"),
    ],
)
def test_a_target_that_may_not_be_reached_is_refused_with_its_reason(
    laptop: Laptop, asked: str, reason: str
) -> None:
    said = stderr(laptop, "-W", asked, "gw")
    assert PROHIBITED in said
    assert reason in said


def test_every_refusal_of_a_target_is_in_the_audit(laptop: Laptop) -> None:
    stderr(laptop, "-W", "app02.ssh:22", "gw")
    wait_until(
        lambda: any(
            e["kind"] == "session.denied" and e["target"] == "app02.ssh" and e["way"] == "jump"
            for e in laptop.gateway.audit()
        )
    )


def test_no_client_gets_a_shell_a_command_or_files_of_the_gateway(laptop: Laptop) -> None:
    done = laptop.ssh("gw", "id")
    assert (done.returncode, done.stdout) == (127, b"")
    assert b"the gateway runs no commands: 'id'" in done.stderr
    assert laptop.ssh("-s", "gw", "sftp").returncode != 0
    copy = ["scp", "-F", laptop.config(), "gw:/etc/passwd", "/dev/null"]
    assert subprocess.run(copy, capture_output=True, timeout=BOUND_S).returncode != 0
    assert b"runs no commands" in laptop.ssh("gw", "scp -f /etc/passwd").stderr


def test_a_remote_forward_of_the_gateways_own_is_refused_and_the_login_stays(
    laptop: Laptop,
) -> None:
    done = laptop.ssh("-R", "0:127.0.0.1:1", "gw", "ls")
    assert b"remote port forwarding failed" in done.stderr
    assert b"app01.ssh" in done.stdout


def test_agent_and_X11_forwarding_to_the_gateway_give_nothing_and_the_login_stays(
    laptop: Laptop,
) -> None:
    done = laptop.ssh("-A", "-X", "gw", "ls")
    assert done.returncode == 0
    assert b"app01.ssh" in done.stdout


Attempt = Callable[[asyncssh.SSHClientConnection], Awaitable[bool]]


def _global(name: bytes, *parts: bytes) -> Attempt:
    async def attempt(conn: asyncssh.SSHClientConnection) -> bool:
        kind, _ = await conn._make_global_request(name, *parts)
        return bool(kind == asyncssh.constants.MSG_REQUEST_SUCCESS)

    return attempt


def _channel(kind: bytes, *parts: bytes) -> Attempt:
    async def attempt(conn: asyncssh.SSHClientConnection) -> bool:
        channel = conn.create_tcp_channel()
        try:
            await channel._open(kind, *parts)
        except asyncssh.ChannelOpenError:
            return False
        return True

    return attempt


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


UNUSUAL = {
    "tcpip-forward": _global(b"tcpip-forward", encode_string(b"127.0.0.1"), _number(0)),
    "a forward to be cancelled that is not there": _global(
        b"cancel-tcpip-forward", encode_string(b"127.0.0.1"), _number(22)
    ),
    "streamlocal-forward": _global(b"streamlocal-forward@openssh.com", encode_string(b"/tmp/x")),
    "a socket to be cancelled that is not there": _global(
        b"cancel-streamlocal-forward@openssh.com", encode_string(b"/tmp/x")
    ),
    "hostkeys-prove": _global(b"hostkeys-prove-00@openssh.com", encode_string(b"no key")),
    "an unknown global request": _global(b"make-me-root@example.com", encode_string(b"please")),
    "a Unix socket": _channel(
        b"direct-streamlocal@openssh.com",
        encode_string(b"/run/docker.sock"),
        encode_string(b""),
        _number(0),
    ),
    "a tunnel device": _channel(b"tun@openssh.com", _number(1), _number(0x7FFFFFFF)),
    "an X11 channel": _channel(b"x11", encode_string(b"127.0.0.1"), _number(6000)),
    "an agent channel": _channel(b"auth-agent@openssh.com"),
    "forwarded-tcpip": _channel(
        b"forwarded-tcpip", encode_string(b"a"), _number(1), encode_string(b"b"), _number(2)
    ),
    "an unknown channel": _channel(b"shell-on-gateway@example.com"),
}


@pytest.mark.parametrize("asked", UNUSUAL)
async def test_a_client_that_asks_for_something_unusual_is_refused_and_stays_connected(
    laptop: Laptop, asked: str
) -> None:
    async with asyncssh.connect(
        "127.0.0.1", laptop.port, username="dev", client_keys=[str(laptop.key)], known_hosts=None,
        config=None,
    ) as conn:  # fmt: skip
        assert not await asyncio.wait_for(UNUSUAL[asked](conn), 10)
        done = await asyncio.wait_for(conn.run("ls"), BOUND_S)
        assert "app01.ssh" in str(done.stdout)


def test_one_refused_channel_leaves_the_others_of_its_connection_alone(
    laptop: Laptop, sockets: object
) -> None:
    config = laptop.config(f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 30")
    try:
        assert laptop.ssh("gw", "ls", config=config).returncode == 0
        assert laptop.ssh("app02.ssh", "true", config=config).returncode != 0
        assert laptop.ssh("app01.ssh", "echo still here", config=config).stdout == b"still here\n"
    finally:
        laptop.ssh("-O", "exit", "app01.ssh", config=config)
        laptop.ssh("-O", "exit", "gw", config=config)
