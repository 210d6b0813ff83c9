"""What is made of the template is what exec(2) would make of the same words."""

import gc
import os
import shlex
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from stagedoor.shells.local.settings import LocalShell
from tests import forks
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import open_laptop
from tests.holder.conftest import kill_programs_of
from tests.shells import host as shells
from tests.waiting import wait_until
from tests.web.processes import pids_of

WAITS = (sys.executable, "-m", "stagedoor", "--config", "none.toml", "user", "add", "me")
"""With `--password-stdin` it waits for a line."""


def seen(pid: int) -> dict[str, object]:
    """What a program can know of itself, and others of it."""
    place = Path("/proc") / str(pid)
    status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
    stat = (place / "stat").read_text().rpartition(")")[2].split()
    return {
        "words": (place / "cmdline").read_bytes().rstrip(b"\0"),
        "folder": (place / "cwd").readlink(),
        "fds": sorted(int(one.name) for one in (place / "fd").iterdir()),
        "limits": (place / "limits").read_text(),
        # Without glibc's own signals, 32 and 33, which it handles once a process has had a thread.
        "signals": [int(status[name], 16) & ~(3 << 31) for name in ("SigBlk", "SigIgn", "SigCgt")],
        "umask": status["Umask"],
        "threads": status["Threads"],
        "parent": stat[1],
        "group is its own": stat[2] == str(pid),
        "session is its own": stat[3] == str(pid),
    }


def started(folder: Path, **how: object) -> dict[str, object]:
    with subprocess.Popen(
        [*WAITS, "--password-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=folder, text=True, **how,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        place = Path(f"/proc/{process.pid}/wchan")
        wait_until(lambda: "pipe" in place.read_text(), what="it reads")
        found = seen(process.pid)
        out, err = process.communicate("secret\n", timeout=60)
        return {**found, "code": process.returncode, "out": out, "err": err}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"start_new_session": True},
        {"process_group": 0, "umask": 0o77},
        {"env": {"PATH": os.environ["PATH"], "HOME": "/", "LANG": os.environ.get("LANG", "")}},
    ],
    ids=["as it is", "session", "group", "environment"],
)
def test_it_differs_in_nothing_that_can_be_seen(tmp_path: Path, how: dict[str, object]) -> None:
    made = started(tmp_path, **how)
    with forks.by_exec():
        assert started(tmp_path, **how) == made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([*WAITS, "--password-stdin"], stdin=subprocess.PIPE) as process:
        process.send_signal(number)
        assert process.wait(60) == -number


def test_other_surroundings_are_by_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    by_exec: list[object] = []
    monkeypatch.setattr(
        forks, "real_fork_exec", lambda *how: by_exec.append(how) or forks_exec(*how)
    )
    subprocess.run([sys.executable, "-m", "stagedoor", "--version"], check=True)
    assert not by_exec
    env = {**os.environ, "PYTHONOPTIMIZE": "1"}
    subprocess.run([sys.executable, "-m", "stagedoor", "--version"], check=True, env=env)
    assert len(by_exec) == 1


forks_exec = forks.real_fork_exec


def both_wait(name: str) -> bool:
    """One brings the terminal, one holds it, and the one between them, which made the second, has ended."""
    pids = pids_of(f"stagedoor.holder attach {name}")
    with suppress(FileNotFoundError):
        return [*("poll" in Path(f"/proc/{pid}/wchan").read_text() for pid in pids)] == [True] * 2
    return False


def holder_in(folder: Path, tty: str) -> list[dict[str, object]]:
    """What is seen of what brings a terminal to somebody, and of what holds it."""
    host = shells.ShellHost(folder)
    name = f"t{os.getpid()}{tty.strip('-').lower()}"
    command = shlex.join([sys.executable, "-m", "stagedoor.holder", "attach", name])
    with shells.running(host, LocalShell("app01")) as (_, shell):
        config = host.config(shell)
        with subprocess.Popen(
            ["ssh", "-F", config, tty, "shell", command], stdin=subprocess.PIPE
        ) as process:
            wait_until(lambda: [*folder.rglob(f"{name}.faults")])  # its daemon has let go of all
            wait_until(lambda: both_wait(name))
            pids = sorted(pids_of(f"stagedoor.holder attach {name}"))
            found = [{**seen(pid), "parent": None} for pid in pids]
            assert [one.pop("folder") for one in found] == [forks.home()] * len(found)
            process.kill()
            kill_programs_of(next(folder.rglob(f"{name}.faults")).parent)
        return found


@pytest.mark.parametrize("tty", ["-T", "-tt"])
def test_a_holder_in_a_shell_differs_in_nothing_that_can_be_seen(tmp_path: Path, tty: str) -> None:
    made = holder_in(tmp_path / "made", tty)
    assert len(made) == 2
    with forks.by_exec():
        assert holder_in(tmp_path / "exec", tty) == made


def test_a_worker_s_shells_are_made_of_its_own_template_which_ends_with_it(tmp_path: Path) -> None:
    """The worker has threads by then, so nothing can be made of the worker itself."""
    with open_laptop(tmp_path, SSH_TABLE + local("app01")) as laptop:
        [worker] = laptop.gateway.worker_pids()
        children = Path(f"/proc/{worker}/task/{worker}/children")
        [template] = children.read_text().split()
        shown = Path(f"/proc/{template}/cmdline").read_bytes().rstrip(b"\0")
        assert shown == b"template"
        done = laptop.ssh("app01.ssh", "cat /proc/$PPID/environ; echo $PPID", check=True)
        assert b"PYTEST_CURRENT_TEST" in done.stdout, "by exec(2), which is handed less"
        assert children.read_text().split() == [template]
        laptop.gateway.stop()
    wait_until(lambda: not Path(f"/proc/{template}").exists())


HIT_AT_ONCE = """
import asyncio, os, signal
from tests.template import fork_apart

async def main():
    heard = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heard.append, "HUP")
    os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGHUP))
    pid = fork_apart()
    if pid == 0:
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    for _ in range(3):
        await asyncio.sleep(0)
    print(os.WIFSIGNALED(status) and os.WTERMSIG(status), heard)

asyncio.run(main())
"""


def test_a_signal_to_what_is_made_is_not_its_makers() -> None:
    # A holder whose client has gone at once is hung up on; its shell took that for its own, and stopped.
    done = subprocess.run(
        [sys.executable, "-c", HIT_AT_ONCE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(signal.SIGHUP.value), "[]"]


def test_a_template_that_is_too_slow_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "ANSWER_S", 0.001)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(TimeoutError):
            forks.Template(dict(os.environ))
        gc.collect()
    messages = [str(given.message) for given in caught if given.category is ResourceWarning]
    assert messages == []
