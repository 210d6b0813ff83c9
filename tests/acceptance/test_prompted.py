"""Commands with a terminal of their own, as people have."""

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from acceptance.prompted import KILLED, Prompted, run
from tests.waiting import wait_until

ASK = "import getpass, sys; sys.stdout.write(getpass.getpass('Password: ')); sys.exit(7)"


def lives(pid: str) -> bool:
    """A zombie has no command line (proc(5))."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> Counter[str]:
    """Count the open file descriptors of this process by what they refer to."""
    terminals: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the folder itself, or closed since
            terminals[str(path.readlink())] += 1
    return terminals


def test_a_password_is_typed_where_it_is_asked_for_and_shown_nowhere() -> None:
    done = run([sys.executable, "-c", ASK], password="geheim ☕")
    assert (done.code, done.stdout.decode(), done.stderr) == (7, "geheim ☕", "")


def test_input_output_and_errors_are_kept_apart() -> None:
    done = run(["sh", "-c", "cat; echo no >&2; exit 3"], stdin=b"yes")
    assert (done.code, done.stdout, done.stderr, done.said) == (3, b"yes", "no\n", "no")


def test_much_goes_from_file_to_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(3_000_000))
    assert run(["cat"], stdin=tmp_path / "in", stdout=tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_what_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "pid"
    done = run(["sh", "-c", f"sleep 300 & echo $! >{child}; wait"], timeout_s=5)
    assert done.code == KILLED
    # Its parent is gone too; the process that adopts orphans reaps it soon.
    wait_until(lambda: not lives(child.read_text().strip()))


def test_a_program_that_is_not_here_is_told_and_leaves_nothing_open() -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError):
        Prompted(["no-such-program"], stdin=None)
    # Others in this process may close something meanwhile.
    assert not open_files() - before


def test_a_terminal_is_talked_with_as_a_person_does() -> None:
    with Prompted(["sh"], on_terminal=True) as shell:
        shell.type("stty size; tty | sed 's,/.*/,,'\n")
        shell.expect("30 100")
        shell.type("echo $((40+2))-said; exit 5\n")
        shell.expect("42-said")
        assert shell.wait().code == 5


def test_waiting_for_what_is_never_said_ends_with_the_command() -> None:
    with Prompted(["echo", "something else"]) as command, pytest.raises(TimeoutError) as caught:
        command.expect("never said")
    assert "something else" in str(caught.value)


def test_a_command_that_is_left_is_gone() -> None:
    with Prompted(["cat"], stdin=None) as command:
        assert not command.ends_within(0)
    assert command.ended
    command.type("nobody reads this\n")
