"""Direct login through a whole gateway: what people have, as they would use it."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.admin import service as admin
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.units import DAY_S
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, EchoServer, local
from tests.fixtures.laptop import Laptop, open_laptop
from tests.fixtures.terminal import Console, console
from tests.ssh.editor import talk_to_editor
from tests.waiting import BOUND_S, wait_until

both_clients = pytest.mark.usefixtures("openssh")
"""Marks a test of what depends on the client."""
FORWARDS = frozenset({Permission.FORWARD, Permission.AGENT})
PERMITS = (
    ("everybody", "app01", frozenset({Permission.FORWARD})),
    ("user:dev", "*", frozenset({Permission.AGENT})),
)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    settings = SSH_TABLE + local("app01") + local("app02")
    with open_laptop(tmp_path_factory.mktemp("direct"), settings, permits=PERMITS) as one:
        yield one


def events(laptop: Laptop, kind: str) -> list[dict[str, object]]:
    return [event for event in laptop.gateway.audit() if event["kind"] == kind]


def inside(laptop: Laptop) -> list[dict[str, object]]:
    """Return the sessions that are open now."""
    found: list[dict[str, object]] = json.loads(laptop.gateway.look("session", "list", "--json"))
    return found


@both_clients
def test_an_app_is_entered_by_its_name_and_everything_is_written_down(laptop: Laptop) -> None:
    command = f"echo $((6*7)); exit 3 # {os.urandom(4).hex()}"
    done = laptop.ssh("app01@gw", command)
    assert (done.returncode, done.stdout) == (3, b"42\n")

    def closed() -> list[tuple[object, ...]]:
        return [
            (event["identity"], event["way"], fields["asked"], fields["exit"], fields["received"])
            for event in events(laptop, "channel.closed")
            if isinstance(fields := event["fields"], dict) and fields["what"] == command
        ]

    wait_until(closed)
    assert closed() == [("dev", "direct", "exec", 3, 3)]


def test_a_long_command_is_whole_in_the_audit_and_marked_as_cut_for_a_person(
    laptop: Laptop,
) -> None:
    """The part after its first 400 characters ran as well, and no reader could know."""
    mark = os.urandom(4).hex()
    command = f"true {mark} {'#' * 60_000}\necho evil"
    assert laptop.ssh("app01@gw", command).stdout == b"evil\n"

    def opened() -> list[str]:
        asked = [str(event["fields"]["what"]) for event in events(laptop, "channel.opened")]  # type: ignore[index]  # JSON
        return [what for what in asked if mark in what]

    wait_until(opened)
    assert opened() == [command.replace("\n", "\\n")]
    shown = laptop.gateway.command("audit").stdout
    (line,) = [text for text in shown.splitlines() if mark in text and "channel.opened" in text]
    assert len(line) < 1000
    assert "characters; --json prints them" in line


def test_an_environment_of_an_app_is_part_of_its_name(tmp_path: Path) -> None:
    settings = SSH_TABLE + local("app01", 'environment = "staging"\n')
    with open_laptop(tmp_path, settings, ()) as laptop:
        with laptop.gateway.changed() as service:
            admin.add_grant(service, "user:dev", "app01", environment_pattern="staging")
        assert laptop.ssh("app01.staging@gw", "echo in staging").stdout == b"in staging\n"
        other = laptop.ssh("app01@gw", "true")
        assert other.returncode == 255
        assert b"stagedoor: " in other.stderr


async def test_a_token_in_a_passwords_place_says_who_it_is(tmp_path: Path) -> None:
    with open_laptop(tmp_path, SSH_TABLE + "passwords = true\n" + local("app01")) as laptop:
        token = laptop.gateway.token()
        async with asyncssh.connect(
            "127.0.0.1", laptop.port, username="app01", password=token,
            known_hosts=None, config=None, client_keys=None, agent_path=None,
        ) as conn:  # fmt: skip
            assert (await conn.run("echo in", timeout=BOUND_S)).stdout == "in\n"
        for left_s, soon in ((DAY_S, True), (60 * DAY_S, False)):
            with laptop.gateway.changed() as service:
                token = admin.create_token(service, "dev", expires_at=time.time() + left_s).text
            async with asyncssh.connect(
                "127.0.0.1", laptop.port, username="dev", password=token,
                known_hosts=None, config=None, client_keys=None, agent_path=None,
            ) as conn:  # fmt: skip
                said = str((await conn.run("whoami", timeout=BOUND_S)).stdout)
            assert "when the token ends" in said
            assert ("soon: make another" in said) == soon
        with pytest.raises(asyncssh.PermissionDenied):
            # The name is the app's, so whose password would this be?
            await asyncssh.connect(
                "127.0.0.1", laptop.port, username="app01", password=PASSWORD,
                known_hosts=None, config=None, client_keys=None, agent_path=None,
            )  # fmt: skip


def test_the_shell_cannot_be_entered_without_a_grant_and_says_why(laptop: Laptop) -> None:
    done = laptop.ssh("app02@gw", "true")
    assert done.returncode == 255
    assert b"no grant for 'dev' to enter app02" in done.stderr


@both_clients
def test_a_forward_to_the_shells_loopback_works_where_it_is_granted(laptop: Laptop) -> None:
    with contextlib.closing(EchoServer()) as echo:
        done = laptop.ssh("-W", f"127.0.0.1:{echo.port}", "app01@gw", input=b"there and back")
        assert done.stdout == b"there and back"


@both_clients
def test_a_forward_out_of_the_shell_is_refused_by_name(laptop: Laptop) -> None:
    done = laptop.ssh("-W", "192.0.2.1:80", "app01@gw")
    assert done.returncode != 0
    assert b"own loopback only" in done.stderr


@contextlib.contextmanager
def agent(laptop: Laptop) -> Iterator[dict[str, str]]:
    """An agent that holds the developer's key."""
    path = Path("/tmp") / f"sd-agent-{os.getpid()}-{os.urandom(3).hex()}"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        add = ["ssh-add", "-q", laptop.key]
        wait_until(lambda: not subprocess.run(add, env=env, stderr=subprocess.DEVNULL).returncode)
        yield env
    finally:
        process.terminate()
        process.wait(BOUND_S)
        path.unlink(missing_ok=True)


def with_agent(
    laptop: Laptop, env: dict[str, str], *words: str
) -> "subprocess.CompletedProcess[bytes]":
    command = ["ssh", "-F", laptop.config(), "-o", "IdentityAgent SSH_AUTH_SOCK", *words]
    return subprocess.run(
        command, env=env, input=b"", capture_output=True, timeout=BOUND_S, check=False
    )


@both_clients
def test_an_agent_is_forwarded_where_it_is_granted(laptop: Laptop) -> None:
    with agent(laptop) as env:
        done = with_agent(laptop, env, "-A", "app01@gw", "ssh-add -l")
        assert b"ED25519" in done.stdout, done
        without = with_agent(laptop, env, "app01@gw", "echo [$SSH_AUTH_SOCK]")
        assert without.stdout == b"[]\n"


@both_clients
def test_an_agent_that_is_not_granted_stays_at_home_and_the_terminal_says_so(
    tmp_path: Path,
) -> None:
    settings = SSH_TABLE + local("app01")
    with open_laptop(tmp_path, settings) as laptop, agent(laptop) as env:
        done = with_agent(laptop, env, "-tt", "-A", "app01@gw", "echo [$SSH_AUTH_SOCK]")
        assert b"[]" in done.stdout
        assert b"agent forwarding into app01.ssh is not granted" in done.stdout + done.stderr
        refused = laptop.ssh("-W", "localhost:22", "app01@gw")
        assert b"port forwarding into app01.ssh is not granted" in refused.stderr


@contextlib.contextmanager
def terminal(laptop: Laptop, *words: str, env: dict[str, str] | None = None) -> Iterator[Console]:
    """Yield a terminal that is logged in, with a shell that answers."""
    with console(ssh_in_terminal(laptop, *(words or ("app01@gw",))), env=env) as one:
        one.type(b"echo ready-$((40+2))\n")
        one.shows(b"ready-42")
        yield one


def ssh_in_terminal(laptop: Laptop, *words: str) -> list[str]:
    return ["ssh", "-F", str(laptop.config()), "-tt", *words]


@both_clients
def test_a_session_that_is_closed_says_why_in_its_terminal(laptop: Laptop) -> None:
    wait_until(lambda: not inside(laptop))
    with terminal(laptop) as one:
        (session,) = inside(laptop)
        laptop.gateway.command("session", "close", str(session["id"]), "--reason", "lunch is ready")
        assert one.ends() == 255
        assert b"lunch is ready" in one.shown
    wait_until(lambda: not inside(laptop))


def test_a_grant_that_is_removed_ends_the_session_and_says_why(tmp_path: Path) -> None:
    with open_laptop(tmp_path, SSH_TABLE + local("app01")) as laptop, terminal(laptop) as one:
        (grant,) = json.loads(laptop.gateway.command("grant", "list", "--json").stdout)
        laptop.gateway.command("grant", "remove", str(grant["id"]))
        one.ends()
        assert b"no grant for 'dev' to enter app01" in one.shown


@both_clients
def test_one_who_sends_without_end_learns_why_as_well(tmp_path: Path) -> None:
    """A socket that is closed with bytes unread resets, and the client's next write fails before it reads."""
    with open_laptop(tmp_path, SSH_TABLE + local("app01")) as laptop:
        command = ["ssh", "-F", laptop.config(), "app01@gw", "echo in; cat >/dev/null"]
        with (
            Path("/dev/zero").open("rb") as zeros,
            subprocess.Popen(
                command, stdin=zeros, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process,
        ):
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"in\n"
            (grant,) = json.loads(laptop.gateway.look("grant", "list", "--json"))
            with laptop.gateway.service() as service:
                admin.remove_grant(service, grant["id"])
            said = process.stderr.read()
            assert process.wait(BOUND_S) == 255
        assert b"no grant for 'dev' to enter app01" in said


HOLDS_AGENT = (
    "import os, socket\n"
    "s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK'])\n"
    "s.sendall(bytes([0, 0, 0, 1, 11]))\n"  # SSH_AGENTC_REQUEST_IDENTITIES
    "print('agent-' + str(s.recv(5)[4]), flush=True)\n"
    "while s.recv(4096): pass\n"
    "print('agent-' + 'cut', flush=True)\n"
)


@both_clients
def test_forwards_that_are_not_granted_any_more_stop_and_the_terminal_goes_on(
    tmp_path: Path,
) -> None:
    """The shell keeps the agent and a port open, and asks for both again."""
    program = tmp_path / "holds.py"
    program.write_text(HOLDS_AGENT)
    settings = SSH_TABLE + local("app01")
    echo = EchoServer()
    with open_laptop(tmp_path / "gw", settings, ()) as laptop, agent(laptop) as env:
        with laptop.gateway.changed() as service:
            grant = admin.add_grant(service, "user:dev", "app01", permissions=DEFAULT | FORWARDS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        there = f"{port}:127.0.0.1:{echo.port}"
        words = ("-A", "-L", there, "-o", "IdentityAgent SSH_AUTH_SOCK", "app01@gw")
        with terminal(laptop, *words, env=env) as one:
            one.type(f"python3 {program} &\n".encode())
            one.shows(b"agent-12")  # SSH_AGENT_IDENTITIES_ANSWER
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.settimeout(BOUND_S)
                line.sendall(b"before")
                assert line.recv(6) == b"before"
                with laptop.gateway.changed() as service:
                    admin.change_grant(service, grant.id, without=FORWARDS)
                one.shows(b"port forwarding into app01.ssh is no longer granted")
                one.shows(b"agent forwarding into app01.ssh is no longer granted")
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(1) == b""
            one.shows(b"agent-cut")
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.settimeout(BOUND_S)
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(1) == b"", "it is not forwarded again"
            one.type(b"ssh-add -l; echo still-$((40+2))\n")
            one.shows(b"still-42")
            assert one.shown.count(b"ED25519") == 0
    echo.close()


def test_a_key_on_the_revocation_list_ends_its_login_as_revoked_and_says_why(
    tmp_path: Path,
) -> None:
    revoked = tmp_path / "revoked"
    revoked.write_text("# nothing yet\n")
    settings = SSH_TABLE + f'revoked_keys_file = "{revoked}"\n' + local("app01")
    with open_laptop(tmp_path / "gw", settings) as laptop, terminal(laptop) as one:
        revoked.write_text(laptop.key.with_name("id.pub").read_text())
        assert one.ends() == 255
        assert b"was revoked" in one.shown
        wait_until(lambda: laptop.gateway.sessions())
        (line,) = laptop.gateway.sessions()
        assert line["outcome"] == "revoked"
        assert "was revoked" in str(line["detail"])


@both_clients
def test_an_editor_finds_what_its_command_started_by_a_forward_and_by_SOCKS(laptop: Laptop) -> None:
    for option in ("-D", "-L"):
        assert talk_to_editor(laptop, option, "app01@gw") == b"hello from the editor's server"


def test_a_gateway_that_stops_warns_the_terminals_and_then_ends_them(tmp_path: Path) -> None:
    settings = SSH_TABLE + local("app01") + "[workers]\ndrain_timeout_s = 2\n"
    with open_laptop(tmp_path, settings) as laptop, terminal(laptop) as one:
        assert laptop.gateway.process
        laptop.gateway.process.terminate()
        one.shows(b"the gateway is stopping")
        assert one.ends() == 255


@both_clients
def test_a_client_that_vanishes_leaves_no_session(laptop: Laptop) -> None:
    with terminal(laptop) as one:
        one.process.kill()
    wait_until(lambda: not inside(laptop))
