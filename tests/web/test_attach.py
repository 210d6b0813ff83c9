"""`stagedoor attach` in a real terminal: what it shows, what it takes along, what it leaves behind.

Numbers are those of the acceptance of the WebShell.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stagedoor.wire.terminal.asciicast import Code, decode_event, decode_header
from tests.fixtures.gateway import Gateway
from tests.waiting import BOUND_S, wait_until
from tests.web.outer import MODES_OFF, attach_command, modes, outer, ssh_command
from tests.web.processes import pids_of
from tests.web.relay import CuttingRelay


def attached(
    folder: Path, port: int, *arguments: str, **options: object
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        attach_command(folder, port, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        **options,  # type: ignore[call-overload]
    )


def listed(folder: Path, port: int) -> bytes:
    """The terminals, as the command shows them."""
    return attached(folder, port, "app01", "--list").communicate(timeout=60)[0]


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)]
)
def test_a_command_in_a_pipe_shows_its_output_alone_and_gives_its_exit_code(
    port: int, tmp_path: Path, command: str, code: int
) -> None:
    process = attached(tmp_path, port, "app01", "--", "sh", "-c", f"printf out; {command}")
    stdout, stderr = process.communicate(timeout=60)
    # bash says "Terminated" itself, after what ran.
    assert stdout.startswith(b"out"), stderr
    assert stdout == b"out" or code == 143
    assert process.returncode == code


def test_what_is_piped_in_is_typed_into_a_shell_of_its_own(port: int, tmp_path: Path) -> None:
    """Its end would end whatever a person has in `main`."""
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--shell"))
        screen.line("kept=here; echo be''gun")
        screen.shows("begun")
        process = attached(tmp_path, port, "app01")
        stdout, _ = process.communicate(b"echo $((40+2))-$kept-${TMUX-none}; exit 7\n", timeout=60)
        assert b"42--none\r\n" in stdout
        assert process.returncode == 7
        process = attached(tmp_path, port, "app01")
        process.communicate(b"", timeout=60)
        assert process.returncode == 0
        screen.line("echo it=$kept.; exit")
        assert "it=here." in screen.shows("exit=0")


@pytest.mark.parametrize("piped", [b"", b"echo $((40+2))\n", b"echo $((40+2))"])
@pytest.mark.parametrize(
    "program", [("bash", "--norc", "-i"), ("sh", "-c", "sleep 0.5; exec bash --norc -i"), ("sh",)]
)
def test_a_program_ends_with_what_is_piped_in_whenever_it_begins_to_read(
    port: int, tmp_path: Path, piped: bytes, program: tuple[str, ...]
) -> None:
    process = attached(tmp_path, port, "app01", "--", *program)
    stdout, stderr = process.communicate(piped, timeout=60)
    assert process.returncode == 0, stderr
    assert (b"42\r\n" in stdout) == bool(piped)


def test_what_is_piped_in_without_a_last_line_end_arrives_as_it_is(
    port: int, tmp_path: Path
) -> None:
    process = attached(tmp_path, port, "app01", "--", "sha256sum")
    stdout, _ = process.communicate(b"abc", timeout=60)
    assert hashlib.sha256(b"abc").hexdigest().encode() in stdout


@pytest.mark.parametrize("way", [("--name", "main"), ("--take-over",)])
def test_what_is_piped_into_a_named_terminal_is_typed_there_and_ends_nothing(
    port: int, tmp_path: Path, way: tuple[str, ...]
) -> None:
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--shell"))
        screen.line("kept=here; echo be''gun")
        screen.shows("begun")
        for piped in (b"", b"echo to=$kept.\n"):
            process = attached(tmp_path, port, "app01", *way)
            _, stderr = process.communicate(piped, timeout=60)
            assert process.returncode == 0, stderr
    listed = attached(tmp_path, port, "app01", "--list")
    assert b"main" in listed.communicate(timeout=60)[0]
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--shell"))
        screen.shows("to=here.")
        screen.line("echo it=$kept.; exit")
        screen.shows("it=here.")


def test_what_no_terminal_type_and_no_locale_can_be_is_left_out(port: int, tmp_path: Path) -> None:
    process = subprocess.run(
        attach_command(tmp_path, port, "app01", "--", "sh", "-c", "echo $TERM"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "TERM": "x" * 300, "LC_ALL": os.fsdecode(b"\xff"), "LANG": "C.UTF-8"},
        timeout=60,
    )
    assert (process.returncode, process.stdout) == (0, b"xterm-256color\r\n"), process.stderr


def test_ctrl_c_in_a_pipe_is_for_the_program_and_a_second_one_leaves_it(
    port: int, tmp_path: Path
) -> None:
    process = attached(tmp_path, port, "app01", "--", "sh", "-c", "echo runs; exec sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == b"runs\r\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    wait_until(lambda: b"run-" not in listed(tmp_path, port))
    stubborn = "trap '' INT; echo runs; while sleep 0.1; do echo no; done"
    process = attached(tmp_path, port, "app01", "--name", "deaf", "--", "sh", "-c", stubborn)
    assert process.stdout is not None
    assert process.stdout.readline() == b"runs\r\n"
    process.send_signal(signal.SIGINT)
    assert any(b"^C" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, b"stagedoor: stopped")
    ended = attached(tmp_path, port, "app01", "--name", "deaf", "--end", "--yes")
    ended.communicate(timeout=60)
    assert ended.returncode == 0


def test_a_log_that_cannot_be_written_ends_nothing(port: int, tmp_path: Path) -> None:
    process = attached(tmp_path, port, "app02", "--log", "/dev/full", "--", "echo", "shown")
    stdout, stderr = process.communicate(b"", timeout=60)
    assert (process.returncode, stdout) == (0, b"shown\r\n"), stderr


@pytest.mark.parametrize(
    ("place", "why"), [("/dev/full", b"No space left on device"), (None, b"Broken pipe")]
)
def test_output_that_cannot_be_written_is_no_success(
    port: int, tmp_path: Path, place: str | None, why: bytes
) -> None:
    """The program ends well meanwhile; a caller who relies on the exit code must not take that for all."""
    if place is None:
        read, target = os.pipe()
        os.close(read)
    else:
        target = os.open(place, os.O_WRONLY)
    process = subprocess.Popen(
        attach_command(tmp_path, port, "app01", "--", "echo", "lost"),
        stdin=subprocess.DEVNULL,
        stdout=target,
        stderr=subprocess.PIPE,
    )
    os.close(target)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 255
    assert b"the output cannot be written: " + why in stderr


@pytest.mark.parametrize("language", ["C", "de_DE.ISO-8859-1"])
def test_who_watches_without_utf_8_is_shown_ascii(port: int, tmp_path: Path, language: str) -> None:
    """Python makes a UTF-8 locale of its own where there is none; their terminal knows nothing of that."""
    name = f"watched-{language.lower()[0]}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LC_")}
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--shell", "--name", name))
        screen.line("printf 'caf\\303\\251%s\\n' end")
        screen.shows("caféend")
        process = subprocess.Popen(
            attach_command(tmp_path, port, "app01", "--name", name, "--watch"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env=environment | {"LANG": language},
        )  # fmt: skip
        assert process.stdout is not None
        shown = next(line for line in process.stdout if b"caf" in line and b"printf" not in line)
        screen.line("exit")
        process.communicate(timeout=60)
    assert b"caf?end" in shown


def test_a_program_ends_with_whoever_reads_what_it_shows(port: int, tmp_path: Path) -> None:
    """Its terminal has a name that no client has seen: it would write for ever."""
    process = attached(tmp_path, port, "app01", "--", "yes")
    assert process.stdout is not None
    assert process.stdout.readline() == b"y\r\n"
    process.stdout.close()
    assert process.stderr is not None
    assert b"Broken pipe" in process.stderr.read()
    process.communicate(timeout=60)
    assert process.returncode == 255
    wait_until(lambda: b"run-" not in listed(tmp_path, port))


def test_who_may_not_enter_is_told_so_on_stderr(port: int, tmp_path: Path) -> None:
    process = attached(tmp_path, port, "secret")
    stdout, stderr = process.communicate(timeout=60)
    assert (stdout, process.returncode) == (b"", 255)
    assert b"secret is not open to dev" in stderr
    assert b"Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--url", "shell.example.com"], b"write https://shell.example.com"),
        (["--url", "http://127.0.0.1:1"], b"127.0.0.1:1"),
        (["--name", "NO"], b"is not a name for a terminal"),
        (["--watch", "--take-over"], b"give only one of --watch"),
        (["--record", "/dev/full"], b"/dev/full cannot be written: No space left on device"),
        (["--record", "/"], b"/ cannot be written: Is a directory"),
        (["--log", "/"], b"/ cannot be written: Is a directory"),
        (["--", "x" * 5000], b"the command has 5000 bytes, more than 4096"),
        (["--", os.fsdecode(b"\xff")], b"the command is not UTF-8"),
    ],
)
def test_what_cannot_be_is_said(
    port: int, tmp_path: Path, arguments: list[str], why: bytes
) -> None:
    process = attached(tmp_path, port, "app01", *arguments)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (2, 255)
    assert why in stderr
    assert b"Traceback" not in stderr


def test_2_a_shell_without_a_language_shows_every_character_and_tmux_has_its_colours(
    port: int, tmp_path: Path
) -> None:
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app02", "--name", "lang"))
        screen.shows("[lang]")
        screen.line("echo é你😀─│; tmux display -p '#{client_utf8} #{client_termfeatures}'")
        shown = screen.shows("RGB")
        assert "\né你😀─│" in shown
        assert "1 256," in shown
        screen.line("exit")
        screen.shows("exit=0")


def test_the_tmux_of_an_app_is_that_apps_alone_and_a_login_by_ssh_finds_it(
    gateway: Gateway, port: int, tmp_path: Path
) -> None:
    """On one machine all apps' shells run as one account, which has one tmux of its own."""
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--name", "same"))
        screen.shows("[same]")
        screen.line("clear; tmux set @whose first; echo in=$APP_NAME.")
        screen.shows("in=app01.")
        screen.run(attach_command(tmp_path, port, "app02", "--name", "same"))
        screen.shows("[same]")
        screen.line("clear; echo in=$APP_NAME. whose=$(tmux show -qv @whose).")
        screen.shows("in=. whose=.")
        screen.line("exit")
        screen.shows("exit=0")
        login = ssh_command(gateway, tmp_path, "tmux show -t same -v @whose; tmux kill-server")
        screen.run(login)
        assert "first" in screen.shows("exit=0").split()


def full_screen(folder: Path, port: int, name: str) -> list[str]:
    """A program on the alternate screen, with mouse, keypad and more, as tmux has them."""
    on = r"\033[?1049h\033[?1h\033=\033[?1000h\033[?1002h\033[?1006h\033[?2004h\033[?25l"
    # Where this is typed, what it shows is not to be seen before it runs.
    return attach_command(
        folder, port, "app01", "--name", name, "--",
        "sh", "-c", f"printf '{on}FU''LL'; exec sleep 600",
    )  # fmt: skip


def test_3_whoever_detaches_from_a_full_screen_program_has_his_own_screen_again(
    port: int, tmp_path: Path
) -> None:
    with outer(tmp_path) as screen:
        screen.start(full_screen(tmp_path, port, "full"))
        screen.shows("FULL")
        assert screen.flag("mouse_any_flag") == "1"
        assert screen.flag("alternate_on") == "1"
        screen.type("\r~.")
        screen.shows("detached from full of app01")
        screen.shows("exit=0")
        assert modes(screen) == MODES_OFF


def test_a_window_that_is_closed_ends_no_shell(port: int, tmp_path: Path) -> None:
    """The kernel informs the session's leader of it; `attach` may only find the end of its input."""
    again = attach_command(tmp_path, port, "app01", "--shell", "--name", "closed")
    with outer(tmp_path) as screen:
        screen.start(again)
        screen.line("kept=here; echo be''gun")
        screen.shows("begun")
        screen.tmux("kill-server")
    with outer(tmp_path) as screen:
        screen.start(again)
        screen.line("echo it=$kept.; exit")
        assert "it=here." in screen.shows("exit=0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_3_so_has_one_whose_client_is_ended(
    port: int, tmp_path: Path, number: signal.Signals
) -> None:
    with outer(tmp_path) as screen:
        screen.start(full_screen(tmp_path, port, f"ended{number}"))
        screen.shows("FULL")
        (pid,) = pids_of(
            f"stagedoor attach --url http://127.0.0.1:{port} --user dev --token-file {tmp_path}"
        )
        os.kill(pid, number)
        screen.shows("exit=255")
        assert modes(screen) == MODES_OFF


def test_suspended_and_resumed_in_a_shell_with_jobs(port: int, tmp_path: Path) -> None:
    with outer(tmp_path) as screen:
        screen.start(["bash", "--norc", "-i"])
        screen.shows("bash-")
        import shlex

        screen.line(shlex.join(full_screen(tmp_path, port, "susp")))
        screen.shows("FULL")
        screen.type("\r~\x1a")
        screen.shows("Stopped")
        assert modes(screen) == MODES_OFF
        screen.line("fg")
        wait_until(lambda: screen.flag("mouse_any_flag") == screen.flag("alternate_on") == "1")
        screen.type("\r~.")
        screen.shows("detached")


def test_whoever_waits_for_an_answer_that_does_not_come_can_still_leave(
    port: int, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        CuttingRelay(port, every_bytes=1, armed=False) as relay,
        outer(tmp_path) as screen,
    ):
        silent.settimeout(BOUND_S)
        screen.start(attach_command(tmp_path, relay.port, "app01", "--shell", "--name", "silent"))
        screen.line("echo $((40+2))-here")
        screen.shows("42-here")
        relay.to_port = silent.getsockname()[1]
        relay.armed = True
        screen.keys("Enter")
        asked, _ = silent.accept()
        with asked:
            assert asked.recv(4) == b"POST"
            screen.type("\r~.")
            screen.shows("detached from silent of app01")
            screen.shows("exit=0")
    assert "did not answer" not in (tmp_path / "attach.log").read_text(), "it was heard afterwards"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_what_is_for_a_closed_stdout_gets_into_no_file(
    port: int, tmp_path: Path, closed: str
) -> None:
    record = tmp_path / "shown.cast"
    command = attach_command(
        tmp_path, port, "app01", "--record", str(record), "--", "sh", "-c", "echo shown; read a"
    )
    process = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], timeout=60)
    assert process.returncode in (0, 1)  # of `read`, whose input has ended
    first, *rest = record.read_bytes().splitlines()
    decode_header(first)
    events = [decode_event(line, number) for number, line in enumerate(rest, 2)]
    assert "".join(event.data for event in events) == "shown\r\n"


def test_what_is_shown_is_recorded_and_can_be_played(port: int, tmp_path: Path) -> None:
    record = tmp_path / "shown.cast"
    process = attached(tmp_path, port, "app01", "--record", str(record), "--", "printf", "é你\\n")
    process.communicate(timeout=60)
    assert record.stat().st_mode & 0o777 == 0o600
    first, *rest = record.read_bytes().splitlines()
    header = decode_header(first)
    events = [decode_event(line, number) for number, line in enumerate(rest, 2)]
    assert header.width == 80
    assert "".join(event.data for event in events if event.code == Code.OUTPUT) == "é你\r\n"


def test_a_refusal_is_said_once(port: int, tmp_path: Path) -> None:
    process = subprocess.run(
        attach_command(tmp_path, port, "app01", "--token-file", str(wrong_token(tmp_path))),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,  # there is no terminal to ask at
        timeout=60,
    )
    assert process.returncode == 255
    assert process.stderr.count("\n") == 1, process.stderr
    assert process.stderr.startswith("stagedoor: app01 is not open to dev: "), process.stderr


def test_a_machine_without_a_login_is_told_how_it_gets_one(port: int, tmp_path: Path) -> None:
    """Where no person can be asked, nothing else says that a browser would do."""
    url = f"http://127.0.0.1:{port}"
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "stagedoor",
            "attach",
            "--url",
            url,
            "--user",
            "dev",
            "app01",
            "--",
            "true",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert process.returncode == 255
    assert process.stderr == (
        "stagedoor: app01 is not open to dev: sign in with your password or a token; or log in: "
        f"stagedoor login {url}\n"
    )


def wrong_token(folder: Path) -> Path:
    file = folder / "wrong"
    file.touch(mode=0o600)
    file.write_text("sdt_wrong")
    return file
