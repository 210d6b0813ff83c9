"""Logging in to a local shell with the real OpenSSH client."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from stagedoor.model.grant import Admission
from stagedoor.model.shell import Shell
from stagedoor.model.target import Target
from stagedoor.shells.authorized import KEYS_LEASE_S
from stagedoor.shells.local.settings import LocalShell
from tests.fixtures.laptop import Ssh, format_public_line, new_key
from tests.forks import by_exec, home
from tests.shells.host import ShellHost, running, ssh_with
from tests.waiting import BOUND_S, wait_until


def test_a_command_runs_and_its_output_exit_code_and_streams_come_back_apart(ssh: Ssh) -> None:
    done = ssh("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_standard_input_reaches_the_command_and_its_end_does_too(ssh: Ssh) -> None:
    done = ssh("wc -c; echo done", input=b"x" * 100_000)
    assert done.stdout.split() == [b"100000", b"done"]


def test_a_command_may_close_its_output_and_still_read(ssh: Ssh) -> None:
    assert ssh("exec >&- 2>&-; cat >/dev/null; exit 3", input=b"x" * 300_000).returncode == 3


def test_a_command_that_reads_nothing_does_not_hang(ssh: Ssh) -> None:
    assert ssh("exec <&-; echo fine", input=b"x" * 4_000_000).stdout == b"fine\n"


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "BUS", "40"])  # 40 has no name
def test_a_death_by_signal_is_told_as_one(config: Path, name: str) -> None:
    done = subprocess.run(
        ["ssh", "-vv", "-F", config, "shell", f"kill -{name} $$"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 255
    assert b"rtype exit-signal" in done.stderr


def test_broken_pipes_end_commands_as_they_should(ssh: Ssh) -> None:
    """Python ignores SIGPIPE; what it starts must not."""
    assert ssh("yes | head -1; echo ${PIPESTATUS[0]}").stdout == b"y\n141\n"


def test_what_a_command_leaves_behind_can_outlive_it(ssh: Ssh, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    go = tmp_path / "go"
    done = ssh(
        f"nohup sh -c 'while [ ! -e {go} ]; do sleep 0.02; done; touch {flag}' "
        ">/dev/null 2>&1 </dev/null & exit 0"
    )
    assert done.returncode == 0
    go.touch()
    wait_until(flag.exists)


def test_the_app_s_environment_is_there_and_the_gateway_s_is_not(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_TIME", "de_DE.UTF-8")
    monkeypatch.setenv("LD_PRELOAD_TEST", "evil")
    done = ssh("env", "-o", "SendEnv=LC_TIME LD_PRELOAD_TEST", "-o", "SetEnv=BASH_ENV=/evil")
    got = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    assert got["DATABASE_URL"] == "postgres://secret"
    assert got["LC_TIME"] == "de_DE.UTF-8"
    assert got["LANG"] == "C.UTF-8"
    assert got["HOME"]
    assert re.fullmatch(r"127\.0\.0\.1 \d+ 127\.0\.0\.1 \d+", got["SSH_CONNECTION"])
    assert not {"LD_PRELOAD_TEST", "BASH_ENV", "PYTEST_CURRENT_TEST", "TERM"} & got.keys()


def test_it_begins_at_home_wherever_the_gateway_s_home_is(
    host: ShellHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `runuser -u` the gateway has root's $HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with running(host, LocalShell("app01", login_shell="/bin/sh")) as (_, shell):
        done = ssh_with(host.config(shell))("pwd; echo $HOME")
    assert done.stdout.decode().split() == [str(home())] * 2


def test_the_sshd_s_own_environment_and_arguments_hold_no_secret_of_the_app(
    host: ShellHost,
) -> None:
    """By exec(2), which makes what /proc/PID/environ shows."""
    app = LocalShell("app01", env={"DATABASE_URL": "postgres://secret"}, login_shell="/bin/bash")
    with by_exec(), running(host, app) as (_, shell):
        done = ssh_with(host.config(shell))("cat /proc/$PPID/environ /proc/$PPID/cmdline")
    assert b"stagedoor.shells.local" in done.stdout
    assert b"postgres://secret" not in done.stdout
    assert b"PYTEST_CURRENT_TEST" not in done.stdout


def test_no_descriptor_of_the_sshd_leaks_into_a_command(ssh: Ssh) -> None:
    done = ssh("ls /proc/self/fd")
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is ls's own


def test_any_login_name_is_the_user_who_runs_the_gateway(ssh: Ssh) -> None:
    me = subprocess.run(["id", "-un"], check=True, capture_output=True).stdout
    assert ssh("id -un", "-l", "somebody").stdout == me


def test_bash_finds_the_program_for_files_whatever_its_path(ssh: Ssh) -> None:
    """Debian's /etc/profile sets a PATH of its own for each login shell."""
    done = ssh(None, "-T", input=b"PATH=/usr/bin:/bin\nstagedoor-get /nowhere/none\n")
    assert b"stagedoor-get: there is no terminal here" in done.stderr


def test_without_a_command_a_login_shell_reads_standard_input(ssh: Ssh) -> None:
    done = ssh(None, "-T", input=b"shopt -q login_shell && echo login\nexit 4\n")
    assert done.returncode == 4
    assert b"login" in done.stdout.split(b"\n")


def test_an_unregistered_key_is_refused(
    shared_host: ShellHost, shell: Shell, tmp_path: Path
) -> None:
    new_key(tmp_path / "other")
    done = ssh_with(shared_host.config(shell, tmp_path / "other"))("true")
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr


def test_no_other_way_of_authentication_is_offered(shared_host: ShellHost, shell: Shell) -> None:
    done = ssh_with(shared_host.config(shell))(
        "true", "-o", "PreferredAuthentications=none,password,keyboard-interactive"
    )
    assert b"Permission denied (publickey)." in done.stderr


def test_a_host_key_that_the_ca_did_not_sign_for_this_name_is_refused_by_the_client(
    shared_host: ShellHost, shell: Shell
) -> None:
    done = ssh_with(shared_host.config(shell))("true", "-o", "HostKeyAlias=app02.ssh")
    assert done.returncode == 255
    assert b"verification failed" in done.stderr


@pytest.mark.parametrize("alias", ["app01.ssh", "app01-ssh"])
def test_the_host_certificate_holds_for_each_name_of_the_target(
    shared_host: ShellHost, shell: Shell, alias: str
) -> None:
    done = ssh_with(shared_host.config(shell))("true", "-o", f"HostKeyAlias={alias}")
    assert done.returncode == 0, done.stderr


def certified(
    shared_host: ShellHost, folder: Path, principals: list[str], **options: object
) -> Path:
    key = format_public_line(new_key(folder / "cert"))
    line = shared_host.user_ca.sign_user(key, "dev", principals, 600, **options)  # type: ignore[arg-type]  # as given
    (folder / "cert-cert.pub").write_text(line + "\n")
    return folder / "cert"


def test_a_certificate_of_the_user_ca_logs_in_whom_a_rule_admits(
    shared_host: ShellHost, shell: Shell, tmp_path: Path
) -> None:
    key = certified(shared_host, tmp_path, ["someone", "dev"])
    assert ssh_with(shared_host.config(shell, key))("echo in").stdout == b"in\n"


@pytest.mark.parametrize("principals", [["ops"], ["app01.ssh"], ["*"], ["de"], ["dev,ops"]])
def test_a_certificate_for_anybody_else_does_not(
    shared_host: ShellHost, shell: Shell, tmp_path: Path, principals: list[str]
) -> None:
    key = certified(shared_host, tmp_path, principals)
    assert b"Permission denied" in ssh_with(shared_host.config(shell, key))("true").stderr


def test_a_certificate_without_principals_is_for_nobody(
    shared_host: ShellHost, shell: Shell, tmp_path: Path
) -> None:
    new_key(tmp_path / "cert")
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            shared_host.folder / "user_ca",
            "-I",
            "dev",
            tmp_path / "cert.pub",
        ],
        check=True,
    )
    done = ssh_with(shared_host.config(shell, tmp_path / "cert"))("true")
    assert b"Permission denied" in done.stderr


def test_an_expired_certificate_and_one_of_another_ca_are_refused(
    shared_host: ShellHost, shell: Shell, tmp_path: Path
) -> None:
    key = format_public_line(new_key(tmp_path / "cert"))
    late = shared_host.user_ca.sign_user(key, "dev", ["dev"], -10)
    forged = shared_host.host_ca.sign_user(key, "dev", ["dev"], 600)
    for line in (late, forged):
        (tmp_path / "cert-cert.pub").write_text(line + "\n")
        done = ssh_with(shared_host.config(shell, tmp_path / "cert"))("true")
        assert b"Permission denied" in done.stderr


@pytest.mark.identity(23)
def test_the_key_of_a_sign_in_logs_in_until_that_ends_and_its_certificate_never(
    tmp_path: Path,
) -> None:
    """The certificate is good for an hour; a thief of both must not have that hour."""
    shared_host = ShellHost(tmp_path / "host")
    key = format_public_line(new_key(tmp_path / "cert"))
    line = shared_host.user_ca.sign_sign_in(key, "dev", 7, time.time() + 600, ())
    (tmp_path / "cert-cert.pub").write_text(line + "\n")
    with running(shared_host, LocalShell("app01")) as (shells, shell):
        shared_host.admissions[:] = [Admission("dev", (), None, ((key, time.time() + 600),))]
        shells.refresh()
        both = ssh_with(shared_host.config(shell, tmp_path / "cert"))
        assert both("echo in").stdout == b"in\n"
        shared_host.admissions[:] = [Admission("dev")]
        shells.refresh()
        assert b"Permission denied" in both("true").stderr


def test_a_certificate_may_allow_less_than_the_shell(
    shared_host: ShellHost, shell: Shell, tmp_path: Path
) -> None:
    key = certified(
        shared_host,
        tmp_path,
        ["dev"],
        extensions=[],
        critical_options={"force-command": "echo forced"},
    )
    ssh = ssh_with(shared_host.config(shell, key))
    assert ssh("id").stdout == b"forced\n"
    assert b"PTY allocation request failed" in ssh("id", "-tt").stderr


def test_who_may_log_in_follows_the_policy(host: ShellHost) -> None:
    with running(host) as (shells, shell):
        ssh = ssh_with(host.config(shell))
        assert ssh("true").returncode == 0
        host.admissions.clear()
        shells.refresh()
        assert b"Permission denied" in ssh("true").stderr
        host.admissions.append(Admission("dev", (host.key,), expires_at=1.0))
        shells.refresh()
        assert b"Permission denied" in ssh("true").stderr
        host.admissions[:] = [Admission("dev", (host.key,))]
        shells.refresh()
        assert ssh("true").returncode == 0


def test_nobody_logs_in_to_a_shell_whose_gateway_has_gone_for_long(host: ShellHost) -> None:
    late_s = 0.0
    shells = host.shells(now=lambda: time.time() - late_s)
    try:
        ssh = ssh_with(host.config(host.started(shells)))
        assert ssh("true").returncode == 0
        assert not shells.has_due_keys()
        late_s = KEYS_LEASE_S + 1  # what it wrote then has ended by now
        assert shells.has_due_keys()
        shells.refresh()
        assert b"Permission denied" in ssh("true").stderr
        late_s = 0.0
        assert shells.has_due_keys()
        shells.refresh()
        assert ssh("true").returncode == 0
    finally:
        shells.stop_all()


def test_a_policy_that_changes_while_a_shell_is_started_holds_for_it(host: ShellHost) -> None:
    changes = iter([True])

    def admitted(_: Target) -> Sequence[Admission]:
        admissions = tuple(host.admissions)
        if next(changes, False):
            host.admissions.clear()
            shells.refresh()
        return admissions

    shells = host.shells(admitted=admitted)
    try:
        shell = host.started(shells)
        assert b"Permission denied" in ssh_with(host.config(shell))("true").stderr
    finally:
        shells.stop_all()


def test_a_shell_that_cannot_be_run_says_so(host: ShellHost) -> None:
    with running(host, LocalShell("app01", login_shell="/no/such/shell")) as (_, shell):
        done = ssh_with(host.config(shell))("true")
        assert done.returncode == 127
        assert b"cannot start /no/such/shell: No such file or directory" in done.stderr


def test_a_login_starts_in_the_directory_of_the_settings(host: ShellHost, tmp_path: Path) -> None:
    entry = LocalShell("app01", "staging", directory=str(tmp_path))
    with running(host, entry) as (_, shell):
        ssh = ssh_with(host.config(shell))
        assert ssh("pwd").stdout.decode().strip() == str(tmp_path)
        assert ssh("true", "-o", "HostKeyAlias=app01-ssh.staging").returncode == 0


def test_hanging_up_hangs_up_what_runs(config: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    client = subprocess.Popen(
        ["ssh", "-F", config, "shell", f"echo $$ > {pid_file}; exec sleep 600"],
        stdin=subprocess.DEVNULL,
    )
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    pid = int(pid_file.read_text())
    client.send_signal(signal.SIGKILL)
    client.wait()

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(gone)


def test_dropbears_client_logs_in(host: ShellHost) -> None:
    """It guesses the key exchange wrong, and sends its first packet twice (RFC 4253 §7.1)."""
    key = host.folder / "dropbear"
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", key], check=True, capture_output=True)
    shown = subprocess.run(["dropbearkey", "-y", "-f", key], check=True, capture_output=True)
    line = next(row for row in shown.stdout.decode().splitlines() if row.startswith("ssh-"))
    host.admissions.append(Admission("dev", (" ".join(line.split()[:2]),)))
    with running(host) as (_, shell):
        command = [
            "dbclient",
            "-y",
            "-y",
            "-i",
            key,
            "-p",
            str(shell.port),
            f"dev@{shell.host}",
            "cat; exit 5",
        ]
        done = subprocess.run(
            command, input=b"in", capture_output=True, timeout=BOUND_S, check=False
        )
    assert (done.returncode, done.stdout) == (5, b"in"), done.stderr
