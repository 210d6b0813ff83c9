"""A real terminal: what programs in it see, as the client asked for it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.local.terminal import Terminal, with_modes
from tests.shells.world import BOUND_S, Ssh, wait_until


class Person:
    """A developer at a terminal of their own, in which `words` run."""

    def __init__(self, words: list[str | Path], rows: int = 40, columns: int = 111) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        environment = os.environ | {"TERM": "xterm-256color"}
        environment.pop("TMUX", None)
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, pattern: bytes) -> "re.Match[bytes]":
        """Wait until the screen shows `pattern`; what was before it is forgotten."""
        deadline = time.monotonic() + BOUND_S
        while not (match := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{pattern!r} was never seen; the screen shows {self.seen!r}"
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                raise AssertionError(f"{pattern!r} was never seen: {self.seen!r}") from None
        self.seen = self.seen[match.end() :]
        return match

    def leaves(self) -> int:
        """Wait for the end; returns the exit code."""
        deadline = time.monotonic() + BOUND_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    break
        return self.process.wait(BOUND_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def person(config: Path, monkeypatch: pytest.MonkeyPatch) -> "type[Person]":
    return Person


def at_terminal(config: Path, *command: str) -> Person:
    return Person(["ssh", "-F", config, "-tt", "shell", *command])


def test_a_login_is_on_a_terminal_of_its_own_that_controls_it(config: Path) -> None:
    person = at_terminal(
        config,
        "tty; tty </dev/tty; stty size; echo TERM=$TERM; ps -o stat= -p $$; "
        "[ $(ps -o sid= -p $$) = $$ ] && echo leader",
    )
    try:
        person.sees(
            rb"/dev/pts/\d+\r\n/dev/tty\r\n40 111\r\nTERM=xterm-256color\r\nSN?s\+\r\nleader"
        )
        assert person.leaves() == 0
    finally:
        person.close()


def test_the_size_is_right_before_the_first_program_runs_and_follows_the_window(
    config: Path,
) -> None:
    person = at_terminal(
        config, "stty size; trap 'echo changed; stty size' WINCH; echo ready; "
        "for i in $(seq 3000); do sleep 0.01; done",
    )  # fmt: skip
    try:
        person.sees(rb"40 111\r\nready")
        person.resize(50, 132)
        os.kill(person.process.pid, signal.SIGWINCH)
        person.sees(rb"changed\r\n50 132")
    finally:
        person.close()


def test_an_interactive_login_shell_has_job_control_and_control_c(config: Path) -> None:
    person = at_terminal(config)
    try:
        person.types("PS1='pro''mpt> '; shopt login_shell\n")
        person.sees(rb"login_shell\s+on")
        person.sees(rb"prompt> ")
        person.types("sh -c 'echo up$((1 + 1)); exec sleep 600'\n")
        person.sees(rb"up2\r\n")
        person.types("\x03")
        person.sees(rb"prompt> ")
        person.types("sh -c 'echo up$((1 + 1)); exec sleep 600'\n")
        person.sees(rb"up2\r\n")
        person.types("\x1a")
        person.sees(rb"Stopped")
        # The first exit may be refused: there is a stopped job.
        person.types("kill -9 %1; exit 9\nexit 9\n")
        assert person.leaves() == 9
    finally:
        person.close()


def test_a_break_interrupts_what_is_in_the_foreground(config: Path) -> None:
    person = at_terminal(config)
    try:
        person.types(
            "sh -c 'trap \"echo bro\"ken INT; echo up$((1 + 1)); while :; do sleep 0.02; done'\n"
        )
        person.sees(rb"up2\r\n")
        person.types("\r~B")
        person.sees(rb"broken\r\n")
    finally:
        person.close()


def test_the_end_of_a_login_is_not_held_up_by_what_runs_in_the_background(config: Path) -> None:
    person = at_terminal(config)
    try:
        person.types("sleep 600 & echo pid=$! ; disown; exit 5\n")
        pid = int(person.sees(rb"pid=(\d+)\r")[1])
        assert person.leaves() == 5
        os.kill(pid, signal.SIGKILL)
    finally:
        person.close()


def test_nothing_that_was_written_before_the_end_is_lost(ssh: Ssh) -> None:
    for _ in range(5):
        done = ssh("seq 1 20000; exit 3", "-tt")
        assert done.returncode == 3
        assert done.stdout.replace(b"\r", b"").split() == [b"%d" % n for n in range(1, 20001)]


def test_modes_of_the_client_s_terminal_are_applied(config: Path) -> None:
    person = Person(
        ["sh", "-c", f"stty -echo intr ^G -ixon; exec ssh -F {config} -tt shell 'stty -a'"]
    )
    try:
        shown = person.sees(rb"(?s)speed.*extproc")[0]
        assert b"intr = ^G" in shown
        assert b" -echo " in shown
        assert b" -ixon " in shown
        assert b" icanon" in shown
    finally:
        person.close()


def test_closing_the_window_hangs_up_the_login(config: Path, tmp_path: Path) -> None:
    flag = tmp_path / "hup"
    person = at_terminal(
        config, f"trap 'touch {flag}; exit' HUP; echo ready; while :; do sleep 0.02; done"
    )
    try:
        person.sees(rb"ready")
    finally:
        person.close()
    wait_until(flag.exists)


def test_tmux_works_and_its_session_survives_a_hang_up(config: Path, tmp_path: Path) -> None:
    tmux = f"tmux -S {tmp_path}/tmux -f /dev/null"
    try:
        person = at_terminal(config, f"{tmux} new-session -s work")
        try:
            person.sees(rb"\[work\]")
            person.types("echo si''ze $(tput cols)x$(tput lines)\n")
            person.sees(rb"size 111x39")
            person.types("marker=kept; echo s''et\n")
            person.sees(rb"set")
        finally:
            person.close()
        person = at_terminal(config, f"{tmux} attach -t work")
        try:
            person.sees(rb"\[work\]")
            person.types("echo it is $mark''er; echo it is ${marker}!\n")
            person.sees(rb"it is kept!")
            person.types("exit\n")
            assert person.leaves() == 0
        finally:
            person.close()
    finally:
        subprocess.run(
            ["tmux", "-S", tmp_path / "tmux", "kill-server"], capture_output=True, check=False
        )


def test_without_a_terminal_there_is_none(ssh: Ssh) -> None:
    assert ssh("tty; env | grep -c ^TERM=; cat </dev/tty").stdout == b"not a tty\n0\n"


def test_rfc_4254_modes_by_their_numbers() -> None:
    terminal = Terminal.open(
        "xterm", (80, 24, 0, 0), {53: 0, 51: 0, 3: 8, 1: 255, 72: 1, 129: 9600}
    )
    try:
        _, oflag, _, lflag, _, ospeed, characters = termios.tcgetattr(terminal.slave)
        assert not lflag & (termios.ECHO | termios.ICANON)
        assert oflag & termios.ONLCR
        assert characters[termios.VERASE] == b"\x08"
        assert characters[termios.VINTR] == b"\x00"
        assert ospeed == termios.B9600
    finally:
        terminal.close_slave()
        os.close(terminal.master)


def test_modes_that_a_pty_cannot_have_do_not_keep_it_from_the_others() -> None:
    terminal = Terminal.open("xterm", (80, 24, 0, 0), {90: 1, 92: 1, 53: 0})
    try:
        assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO
    finally:
        terminal.close_slave()
        os.close(terminal.master)


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1), max_size=30))
def test_any_modes_give_attributes_that_a_terminal_takes(modes: dict[int, int]) -> None:
    terminal = Terminal.open("any", (2**32 - 1, 0, 7, 2**31), modes)
    try:
        before = termios.tcgetattr(terminal.slave)
        copy = [list(a) if isinstance(a, list) else a for a in before]
        with_modes(before, modes)
        assert before == copy, "what was given is left as it is"
    finally:
        terminal.close_slave()
        os.close(terminal.master)
