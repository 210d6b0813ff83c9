"""The process of a local shell: how it starts, stops, is replaced, and ends cleanly."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stagedoor.model.denial import Denial
from stagedoor.model.errors import StagedoorError
from stagedoor.model.shell import Shell, ShellState
from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.local.shell_folder import Running, ShellFolder
from tests.fixtures.people import APP01, grant
from tests.shells.host import ShellHost, ignore, running, ssh_with
from tests.waiting import BOUND_S, wait_until

ENSURE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.shells.host import *
from stagedoor.keys.files import load
shells = LocalShells(
    [LocalShell("app01")], Path(sys.argv[1]) / "shells", user_ca_lines=lambda: [],
    sign_host=lambda key, names: CertificateAuthority(
        load(Path(sys.argv[1]) / "host_ca"), time.time).sign_host(key, names, 3600),
    admitted=lambda _: (), drain_grace_s=5.0,
)
sys.stdin.readline()
async def main():
    found = await asyncio.gather(*(shells.ensure(grant(), ignore) for _ in range(13)))
    print(*sorted({shell.port for shell in found}))
asyncio.run(main())
"""


def state(host: ShellHost) -> Running | None:
    return ShellFolder(host.folder / "shells" / "app01").read_running()


def test_many_processes_that_ask_at_once_cause_one_start(host: ShellHost) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE, host.folder, Path(__file__).parents[2]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        said = {worker.communicate(timeout=90)[0].strip() for worker in workers}
        assert len(said) == 1
        assert said.pop().isdigit()
    finally:
        host.shells().stop_all()


def test_a_shell_outlives_the_worker_that_started_it_and_is_its_child_no_more(
    host: ShellHost,
) -> None:
    with running(host) as (_, shell):
        process = state(host)
        assert process is not None
        parent = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        assert int(parent) != os.getpid()
        assert host.started(host.shells()) == shell


def test_what_is_kept_on_disk_is_for_its_owner_only_and_holds_no_private_key(
    host: ShellHost,
) -> None:
    with running(host):
        folder = host.folder / "shells" / "app01"
        assert folder.stat().st_mode & 0o777 == 0o700
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
            assert b"PRIVATE" not in path.read_bytes()


def test_a_process_that_crashed_is_started_again(host: ShellHost) -> None:
    with running(host) as (shells, shell):
        process = state(host)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: state(host) is None)
        assert asyncio.run(shells.observe(APP01)) is ShellState.ABSENT
        again = host.started(host.shells())
        assert again != shell
        assert ssh_with(host.config(again))("echo back").stdout == b"back\n"


def test_a_state_file_whose_process_is_gone_is_not_believed(host: ShellHost) -> None:
    place = ShellFolder(host.folder / "shells" / "app01")
    place.make()
    # A pid that lives, but belongs to another program: this test's own.
    place.state.write_text(f'{{"pid": {os.getpid()}, "host": "127.0.0.1", "port": 1}}')
    shells = host.shells()
    try:
        assert asyncio.run(shells.resolve(APP01)) is None
        assert host.started(shells).port != 1
    finally:
        shells.stop_all()


def test_a_shell_that_nobody_uses_stops_itself_and_comes_back(host: ShellHost) -> None:
    shells = host.shells(idle_stop_s=0.5)
    try:
        host.started(shells)
        process = state(host)  # None if it was quicker than we
        wait_until(lambda: state(host) is None)
        assert asyncio.run(shells.observe(APP01)) is ShellState.ABSENT
        wait_until(lambda: process is None or not Path(f"/proc/{process.pid}").exists())
        again = host.started(host.shells())
        assert ssh_with(host.config(again))("echo back").stdout == b"back\n"
    finally:
        shells.stop_all()


@pytest.mark.parametrize("leave", ["nohup", "setsid", "setsid nohup"])
def test_what_people_left_running_ends_with_everything_else(
    host: ShellHost, leave: str, tmp_path: Path
) -> None:
    shells = host.shells()
    shell = host.started(shells)
    job = f"{leave} sh -c 'trap : HUP TERM; echo $$ >{tmp_path}/pid; while :; do sleep 300; done'"
    assert ssh_with(host.config(shell))(f"{job} >/dev/null 2>&1 </dev/null &").returncode == 0
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    assert runs(pid)
    shells.stop_all()
    assert not runs(pid)


def runs(pid: int) -> bool:
    """False for a zombie too, which is there until its parent takes notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_shell_whose_folder_was_removed_does_not_live_for_ever(host: ShellHost) -> None:
    host.started(host.shells(idle_stop_s=2))
    process = state(host)  # None if it was quicker than we
    shutil.rmtree(host.folder / "shells")
    wait_until(lambda: process is None or not Path(f"/proc/{process.pid}").exists())


def come_in(host: ShellHost, shell: Shell, last: str) -> "subprocess.Popen[bytes]":
    """A developer who is inside, and runs `last` once given a line."""
    client = subprocess.Popen(
        ["ssh", "-F", host.config(shell), "shell", f"echo in; read -r _; {last}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stdout.readline() == b"in\n"
    return client


def enter_at_once(host: ShellHost, shells: LocalShells) -> "subprocess.Popen[bytes]":
    """A login to a shell that stops itself sooner than a login takes on a busy machine."""
    place = ShellFolder(host.folder / "shells" / "app01")
    while True:
        shell = host.started(shells)
        with place.hold_lock():  # in which it does not stop itself, if it has not done so yet
            if place.read_running() is None:
                continue
            return come_in(host, shell, "echo out")


def test_a_shell_in_use_does_not_stop_itself(host: ShellHost) -> None:
    shells = host.shells(idle_stop_s=0.3)
    try:
        client = enter_at_once(host, shells)
        process = state(host)
        # Nothing can be waited for but time: several idle times go by.
        time.sleep(1.5)
        assert state(host) == process
        assert client.communicate(b"\n", timeout=30)[0] == b"out\n"
        wait_until(lambda: state(host) is None)
    finally:
        shells.stop_all()


def test_changed_settings_take_effect_at_the_next_login_and_cut_nobody_off(host: ShellHost) -> None:
    with running(host, LocalShell("app01", env={"COLOUR": "red"})) as (_, shell):
        client = come_in(host, shell, "echo $COLOUR")
        old = state(host)
        assert old is not None
        blue = host.started(host.shells(LocalShell("app01", env={"COLOUR": "blue"})))
        assert blue != shell
        assert ssh_with(host.config(blue))("echo $COLOUR").stdout == b"blue\n"
        assert client.communicate(b"\n", timeout=30)[0] == b"red\n"
        wait_until(lambda: not Path(f"/proc/{old.pid}").exists())
        assert asyncio.run(host.shells().resolve(APP01)) == blue


def test_told_to_stop_it_says_so_and_lets_a_session_finish(host: ShellHost) -> None:
    shells = host.shells(drain_grace_s=30)
    shell = host.started(shells)
    client = subprocess.Popen(
        ["ssh", "-F", host.config(shell), "shell", "echo in; read -r _; echo out"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    assert client.stderr is not None
    assert client.stdin is not None
    assert client.stdout.readline() == b"in\n"
    stopping = threading.Thread(target=shells.stop_all)
    stopping.start()
    assert b"this shell stops in 30 s" in client.stderr.readline()
    refused = ssh_with(host.config(shell))("true")
    assert refused.returncode == 255
    assert stopping.is_alive(), "it is not stopped while somebody is inside"
    assert client.communicate(b"\n", timeout=30)[0] == b"out\n"
    stopping.join(BOUND_S)
    assert not stopping.is_alive()
    assert state(host) is None


def test_after_the_grace_sessions_are_closed_and_their_programs_hung_up(
    host: ShellHost, tmp_path: Path
) -> None:
    shells = host.shells(drain_grace_s=0.3)
    shell = host.started(shells)
    pid_file = tmp_path / "pid"
    client = subprocess.Popen(
        ["ssh", "-F", host.config(shell), "shell", f"echo $$ > {pid_file}; exec sleep 600"],
        stdin=subprocess.DEVNULL,
    )
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    shells.stop_all()
    assert client.wait(30) == 255
    wait_until(lambda: not Path(f"/proc/{pid_file.read_text().strip()}").exists())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (LocalShell("app01", directory="/no/such"), "entering the directory: .*No such file"),
        (LocalShell("app01", directory="/etc/passwd"), "entering the directory: .*Not a directory"),
    ],
)
def test_a_start_that_fails_says_at_which_step_and_why(
    host: ShellHost, entry: LocalShell, said: str
) -> None:
    denial = asyncio.run(host.shells(entry).ensure(grant(), ignore))
    assert isinstance(denial, Denial)
    assert re.search(said, denial.message)
    assert "Traceback" not in denial.message


def test_a_host_ca_that_fails_is_a_failed_start_with_its_own_words(host: ShellHost) -> None:
    def sign(_: str, __: tuple[str, ...]) -> str:
        raise StagedoorError("the host CA is not there")

    denial = asyncio.run(host.shells(sign_host=sign).ensure(grant(), ignore))
    assert isinstance(denial, Denial)
    assert denial.message.endswith("signing the host key: the host CA is not there")
    assert state(host) is None


def test_a_start_that_hangs_is_given_up_and_leaves_no_process(host: ShellHost) -> None:
    held = threading.Event()

    def sign(key: str, names: tuple[str, ...]) -> str:
        held.wait(1)
        return host.host_ca.sign_host(key, names, 3600)

    shells = host.shells(sign_host=sign, start_timeout_s=0.01)
    denial = asyncio.run(shells.ensure(grant(), ignore))
    assert isinstance(denial, Denial)
    assert "not done after 0.01 s" in denial.message
    assert state(host) is None


def test_a_folder_that_cannot_be_made_is_told(host: ShellHost) -> None:
    (host.folder / "shells").touch()
    denial = asyncio.run(host.shells().ensure(grant(), ignore))
    assert isinstance(denial, Denial)
    assert f"could not be started; preparing {host.folder}" in denial.message
    assert str(host.folder) not in denial.line


async def test_a_start_is_seen_as_starting(host: ShellHost) -> None:
    seen = threading.Event()

    def sign(key: str, names: tuple[str, ...]) -> str:
        assert seen.wait(BOUND_S)  # the start goes on once it was looked at
        return host.host_ca.sign_host(key, names, 3600)

    shells: LocalShells = host.shells(sign_host=sign)
    states: list[ShellState] = []

    async def look() -> None:
        states.append(await shells.observe(APP01))
        seen.set()

    looks: list[asyncio.Task[None]] = []
    try:
        shell = await shells.ensure(grant(), lambda _: looks.append(asyncio.create_task(look())))
        assert isinstance(shell, Shell)
        await asyncio.gather(*looks)
        assert states[0] is ShellState.STARTING
        assert await shells.observe(APP01) is ShellState.READY
    finally:
        await asyncio.to_thread(shells.stop_all)


def test_an_app_taken_out_of_the_settings_lets_nobody_in_and_is_stopped_with_the_rest(
    host: ShellHost,
) -> None:
    shell = host.started(host.shells())
    fewer = host.shells(LocalShell("app02"))
    try:
        fewer.refresh()
        assert b"Permission denied" in ssh_with(host.config(shell))("true").stderr
    finally:
        fewer.stop_all()
    assert state(host) is None
