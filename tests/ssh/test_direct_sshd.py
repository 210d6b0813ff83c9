"""Direct login on to OpenSSH's own sshd, as people have it: `[[shells.static]]`."""

import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.permission import Permission
from tests.fixtures.gateway import SSH_TABLE, static
from tests.fixtures.laptop import Laptop, new_key
from tests.missing import missing
from tests.ports import free_port
from tests.waiting import BOUND_S, wait_until

both_clients = pytest.mark.usefixtures("openssh")
"""Marks a test of what depends on the client."""
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ACCOUNT = getpass.getuser()


class Sshd:
    """An sshd of the test's own that trusts the gateway's user CA; `log` is what it wrote."""

    def __init__(self, folder: Path, program: str = SSHD, *settings: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._program = program
        self._settings = settings
        self.host_key = new_key(folder / "host_key")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    @property
    def public(self) -> str:
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self, user_ca: str, *settings: str, principals: str | None = "dev\n") -> None:
        """`principals` is the content of `AuthorizedPrincipalsFile`; None: the server has no such file."""
        (self.folder / "user_ca.pub").write_text(user_ca)
        file = self.folder / "principals"
        file.write_text(principals or "")
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.host_key}\n"
            f"PidFile {self.folder}/pid\nStrictModes no\nUsePAM no\nLogLevel VERBOSE\n"
            f"TrustedUserCAKeys {self.folder}/user_ca.pub\n"
            f"AuthorizedPrincipalsFile {'none' if principals is None else file}\n"
            "AuthorizedKeysFile none\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nAllowAgentForwarding yes\nAcceptEnv LC_*\n"
            f"Subsystem sftp internal-sftp\nSetEnv HOME={self.folder}\n"
            + "".join(f"{line}\n" for line in (*self._settings, *settings))
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen([self._program, "-D", "-f", config, "-E", self._log])
        wait_until(lambda: self._log.exists() and "listening" in self.log)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(BOUND_S)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not Path(SSHD).exists():
        pytest.skip("sshd is missing; apt install openssh-server")
    one = Sshd(tmp_path_factory.mktemp("sshd") / "one")
    yield one
    one.stop()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, sshd: Sshd) -> Iterator[Laptop]:
    known = static("app01", sshd.port) + f'login_name = "{ACCOUNT}"\n'
    known += f'host_keys = ["{sshd.public}"]\n'
    unknown = static("app02", sshd.port) + f'login_name = "{ACCOUNT}"\n'
    settings = SSH_TABLE + known + unknown
    permits = [("everybody", "*", frozenset({Permission.FORWARD, Permission.AGENT}))]
    laptop = Laptop(tmp_path_factory.mktemp("gateway"), settings, ("app01", "app02"), permits)
    try:
        laptop.gateway.start()
        sshd.start((laptop.gateway.data_dir / "keys" / "user_ca.pub").read_text())
        yield laptop
    finally:
        laptop.gateway.stop()


@both_clients
def test_the_servers_own_log_says_who_it_was(laptop: Laptop, sshd: Sshd) -> None:
    done = laptop.ssh("app01@gw", "echo in; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"in\n")
    assert b"err\n" in done.stderr
    accepted = re.search(rf"Accepted publickey for {ACCOUNT} .*ID (.+) \(serial", sshd.log)
    assert accepted, sshd.log[-2000:]
    line = laptop.gateway.wait_for(
        lambda line: line["event"] == "session" and line["outcome"] != "denied"
    )
    assert accepted[1] == f"dev trace {line['trace']}"


@both_clients
def test_a_server_whose_key_is_not_named_gets_nothing(laptop: Laptop, sshd: Sshd) -> None:
    done = laptop.ssh("app02@gw", "true")
    assert done.returncode == 255
    assert b"shows no host key that the gateway knows" in done.stderr


@both_clients
def test_terminals_files_and_signals_work_as_without_a_gateway(
    laptop: Laptop, tmp_path: Path
) -> None:
    config = laptop.config()
    shown = subprocess.run(
        [
            "script",
            "-qec",
            f"stty rows 33 cols 99; ssh -F {config} -tt app01@gw 'stty size'",
            "/dev/null",
        ],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=BOUND_S,
        check=True,
    )
    assert b"33 99" in shown.stdout
    (tmp_path / "a").write_bytes(os.urandom(2_000_000))
    for options in ([], ["-O"]):
        copy = ["scp", *options, "-F", config, tmp_path / "a", f"app01@gw:{tmp_path}/b"]
        subprocess.run(copy, check=True, timeout=BOUND_S, capture_output=True)
        assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    killed = laptop.ssh("-v", "app01@gw", "kill -KILL $$")
    assert killed.returncode == 255
    assert b"exit-signal" in killed.stderr


@both_clients
def test_what_a_command_leaves_behind_does_not_hold_the_client(laptop: Laptop) -> None:
    began = time.monotonic()
    done = laptop.ssh("app01@gw", "sleep 60 >/dev/null 2>&1 & echo started")
    assert done.stdout == b"started\n"
    assert time.monotonic() - began < 50


def test_rclone_copies_and_checks(laptop: Laptop, tmp_path: Path) -> None:
    """rclone 1.60 sends bytes behind its last packet of a file, which OpenSSH's server passes over."""
    if shutil.which("rclone") is None:
        missing("rclone is not installed; apt install rclone")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_bytes(os.urandom(300_000))
    remote = (
        f":sftp,host=127.0.0.1,port={laptop.port},user=app01,key_file={laptop.key},"
        f"shell_type=unix:{tmp_path}/there"
    )
    for verb in ("copy", "check"):
        command = ["rclone", "--config=/dev/null", verb, tmp_path / "here", remote]
        done = subprocess.run(command, capture_output=True, timeout=BOUND_S, check=False)
        assert done.returncode == 0, done.stderr.decode()[-1500:]
    assert (tmp_path / "there" / "file").stat().st_size == 300_000
