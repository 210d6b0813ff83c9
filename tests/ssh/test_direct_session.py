"""Direct login with stock OpenSSH as the developer's end and a real local shell as the other."""

import asyncio
import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.model.event import EventKind
from stagedoor.model.session import AccessMethod, EndReason
from stagedoor.wire.ssh.blob import encode_string
from tests.shells.host import ShellHost
from tests.ssh.direct_gateway import Client, DirectGateway, direct_gateway, ok

pytestmark = pytest.mark.usefixtures("openssh")
TO = "app01@gw"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectGateway]:
    host = ShellHost(tmp_path_factory.mktemp("host"))
    with direct_gateway(host) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: DirectGateway) -> Client:
    return Client.of(gateway, "SendEnv LC_STAGE LANG SECRET")


def test_a_command_runs_and_its_exit_code_comes_back(client: Client) -> None:
    done = client.ssh(TO, "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_command_that_a_signal_ended_says_so(client: Client) -> None:
    done = client.ssh("-v", TO, "kill -TERM $$")
    assert done.returncode == 255
    assert b"exit-signal" in done.stderr


def test_a_shell_without_a_terminal_reads_its_input(client: Client) -> None:
    assert client.ssh("-T", TO, input=b"exit 3\n").returncode == 3


def test_the_end_of_input_reaches_the_command_while_it_still_answers(client: Client) -> None:
    done = client.ssh(TO, "cat; sleep 0.1; echo after", input=b"in\n")
    assert ok(done) == b"in\nafter\n"


def test_the_end_of_output_reaches_the_client_while_it_still_sends(client: Client) -> None:
    # The shell closes its output at once; what is sent afterwards still arrives.
    command = 'exec 1>&-; exec 2>&-; sha256sum > "$HOME_DIR"/sum'
    folder = client.config.parent
    done = client.ssh(TO, command.replace('"$HOME_DIR"', str(folder)), input=b"x" * MIB)
    ok(done)
    expected = hashlib.sha256(b"x" * MIB).hexdigest()
    assert (folder / "sum").read_text().split()[0] == expected


def test_bulk_goes_each_way_unchanged(client: Client) -> None:
    sent = os.urandom(MIB) * 16
    done = client.ssh(TO, "cat", input=sent)
    assert hashlib.sha256(ok(done)).digest() == hashlib.sha256(sent).digest()


def test_a_terminal_has_the_size_and_modes_that_the_client_asked_for(client: Client) -> None:
    script = (
        f"stty rows 43 cols 132 -echo ixoff; ssh -F {client.config} -tt {TO} "
        "'stty -a; tty; echo $TERM'"
    )
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"],
        capture_output=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    text = done.stdout.decode()
    assert "rows 43; columns 132" in text
    assert " ixoff" in text
    assert "-echo " in text
    assert "/dev/pts/" in text
    assert "xterm-256color" in text


def test_only_allowed_variables_reach_the_shell(client: Client) -> None:
    env = {"LC_STAGE": "left", "LANG": "C", "SECRET": "no"}
    done = client.ssh(TO, "echo ${LC_STAGE-none} ${SECRET-none}", env=env)
    assert ok(done) == b"left none\n"


def test_channels_of_one_connection_share_one_session(
    gateway: DirectGateway, client: Client, tmp_path: Path
) -> None:
    before = len(gateway.seen.opened)
    control = ["-S", str(tmp_path / "control")]
    ok(client.run("ssh", "-F", client.config, *control, "-M", "-f", "-N", TO))
    try:
        running = [
            subprocess.Popen(
                ["ssh", "-F", client.config, *control, TO, f"head -c {MIB} /dev/zero; exit {n}"],
                stdout=subprocess.PIPE,
            )
            for n in range(8)
        ]
        for n, one in enumerate(running):
            out, _ = one.communicate(timeout=60)
            assert (one.returncode, len(out)) == (n, MIB)
    finally:
        client.run("ssh", "-F", client.config, *control, "-O", "exit", TO)
    assert len(gateway.seen.opened) == before + 1
    opened = gateway.seen.opened[-1]
    assert opened.access_method is AccessMethod.DIRECT
    assert opened.ready.grant.identity.name == "dev"
    _, ended = gateway.seen.wait(
        lambda: next((pair for pair in gateway.seen.ended if pair[0] is opened), None)
    )
    assert ended.end is EndReason.CLOSED
    assert ended.counts.received >= 8 * MIB


def test_what_ran_is_written_down_with_its_bytes_and_exit_code(
    gateway: DirectGateway, client: Client
) -> None:
    client.ssh(TO, "wc -c; exit 5", input=b"12345")
    opened = [f for f in gateway.seen.of(EventKind.CHANNEL_OPENED) if f["what"] == "wc -c; exit 5"]
    assert opened[0]["asked"] == "exec"

    def closed() -> object:
        closes = [
            fields for _, kind, fields in gateway.seen.notes if kind is EventKind.CHANNEL_CLOSED
        ]
        return next((event for event in closes if event["what"] == "wc -c; exit 5"), None)

    event = gateway.seen.wait(closed)
    assert (event["exit"], event["sent"], event["received"]) == (5, 5, 2)


@pytest.mark.parametrize("options", [["-O"], []], ids=["scp", "sftp"])
def test_files_are_copied_both_ways(client: Client, tmp_path: Path, options: list[str]) -> None:
    here, there, back = tmp_path / "here", tmp_path / "there file", tmp_path / "back"
    here.write_bytes(os.urandom(3 * MIB + 17))
    remote = (
        f"app01@gw:{there}" if not options else f"app01@gw:{str(there).replace(' ', chr(92) + ' ')}"
    )
    ok(client.run("scp", *options, "-F", client.config, here, remote))
    ok(client.run("scp", *options, "-F", client.config, remote, back))
    assert back.read_bytes() == here.read_bytes()


def test_file_names_of_the_old_scp_are_written_down(
    gateway: DirectGateway, client: Client, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "a b").write_bytes(b"x" * 70_000)
    (tree / "empty").write_bytes(b"")
    ok(client.run("scp", "-O", "-r", "-F", client.config, tree, f"app01@gw:{tmp_path}/copy"))
    ok(client.run("scp", "-O", "-F", client.config, f"app01@gw:{tmp_path}/copy/empty", tmp_path))
    back = f"app01@gw:{tmp_path}/copy/sub/a\\ b"
    ok(client.run("scp", "-O", "-F", client.config, back, tmp_path / "back"))

    def seen() -> set[tuple[object, ...]]:
        return {
            (f["path"], f["sent"], f["received"], f["whole"])
            for _, kind, f in gateway.seen.notes
            if kind is EventKind.CHANNEL_FILE
        }

    expected = {
        ("tree/sub/a b", 70_000, 0, True),
        ("tree/empty", 0, 0, True),
        ("empty", 0, 0, True),
        ("a b", 0, 70_000, True),
    }
    gateway.seen.wait(lambda: expected <= seen())


def test_sftp_lists_and_removes(client: Client, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    done = client.run(
        "sftp", "-F", client.config, "-b", "-", TO, input=f"cd {tmp_path}\nls\nrm one\n".encode()
    )
    assert b"one" in ok(done)
    assert not (tmp_path / "one").exists()


def test_rsync_and_git_work_as_over_any_ssh(client: Client, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(os.urandom(MIB))
    ssh = f"ssh -F {client.config}"
    ok(client.run("rsync", "-a", "-e", ssh, f"{tree}/", f"{TO}:{tmp_path}/copy/"))
    ok(client.run("rsync", "-a", "-e", ssh, f"{TO}:{tmp_path}/copy/", f"{tmp_path}/back/"))
    assert (tmp_path / "back/sub/file").read_bytes() == (tree / "sub/file").read_bytes()
    git = {"GIT_SSH_COMMAND": ssh, "GIT_CONFIG_GLOBAL": "/dev/null"}
    ok(client.run("git", "init", "-q", "--bare", tmp_path / "bare"))
    ok(client.run("git", "init", "-q", tree))
    ok(client.run("git", "-C", tree, "add", "."))
    who = ["-c", "user.name=dev", "-c", "user.email=dev@example.net"]
    ok(client.run("git", "-C", tree, *who, "commit", "-qm", "first"))
    push = ["push", "-q", f"ssh://{TO}{tmp_path}/bare", "HEAD:refs/heads/main"]
    ok(client.run("git", "-C", tree, *push, env=git))
    clone = ["clone", "-q", "-b", "main", f"ssh://{TO}{tmp_path}/bare", tmp_path / "clone"]
    ok(client.run("git", *clone, env=git))
    assert (tmp_path / "clone/sub/file").read_bytes() == (tree / "sub/file").read_bytes()


class _Sftp(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.answered.set()


def test_what_comes_before_the_shell_is_reached_is_seen_as_well(
    gateway: DirectGateway, tmp_path: Path
) -> None:
    """Half a packet at the start went unseen, and nothing after it was understood."""
    path = str(tmp_path / "made-early").encode()
    init = encode_string(bytes([1]) + struct.pack(">I", 3))
    mkdir = encode_string(
        bytes([14]) + struct.pack(">I", 1) + encode_string(path) + struct.pack(">I", 0)
    )

    async def make() -> None:
        async with asyncssh.connect(
            "127.0.0.1",
            gateway.port,
            username="app01",
            client_keys=[str(gateway.host.folder / "id")],
            known_hosts=None,
            config=None,
        ) as connection:
            channel, session = await connection.create_session(
                _Sftp, subsystem="sftp", encoding=None
            )
            channel.write(init + mkdir[:6])
            await session.answered.wait()
            session.answered.clear()
            channel.write(mkdir[6:])
            await session.answered.wait()

    asyncio.run(asyncio.wait_for(make(), 60))
    assert Path(path.decode()).is_dir()
    events = gateway.seen.wait(
        lambda: [
            f
            for _, kind, f in gateway.seen.notes
            if kind is EventKind.CHANNEL_FILE and f["path"] == path.decode()
        ]
    )
    assert events[0]["did"] == "mkdir"
