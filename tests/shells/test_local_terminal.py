"""A real terminal: what programs in it see, as the client asked for it."""

import os
import signal
import subprocess
import termios
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.shells.local.settings import LocalShell
from stagedoor.shells.local.terminal import Terminal, with_modes
from tests.fixtures.laptop import Ssh
from tests.fixtures.terminal import Console, console
from tests.shells.host import ShellHost, running
from tests.waiting import wait_until


def at_terminal(config: Path, *command: str) -> AbstractContextManager[Console]:
    return console(["ssh", "-F", str(config), "-tt", "shell", *command], 111, 40)


def test_a_login_is_on_a_terminal_of_its_own_that_controls_it(config: Path) -> None:
    with at_terminal(
        config,
        "tty; tty </dev/tty; stty size; echo TERM=$TERM; ps -o stat= -p $$; "
        "[ $(ps -o sid= -p $$) = $$ ] && echo leader",
    ) as person:
        person.matches(
            rb"/dev/pts/\d+\r\n/dev/tty\r\n40 111\r\nTERM=xterm-256color\r\nSN?s\+\r\nleader"
        )
        assert person.ends() == 0


def test_the_size_is_right_before_the_first_program_runs_and_follows_the_window(
    config: Path,
) -> None:
    with at_terminal(
        config,
        "stty size; trap 'echo changed; stty size' WINCH; echo ready; "
        "for i in $(seq 3000); do sleep 0.01; done",
    ) as person:
        person.matches(rb"40 111\r\nready")
        person.resize(132, 50)
        person.matches(rb"changed\r\n50 132")


@pytest.mark.parametrize(
    ("login_shell", "line"),
    [
        # Debian's /etc/profile sets a PATH of its own for each login of sh.
        ("/bin/sh", b"PATH=/usr/bin:/bin\nstagedoor-get /nowhere/none\n"),
        ("/usr/bin/zsh", b"stagedoor-get /nowhere/none\n"),
        ("/usr/bin/fish", b"stagedoor-get /nowhere/none\n"),
    ],
)
def test_a_login_shell_finds_the_program_for_files(
    host: ShellHost, login_shell: str, line: bytes, tmp_path: Path
) -> None:
    if not Path(login_shell).exists():
        pytest.skip(f"as root: apt-get install {Path(login_shell).name}")
    (tmp_path / ".zshrc").touch()  # without one zsh asks a newcomer what to do
    app = LocalShell("app01", env={"ZDOTDIR": str(tmp_path)}, login_shell=login_shell)
    with running(host, app) as (_, shell), at_terminal(host.config(shell)) as person:
        person.type(line)
        person.matches(rb"stagedoor-get: there is no /nowhere/none")


def test_an_interactive_login_shell_has_job_control_and_control_c(config: Path) -> None:
    with at_terminal(config) as person:
        person.type(b"PS1='pro''mpt> '; shopt login_shell\n")
        person.matches(rb"login_shell\s+on")
        person.matches(rb"prompt> ")
        person.type(b"sh -c 'echo up$((1 + 1)); exec sleep 600'\n")
        person.matches(rb"up2\r\n")
        person.type(b"\x03")
        person.matches(rb"prompt> ")
        person.type(b"sh -c 'echo up$((1 + 1)); exec sleep 600'\n")
        person.matches(rb"up2\r\n")
        person.type(b"\x1a")
        person.matches(rb"Stopped")
        # The first exit may be refused: there is a stopped job.
        person.type(b"kill -9 %1; exit 9\nexit 9\n")
        assert person.ends() == 9


def test_a_break_interrupts_what_is_in_the_foreground(config: Path) -> None:
    with at_terminal(config) as person:
        person.type(
            b"sh -c 'trap \"echo bro\"ken INT; echo up$((1 + 1)); while :; do sleep 0.02; done'\n"
        )
        person.matches(rb"up2\r\n")
        person.type(b"\r~B")
        person.matches(rb"broken\r\n")


def test_the_end_of_a_login_is_not_held_up_by_what_runs_in_the_background(config: Path) -> None:
    with at_terminal(config) as person:
        person.type(b"sleep 600 & echo pid=$! ; disown; exit 5\n")
        pid = int(person.matches(rb"pid=(\d+)\r")[1])
        assert person.ends() == 5
        os.kill(pid, signal.SIGKILL)


def test_nothing_that_was_written_before_the_end_is_lost(ssh: Ssh) -> None:
    for _ in range(5):
        done = ssh("seq 1 20000; exit 3", "-tt")
        assert done.returncode == 3
        assert done.stdout.replace(b"\r", b"").split() == [b"%d" % n for n in range(1, 20001)]


def test_modes_of_the_client_s_terminal_are_applied(config: Path) -> None:
    command = f"stty -echo intr ^G -ixon; exec ssh -F {config} -tt shell 'stty -a'"
    with console(["sh", "-c", command]) as person:
        shown = person.matches(rb"(?s)speed.*extproc")[0]
        assert b"intr = ^G" in shown
        assert b" -echo " in shown
        assert b" -ixon " in shown
        assert b" icanon" in shown


def test_closing_the_window_hangs_up_the_login(config: Path, tmp_path: Path) -> None:
    flag = tmp_path / "hup"
    command = f"trap 'touch {flag}; exit' HUP; echo ready; while :; do sleep 0.02; done"
    with at_terminal(config, command) as person:
        person.matches(rb"ready")
        person.process.kill()
    wait_until(flag.exists)


def test_tmux_works_and_its_session_survives_a_hang_up(config: Path, tmp_path: Path) -> None:
    tmux = f"tmux -S {tmp_path}/tmux -f /dev/null"
    try:
        with at_terminal(config, f"{tmux} new-session -s work") as person:
            person.matches(rb"\[work\]")
            person.type(b"echo si''ze $(tput cols)x$(tput lines)\n")
            person.matches(rb"size 111x39")
            person.type(b"marker=kept; echo s''et\n")
            person.matches(rb"set")
            person.process.kill()
        with at_terminal(config, f"{tmux} attach -t work") as person:
            person.matches(rb"\[work\]")
            person.type(b"echo it is $mark''er; echo it is ${marker}!\n")
            person.matches(rb"it is kept!")
            person.type(b"exit\n")
            assert person.ends() == 0
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
