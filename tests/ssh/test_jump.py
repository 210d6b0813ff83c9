"""The uses that developers make of the jump host, with the OpenSSH that they have."""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.ports import free_port
from tests.ssh.editor import talk_to_editor
from tests.stopped import killed
from tests.waiting import BOUND_S, wait_until

pytestmark = pytest.mark.usefixtures("openssh")


def test_ssh_J_runs_a_command_in_the_shell_and_gives_its_exit_status(laptop: Laptop) -> None:
    done = laptop.ssh("-J", "gw", "app01.ssh", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_ssh_v_says_how_far_the_start_of_a_shell_has_come(tmp_path: Path) -> None:
    with open_laptop(tmp_path, SSH_TABLE + local("app01")) as laptop:
        started = laptop.ssh("-v", "-J", "gw", "app01.ssh", "true")
        assert b"Remote: stagedoor: starting the process" in started.stderr
        again = laptop.ssh("-v", "-J", "gw", "app01.ssh", "true")
        assert b"Remote: stagedoor" not in again.stderr


def test_both_spellings_of_an_app_lead_to_its_shell(laptop: Laptop) -> None:
    assert laptop.ssh("app01-ssh", "echo here").stdout == b"here\n"
    assert laptop.ssh("APP01.ssh", "echo here").stdout == b"here\n"


def test_the_proxy_command_with_W_that_people_have_in_their_config_works(laptop: Laptop) -> None:
    config = laptop.config("ProxyJump none")
    proxy = f"ProxyCommand=ssh -q -F {config} -W %h:%p gw"
    done = laptop.ssh("-o", proxy, "app01.ssh", "echo hello", config=config)
    assert (done.stdout, done.returncode) == (b"hello\n", 0)


def test_what_goes_in_comes_out_again_and_each_way_ends_by_itself(laptop: Laptop) -> None:
    sent = os.urandom(8 << 20)
    done = laptop.ssh("-W", "echo.ssh:22", "gw", input=sent)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()
    assert done.returncode == 0


def test_the_session_is_in_the_audit_with_identity_key_target_and_bytes(laptop: Laptop) -> None:
    before = len(laptop.gateway.lines)
    size = 1000 + int.from_bytes(os.urandom(2))  # by which it is known among those that end late
    laptop.ssh("-W", "echo.ssh:22", "gw", input=b"x" * size, check=True)
    line = laptop.gateway.wait_for(lambda line: line.get("sent") == size, after=before)
    assert (line["way"], line["identity"], line["method"]) == ("jump", "dev", "publickey")
    assert (line["target"], line["outcome"], line["received"]) == ("echo.ssh", "closed", size)
    assert line["credential"].startswith("SHA256:")

    def kinds() -> set[str]:
        return {e["kind"] for e in laptop.gateway.audit() if e.get("session") == line["session"]}

    wait_until(lambda: kinds() == {"session.opened", "session.closed"})


@contextlib.contextmanager
def held(laptop: Laptop, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """An ssh that stays, once it is through."""
    command = ["ssh", "-F", laptop.config(), *words, "echo ready; cat"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with killed(process):
        assert process.stdout is not None
        assert (said := process.stdout.readline()) == b"ready\n", (said, process.poll())
        yield process


def said_back(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(100), b""))


def test_local_and_remote_forwards_ride_inside_the_jump(laptop: Laptop, echo: EchoServer) -> None:
    near, far = free_port(), free_port()
    forwards = ["-L", f"{near}:127.0.0.1:{echo.port}", "-R", f"{far}:127.0.0.1:{echo.port}"]
    with held(laptop, *forwards, "app01.ssh"):
        assert said_back(near) == b"hello"
        assert said_back(far) == b"hello"


@pytest.mark.parametrize("option", ["-D", "-L"])
def test_an_editor_finds_what_its_command_started_by_a_forward_and_by_SOCKS(
    laptop: Laptop, option: str
) -> None:
    assert talk_to_editor(laptop, option, "app01.ssh") == b"hello from the editor's server"


def has_fuse() -> bool:
    return shutil.which("sshfs") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)


@pytest.mark.skipif(not has_fuse(), reason="sshfs or /dev/fuse is missing")
@pytest.mark.parametrize("way", ["ProxyJump", "ssh_command"])
def test_a_folder_of_the_shell_is_mounted_by_sshfs(
    laptop: Laptop, tmp_path: Path, way: str
) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    (far / "there").write_bytes(os.urandom(1 << 20))
    config = laptop.config()
    options = {
        "ProxyJump": ["-F", str(config), "-o", "ProxyJump=gw"],
        "ssh_command": ["-o", f"ssh_command=ssh -F {config} -J gw"],
    }
    mounting = subprocess.Popen(
        ["sshfs", "-f", *options[way], f"app01.ssh:{far}", near], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: mounting.poll() is not None or os.path.ismount(near))
        assert (near / "there").read_bytes() == (far / "there").read_bytes()
        (near / "here").write_bytes(b"from the laptop" * 10_000)
        (near / "here").rename(near / "moved")
        assert (far / "moved").read_bytes() == b"from the laptop" * 10_000
        (near / "moved").unlink()
        assert [path.name for path in far.iterdir()] == ["there"]
    finally:
        subprocess.run(["fusermount3", "-u", near], check=False)
        mounting.wait(BOUND_S)
        assert mounting.stderr is not None
        mounting.stderr.close()


def opened(laptop: Laptop) -> int:
    """Return how many sessions there have been."""
    return sum(event["kind"] == "session.opened" for event in laptop.gateway.audit())


def test_a_control_master_on_both_hops_carries_many_logins(laptop: Laptop, sockets: Path) -> None:
    config = laptop.config(f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 60")
    before = opened(laptop)
    try:
        for _ in range(3):
            assert laptop.ssh("app01.ssh", "echo hello", config=config).stdout == b"hello\n"
        assert laptop.ssh("gw", "ls", config=config).stdout.startswith(b"app01.ssh")
        assert opened(laptop) == before + 1
    finally:
        laptop.ssh("-O", "exit", "app01.ssh", config=config)
        laptop.ssh("-O", "exit", "gw", config=config)


def test_two_gateways_in_a_row_lead_to_the_second_ones_app(
    laptop: Laptop, tmp_path: Path, echo: EchoServer
) -> None:
    settings = SSH_TABLE + static("inner", laptop.port)
    with open_laptop(tmp_path / "outer", settings, ("inner",)) as outer:
        config = outer.config()
        known = (outer.folder / "known_hosts").read_text()
        inner_ca = (laptop.gateway.data_dir / "keys" / "host_ca.pub").read_text()
        (outer.folder / "known_hosts").write_text(known + f"@cert-authority * {inner_ca}")
        text = config.read_text()
        config.write_text(
            f"Host inner.ssh\n  User dev\n  HostKeyAlias 127.0.0.1\n  IdentityFile {laptop.key}\n"
            f"Host app01.ssh\n  ProxyJump gw,inner.ssh\n  IdentityFile {laptop.key}\n{text}"
        )
        done = subprocess.run(
            ["ssh", "-F", config, "app01.ssh", "echo through two"],
            capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.stdout == b"through two\n", done.stderr.decode()


def test_a_hundred_channels_on_one_connection_each_keep_their_own_bytes(
    laptop: Laptop, sockets: Path
) -> None:
    config = laptop.config(f"ControlPath {sockets}/%C")
    master = subprocess.Popen(["ssh", "-F", config, "-M", "-N", "gw"])
    wait_until(lambda: laptop.ssh("-O", "check", "gw", config=config).returncode == 0)
    with killed(master):  # a SIGTERM it may mind only with the next packet
        forwards = [free_port() for _ in range(100)]
        ports = set(forwards)
        for port in ports:
            laptop.ssh(
                "-O", "forward", "-L", f"{port}:echo.ssh:22", "gw", config=config, check=True
            )
        results: dict[int, bytes | OSError] = {}
        gate = threading.Barrier(len(ports))

        def said(port: int) -> bytes:
            return hashlib.sha256(str(port).encode()).digest() * 2000

        def talk(port: int) -> None:
            try:
                with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
                    gate.wait(BOUND_S)
                    sock.sendall(said(port))
                    sock.shutdown(socket.SHUT_WR)
                    results[port] = b"".join(iter(lambda: sock.recv(65536), b""))
            except OSError as error:
                results[port] = error

        threads = [threading.Thread(target=talk, args=(port,)) for port in ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        other = [
            (len(answer), answer[:80]) if isinstance(answer, bytes) else answer
            for port in ports
            if (answer := results.get(port, b"")) != said(port)
        ]
        if other:
            ends = [
                event["fields"]
                for event in laptop.gateway.audit()
                if event["kind"] == "session.closed" and event["reason"] != "closed"
            ]
            pytest.fail(f"{other}; the audit: {ends}")


def test_the_config_that_is_written_for_a_jump_needs_no_other_program_and_no_question(
    laptop: Laptop, tmp_path: Path
) -> None:
    authority = str(laptop.gateway.data_dir / "keys" / "host_ca.pub")
    laptop.gateway.command(
        "ssh-config", "--jump", f"127.0.0.1:{laptop.port}", "--user", "dev", "--host-ca", authority,
        "--directory", str(tmp_path / "written"),
    )  # fmt: skip
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/written/config\nHost *\n  IdentityFile {laptop.key}\n"
        "  IdentitiesOnly yes\n  BatchMode yes\n"
    )
    assert laptop.ssh("app01.ssh", "echo hello", config=config).stdout == b"hello\n"
    listed = laptop.ssh("stagedoor-gateway", "ls", config=config).stdout.decode()
    assert listed.startswith("app01.ssh")
    # What it prints is typed as it is.
    ssh, *words = shlex.split(listed.splitlines()[0])[2:]
    assert ssh == "ssh"
    typed = laptop.ssh(*words, "echo typed", config=config)
    assert typed.stdout == b"typed\n", typed.stderr


def test_a_jump_under_a_wrong_user_name_is_refused_with_the_right_one(laptop: Laptop) -> None:
    done = laptop.ssh("-W", "app01.ssh:22", "gw", config=laptop.config(user="laptop-account"))
    assert b"administratively prohibited" in done.stderr
    assert b"dev" in done.stderr


def test_the_page_greets_and_gives_the_exact_commands_also_in_a_terminal(laptop: Laptop) -> None:
    done = laptop.ssh("-tt", "gw")
    assert done.returncode == 0
    assert b"Hello dev. The apps that you may enter:\r\n" in done.stdout
    assert f"ssh -J dev@127.0.0.1:{laptop.port} app01.ssh\r\n".encode() in done.stdout
    assert b"app02" not in done.stdout
    apps = json.loads(laptop.ssh("gw", "ls --json").stdout)["apps"]
    assert [app["host"] for app in apps] == ["app01.ssh", "closed.ssh", "echo.ssh"]
    assert {"app", "environment", "host", "state", "expires_at", "notice", "command"} == apps[
        0
    ].keys()
