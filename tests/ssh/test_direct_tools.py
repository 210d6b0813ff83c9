"""Direct login for tools that know no jump: paramiko and Dropbear's client stand in for them."""

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import paramiko
import pytest

from stagedoor.admin import service as admin
from stagedoor.model.permission import Permission
from tests.fixtures.gateway import SSH_TABLE, EchoServer, local
from tests.fixtures.laptop import Laptop, open_laptop
from tests.ports import free_port
from tests.waiting import BOUND_S

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    settings = SSH_TABLE + local("app01")
    permits = (("everybody", "*", frozenset({Permission.FORWARD})),)
    with open_laptop(tmp_path_factory.mktemp("tools"), settings, permits=permits) as one:
        yield one


@pytest.fixture
def client(laptop: Laptop) -> Iterator[paramiko.SSHClient]:
    one = paramiko.SSHClient()
    one.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    one.connect(
        "127.0.0.1",
        laptop.port,
        "app01",
        pkey=paramiko.Ed25519Key(filename=str(laptop.key)),
        allow_agent=False,
        look_for_keys=False,
        timeout=BOUND_S,
        banner_timeout=BOUND_S,
        auth_timeout=BOUND_S,
    )
    yield one
    one.close()


def test_paramiko_runs_a_command_with_input_output_and_status(client: paramiko.SSHClient) -> None:
    stdin, stdout, stderr = client.exec_command("tr a-z A-Z; echo no >&2; exit 6", timeout=BOUND_S)
    stdin.write(b"shout")
    stdin.channel.shutdown_write()
    assert (stdout.read(), stderr.read()) == (b"SHOUT", b"no\n")
    assert stdout.channel.recv_exit_status() == 6


def test_paramiko_works_in_a_terminal_and_resizes_it(client: paramiko.SSHClient) -> None:
    channel = client.invoke_shell("xterm", 100, 30)
    channel.settimeout(BOUND_S)
    channel.resize_pty(120, 40)
    channel.sendall(b"stty size; echo $TERM; exit 2\n")
    shown = b""
    while piece := channel.recv(4096):
        shown += piece
    assert b"40 120" in shown
    assert b"xterm" in shown
    assert channel.recv_exit_status() == 2


def test_paramiko_moves_files_by_sftp(client: paramiko.SSHClient, tmp_path: Path) -> None:
    sent = os.urandom(3 * MIB)
    (tmp_path / "here").write_bytes(sent)
    with client.open_sftp() as sftp:
        sftp.put(str(tmp_path / "here"), str(tmp_path / "there"))
        sftp.rename(str(tmp_path / "there"), str(tmp_path / "moved"))
        assert sorted(sftp.listdir(str(tmp_path))) == ["here", "moved"]
        sftp.get(str(tmp_path / "moved"), str(tmp_path / "back"))
        sftp.remove(str(tmp_path / "moved"))
    assert (tmp_path / "back").read_bytes() == sent


def test_paramiko_forwards_a_port_to_the_shells_loopback(client: paramiko.SSHClient) -> None:
    with closing(EchoServer()) as echo:
        transport = client.get_transport()
        assert transport
        channel = transport.open_channel(
            "direct-tcpip", ("127.0.0.1", echo.port), ("127.0.0.1", 1), timeout=BOUND_S
        )
        channel.settimeout(BOUND_S)
        channel.sendall(b"there")
        channel.shutdown_write()
        got = b""
        while piece := channel.recv(100):
            got += piece
        assert got == b"there"


def test_paramiko_is_refused_what_is_unusual_and_stays_connected(
    client: paramiko.SSHClient,
) -> None:
    transport = client.get_transport()
    assert transport
    for kind in ("x11", "tun@openssh.com", "direct-streamlocal@openssh.com", "unheard-of"):
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel(kind, ("127.0.0.1", 1), ("127.0.0.1", 1), timeout=BOUND_S)
    with pytest.raises(paramiko.SSHException):
        transport.request_port_forward("127.0.0.1", 0)
    channel = transport.open_session(timeout=BOUND_S)
    with pytest.raises(paramiko.SSHException):
        channel.request_x11()
    channel = transport.open_session(timeout=BOUND_S)
    # Only the shell knows what it has, so its refusal comes as words and a status.
    channel.invoke_subsystem("netconf")
    assert channel.recv_exit_status() == 255
    assert b"refused this subsystem netconf" in channel.recv_stderr(1000)
    _, stdout, _ = client.exec_command("echo still here", timeout=BOUND_S)
    assert stdout.read() == b"still here\n"


def test_a_slow_reader_of_one_channel_holds_up_no_other(client: paramiko.SSHClient) -> None:
    _, slow, _ = client.exec_command("head -c 16M /dev/zero | sha256sum; head -c 16M /dev/zero")
    _, quick, _ = client.exec_command("echo quick", timeout=BOUND_S)
    assert quick.read() == b"quick\n"
    _, quick, _ = client.exec_command("head -c 4M /dev/zero | wc -c; head -c 4M /dev/zero")
    quick.channel.settimeout(BOUND_S)
    assert len(quick.read()) == 4 * MIB + 8
    slow.channel.settimeout(BOUND_S)
    digest = slow.readline().split()[0]
    assert digest == hashlib.sha256(bytes(16 * MIB)).hexdigest()
    assert len(slow.read()) == 16 * MIB


def test_what_a_reader_does_not_take_waits_in_the_shell_and_not_in_the_gateway(
    laptop: Laptop, client: paramiko.SSHClient
) -> None:
    assert laptop.gateway.process
    before = rss(laptop)
    channels = []
    for _ in range(5):
        _, stdout, _ = client.exec_command("exec head -c 400M /dev/zero")
        channels.append(stdout)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        time.sleep(0.1)
        assert rss(laptop) - before < 100 * MIB
    for stdout in channels:
        stdout.channel.close()


def rss(laptop: Laptop) -> int:
    """Bytes that the gateway's processes hold."""
    assert laptop.gateway.process
    root = laptop.gateway.process.pid
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    total = 0
    for pid in children:
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return total


@pytest.fixture(scope="module")
def dropbear_key(laptop: Laptop) -> Path:
    if shutil.which("dbclient") is None:
        pytest.skip("dbclient is missing; apt install dropbear-bin")
    path = laptop.folder / "dropbear"
    made = ["dropbearkey", "-t", "ed25519", "-f", path]
    subprocess.run(made, check=True, capture_output=True)
    shown = subprocess.run(["dropbearkey", "-y", "-f", path], check=True, capture_output=True)
    line = next(x for x in shown.stdout.decode().splitlines() if x.startswith("ssh-"))
    with laptop.gateway.changed() as service:
        admin.add_keys(service, "dev", [line])
    return path


def dbclient(
    laptop: Laptop, key: Path, *words: str, input: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    command = ["dbclient", "-y", "-y", "-p", str(laptop.port), "-i", str(key), *words]
    return subprocess.run(command, input=input, capture_output=True, timeout=BOUND_S, check=False)


def test_dropbears_client_runs_a_command(laptop: Laptop, dropbear_key: Path) -> None:
    done = dbclient(laptop, dropbear_key, "app01@127.0.0.1", "cat; exit 5", input=b"in")
    assert (done.returncode, done.stdout) == (5, b"in"), done.stderr


def test_dropbears_client_works_in_a_terminal(laptop: Laptop, dropbear_key: Path) -> None:
    command = ["dbclient", "-y", "-y", "-p", str(laptop.port), "-i", str(dropbear_key), "-t"]
    command += ["app01@127.0.0.1", "tty; echo $((6*7))-yes"]
    done = subprocess.run(
        ["script", "-qec", shlex.join(command), "/dev/null"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=BOUND_S,
        check=False,
    )
    assert b"42-yes" in done.stdout
    assert b"/dev/pts/" in done.stdout


def test_dropbears_client_forwards_a_port(laptop: Laptop, dropbear_key: Path) -> None:
    echo = EchoServer()
    port = free_port()
    forward = f"127.0.0.1:{port}:127.0.0.1:{echo.port}"
    command = ["dbclient", "-y", "-y", "-N", "-p", str(laptop.port), "-i", str(dropbear_key)]
    process = subprocess.Popen([*command, "-L", forward, "app01@127.0.0.1"])
    try:
        deadline = time.monotonic() + BOUND_S
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", port), BOUND_S)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with sock:
            sock.sendall(b"there")
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while piece := sock.recv(100):
                got += piece
        assert got == b"there"
    finally:
        process.terminate()
        process.wait(BOUND_S)
        echo.close()


def test_curl_reads_and_writes_a_file(laptop: Laptop, tmp_path: Path) -> None:
    """Debian 12's libssh2 1.10 has neither AES-GCM nor a MAC of what is encrypted."""
    curl = ["curl", "-sS", "--insecure", "--key", str(laptop.key), "--pubkey", f"{laptop.key}.pub"]
    if b"sftp" not in subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout:
        pytest.skip("this curl knows no sftp")
    sent = os.urandom(300_000)
    (tmp_path / "here").write_bytes(sent)
    url = f"sftp://app01@127.0.0.1:{laptop.port}{tmp_path}"
    for words in (
        ["-T", str(tmp_path / "here"), f"{url}/there"],
        ["-o", str(tmp_path / "back"), f"{url}/there"],
    ):
        done = subprocess.run([*curl, *words], capture_output=True, timeout=BOUND_S, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == sent


def test_five_at_once_log_in_and_out_without_a_trace(laptop: Laptop) -> None:
    def one() -> None:
        for _ in range(4):
            done = laptop.ssh("app01@gw", "exit 3", config=config)
            ended.append((done.returncode, done.stderr))

    config = laptop.config()  # once: each time it writes the file of known hosts again
    ended: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said for code, said in ended if code != 3] == []
    assert len(ended) == 20
