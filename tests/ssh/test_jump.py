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

from tests.ports import free_port
from tests.ssh.editor import talk_to_editor
from tests.ssh.world import (
    BOUND_S,
    SSH_TABLE,
    Echo,
    World,
    local,
    open_world,
    static,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("openssh")


def test_ssh_J_runs_a_command_in_the_shell_and_gives_its_exit_status(world: World) -> None:
    done = world.ssh("-J", "gw", "app01.ssh", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_ssh_v_says_how_far_the_start_of_a_shell_has_come(tmp_path: Path) -> None:
    with open_world(tmp_path, SSH_TABLE + local("app01")) as world:
        started = world.ssh("-v", "-J", "gw", "app01.ssh", "true")
        assert b"Remote: stagedoor: starting the process" in started.stderr
        again = world.ssh("-v", "-J", "gw", "app01.ssh", "true")
        assert b"Remote: stagedoor" not in again.stderr


def test_both_spellings_of_an_app_lead_to_its_shell(world: World) -> None:
    assert world.ssh("app01-ssh", "echo here").stdout == b"here\n"
    assert world.ssh("APP01.ssh", "echo here").stdout == b"here\n"


def test_the_proxy_command_with_W_that_people_have_in_their_config_works(world: World) -> None:
    config = world.config("ProxyJump none")
    proxy = f"ProxyCommand=ssh -q -F {config} -W %h:%p gw"
    done = world.ssh("-o", proxy, "app01.ssh", "echo hello", config=config)
    assert (done.stdout, done.returncode) == (b"hello\n", 0)


def test_what_goes_in_comes_out_again_and_each_way_ends_by_itself(world: World) -> None:
    sent = os.urandom(8 << 20)
    done = world.ssh("-W", "echo.ssh:22", "gw", input=sent)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()
    assert done.returncode == 0


def test_the_session_is_in_the_audit_with_identity_key_target_and_bytes(world: World) -> None:
    before = len(world.gateway.lines)
    size = 1000 + int.from_bytes(os.urandom(2))  # by which it is known among those that end late
    world.ssh("-W", "echo.ssh:22", "gw", input=b"x" * size, check=True)
    line = world.gateway.wait_for(lambda line: line.get("sent") == size, after=before)
    assert (line["way"], line["identity"], line["method"]) == ("jump", "dev", "publickey")
    assert (line["target"], line["outcome"], line["received"]) == ("echo.ssh", "closed", size)
    assert line["credential"].startswith("SHA256:")

    def kinds() -> set[str]:
        return {e["kind"] for e in world.gateway.audit() if e.get("session") == line["session"]}

    wait_until(lambda: kinds() == {"session.opened", "session.closed"})


def test_scp_sftp_and_rsync_carry_files_both_ways(world: World, tmp_path: Path) -> None:
    config = world.config()
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(3 << 20))
    there, back = tmp_path / "there", tmp_path / "back"
    words: list[list[str]] = [
        ["scp", "-q", "-F", str(config), str(sent), f"app01.ssh:{there}"],
        ["scp", "-q", "-O", "-F", str(config), f"app01.ssh:{there}", str(back)],
        ["rsync", "-e", f"ssh -F {config} -J gw", str(sent), f"app01.ssh:{tmp_path}/synced"],
    ]
    for command in words:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    batch = f"put {sent} {tmp_path}/put\nget {tmp_path}/put {tmp_path}/got\n"
    subprocess.run(
        ["sftp", "-q", "-b", "-", "-F", str(config), "app01.ssh"],
        input=batch.encode(), check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for name in ("there", "back", "synced", "put", "got"):
        assert (tmp_path / name).read_bytes() == sent.read_bytes(), name


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_clones_through_the_jump(world: World, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "repo.git"], check=True)
    env = os.environ | {"GIT_SSH_COMMAND": f"ssh -F {world.config()}"}
    clone = ["git", "clone", "-q", f"app01.ssh:{tmp_path}/repo.git", tmp_path / "clone"]
    subprocess.run(clone, check=True, env=env, capture_output=True, timeout=60)
    assert (tmp_path / "clone" / ".git").is_dir()


@contextlib.contextmanager
def held(world: World, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """An ssh that stays, once it is through."""
    command = ["ssh", "-F", world.config(), *words, "echo ready; cat"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert (said := process.stdout.readline()) == b"ready\n", (said, process.poll())
        yield process
    finally:
        process.kill()
        process.communicate()


def said_back(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(100), b""))


def test_local_and_remote_forwards_ride_inside_the_jump(world: World, echo: Echo) -> None:
    near, far = free_port(), free_port()
    forwards = ["-L", f"{near}:127.0.0.1:{echo.port}", "-R", f"{far}:127.0.0.1:{echo.port}"]
    with held(world, *forwards, "app01.ssh"):
        assert said_back(near) == b"hello"
        assert said_back(far) == b"hello"


@pytest.mark.parametrize("option", ["-D", "-L"])
def test_an_editor_finds_what_its_command_started_by_a_forward_and_by_SOCKS(
    world: World, option: str
) -> None:
    assert talk_to_editor(world, option, "app01.ssh") == b"hello from the editor's server"


def has_fuse() -> bool:
    return shutil.which("sshfs") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)


@pytest.mark.skipif(not has_fuse(), reason="sshfs or /dev/fuse is missing")
@pytest.mark.parametrize("way", ["ProxyJump", "ssh_command"])
def test_a_folder_of_the_shell_is_mounted_by_sshfs(world: World, tmp_path: Path, way: str) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    (far / "there").write_bytes(os.urandom(1 << 20))
    config = world.config()
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


def opened(world: World) -> int:
    """Return how many sessions there have been."""
    return sum(event["kind"] == "session.opened" for event in world.gateway.audit())


def test_a_control_master_on_both_hops_carries_many_logins(world: World, sockets: Path) -> None:
    config = world.config(f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 60")
    before = opened(world)
    try:
        for _ in range(3):
            assert world.ssh("app01.ssh", "echo hello", config=config).stdout == b"hello\n"
        assert world.ssh("gw", "ls", config=config).stdout.startswith(b"app01.ssh")
        assert opened(world) == before + 1
    finally:
        world.ssh("-O", "exit", "app01.ssh", config=config)
        world.ssh("-O", "exit", "gw", config=config)


def test_two_gateways_in_a_row_lead_to_the_second_ones_app(
    world: World, tmp_path: Path, echo: Echo
) -> None:
    settings = SSH_TABLE + static("inner", world.port)
    with open_world(tmp_path / "outer", settings, ("inner",)) as outer:
        config = outer.config()
        known = (outer.folder / "known_hosts").read_text()
        inner_ca = (world.gateway.data_dir / "keys" / "host_ca.pub").read_text()
        (outer.folder / "known_hosts").write_text(known + f"@cert-authority * {inner_ca}")
        text = config.read_text()
        config.write_text(
            f"Host inner.ssh\n  User dev\n  HostKeyAlias 127.0.0.1\n  IdentityFile {world.key}\n"
            f"Host app01.ssh\n  ProxyJump gw,inner.ssh\n  IdentityFile {world.key}\n{text}"
        )
        done = subprocess.run(
            ["ssh", "-F", config, "app01.ssh", "echo through two"],
            capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.stdout == b"through two\n", done.stderr.decode()


def test_a_hundred_channels_on_one_connection_each_keep_their_own_bytes(
    world: World, sockets: Path
) -> None:
    config = world.config(f"ControlPath {sockets}/%C")
    master = subprocess.Popen(["ssh", "-F", config, "-M", "-N", "gw"])
    wait_until(lambda: world.ssh("-O", "check", "gw", config=config).returncode == 0)
    try:
        forwards = [free_port() for _ in range(100)]
        ports = set(forwards)
        for port in ports:
            world.ssh("-O", "forward", "-L", f"{port}:echo.ssh:22", "gw", config=config, check=True)
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
                for event in world.gateway.audit()
                if event["kind"] == "session.closed" and event["reason"] != "closed"
            ]
            pytest.fail(f"{other}; the audit: {ends}")
    finally:
        master.kill()  # a SIGTERM it may mind only with the next packet
        master.wait(BOUND_S)


def test_the_config_that_is_written_for_a_jump_needs_no_other_program_and_no_question(
    world: World, tmp_path: Path
) -> None:
    authority = str(world.gateway.data_dir / "keys" / "host_ca.pub")
    world.gateway.command(
        "ssh-config", "--jump", f"127.0.0.1:{world.port}", "--user", "dev", "--host-ca", authority,
        "--directory", str(tmp_path / "written"),
    )  # fmt: skip
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/written/config\nHost *\n  IdentityFile {world.key}\n"
        "  IdentitiesOnly yes\n  BatchMode yes\n"
    )
    assert world.ssh("app01.ssh", "echo hello", config=config).stdout == b"hello\n"
    listed = world.ssh("stagedoor-gateway", "ls", config=config).stdout.decode()
    assert listed.startswith("app01.ssh")
    # What it prints is typed as it is.
    ssh, *words = shlex.split(listed.splitlines()[0])[2:]
    assert ssh == "ssh"
    typed = world.ssh(*words, "echo typed", config=config)
    assert typed.stdout == b"typed\n", typed.stderr


def test_a_jump_under_a_wrong_user_name_is_refused_with_the_right_one(world: World) -> None:
    done = world.ssh("-W", "app01.ssh:22", "gw", config=world.config(user="laptop-account"))
    assert b"administratively prohibited" in done.stderr
    assert b"dev" in done.stderr


def test_the_page_greets_and_gives_the_exact_commands_also_in_a_terminal(world: World) -> None:
    done = world.ssh("-tt", "gw")
    assert done.returncode == 0
    assert b"Hello dev. The apps that you may enter:\r\n" in done.stdout
    assert f"ssh -J dev@127.0.0.1:{world.port} app01.ssh\r\n".encode() in done.stdout
    assert b"app02" not in done.stdout
    apps = json.loads(world.ssh("gw", "ls --json").stdout)["apps"]
    assert [app["host"] for app in apps] == ["app01.ssh", "closed.ssh", "echo.ssh"]
    assert {"app", "environment", "host", "state", "expires_at", "notice", "command"} == apps[
        0
    ].keys()
