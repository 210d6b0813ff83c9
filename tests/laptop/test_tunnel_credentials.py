"""The sources of the credential, their order, and the message when it does not help."""

import base64
import os
import pty
import re
import select
import signal
import socket
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedoor.laptop.tunnel import errors
from tests.laptop.conftest import PATIENCE_S, TUNNEL, Tunnel
from tests.laptop.scripted_gateway import ScriptedGateway, answering, echoing, refusing

WRONG = refusing(407, "name or password is wrong", 'Proxy-Authenticate: Basic realm="Stagedoor"')


def shown(request: bytes) -> str | None:
    """The credential in a request, None if there is none."""
    for line in request.decode().split("\r\n"):
        name, _, value = line.partition(": Basic ")
        if name == "Proxy-Authorization":
            return base64.b64decode(value).decode()
    return None


def token_file(home: Path, content: str, mode: int = 0o600) -> Path:
    file = home / ".config" / "stagedoor" / "token"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


def program(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def everywhere(home: Path, tmp_path: Path) -> dict[str, str]:
    """A different secret in every place; a test takes places away from the front."""
    token_file(home, "from-file\n")
    programs = tmp_path / "bin"
    helper = program(programs, "helper", 'echo "from-helper $STAGEDOOR_USER $STAGEDOOR_GATEWAY"')
    program(programs, "secret-tool", 'echo "from-keyring $*"')
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "STAGEDOOR_CREDENTIAL_HELPER": str(helper),
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
        "STAGEDOOR_TOKEN": "from-token-variable",
        "STAGEDOOR_PASSWORD": "from-password-variable",
    }


def test_the_first_place_that_holds_a_credential_is_used(
    tunnel_to: Tunnel, home: Path, everywhere: dict[str, str]
) -> None:
    with ScriptedGateway([echoing]) as gateway:
        place = gateway.address
        assert tunnel_to(place, **everywhere).returncode == errors.OK
        (home / ".config/stagedoor/token").unlink()
        tunnel_to(place, **everywhere)
        del everywhere["STAGEDOOR_CREDENTIAL_HELPER"]
        tunnel_to(place, **everywhere)
        del everywhere["DBUS_SESSION_BUS_ADDRESS"]
        tunnel_to(place, **everywhere)
        del everywhere["STAGEDOOR_TOKEN"]
        tunnel_to(place, **everywhere)
        del everywhere["STAGEDOOR_PASSWORD"]
        tunnel_to(place, **everywhere)
    assert [shown(request) for request in gateway.requests] == [
        "anna:from-file",
        f"anna:from-helper anna {place}",
        f"anna:from-keyring lookup service stagedoor gateway {place} user anna",
        "anna:from-token-variable",
        "anna:from-password-variable",
        None,
    ]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_a_token_file_that_others_can_open_is_not_used(
    tunnel_to: Tunnel, home: Path, mode: int
) -> None:
    file = token_file(home, "known-to-all", mode)
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, STAGEDOOR_TOKEN="other")
    assert done.returncode == errors.CREDENTIAL
    assert f"chmod 600 {file}".encode() in done.stderr
    assert gateway.requests == []


@pytest.mark.parametrize(
    ("content", "words"), [("", "is empty"), ("a\x1bb\n", "contains a control character")]
)
def test_a_token_file_without_a_usable_token_is_an_error(
    tunnel_to: Tunnel, home: Path, content: str, words: str
) -> None:
    token_file(home, content)
    done = tunnel_to("127.0.0.1:1")
    assert done.returncode == errors.CREDENTIAL
    assert words in done.stderr.decode()


def test_a_named_token_file_must_be_there(tunnel_to: Tunnel, tmp_path: Path) -> None:
    done = tunnel_to("127.0.0.1:1", "--token-file", str(tmp_path / "none"))
    assert done.returncode == errors.CREDENTIAL
    assert b"No such file" in done.stderr


@pytest.mark.parametrize(
    ("helper", "words"),
    [
        ("false", "failed with exit code 1"),
        ("/nonexistent/helper", "could not be run: No such file"),
        ("'unbalanced", "could not be run: No closing quotation"),
        ("yes", "could not be run: it printed more than 65536 bytes"),
    ],
)
def test_a_helper_that_fails_is_named(tunnel_to: Tunnel, helper: str, words: str) -> None:
    done = tunnel_to("127.0.0.1:1", "--credential-helper", helper)
    assert done.returncode == errors.CREDENTIAL
    assert words in done.stderr.decode()


def test_a_helper_cannot_eat_what_ssh_sends(tunnel_to: Tunnel, tmp_path: Path) -> None:
    helper = program(tmp_path, "helper", "cat >&2; echo secret")
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(
            gateway.address, "--credential-helper", str(helper), stdin=b"SSH-2.0-mine\r\n"
        )
    assert done.stdout == b"SSH-2.0-mine\r\n"


def test_a_helpers_words_are_not_run_by_a_shell(tunnel_to: Tunnel, tmp_path: Path) -> None:
    with ScriptedGateway([echoing]) as gateway:
        tunnel_to(gateway.address, "--credential-helper", f"echo '$(touch {tmp_path}/owned)'; x")
    assert not (tmp_path / "owned").exists()
    assert shown(gateway.requests[0]) == f"anna:$(touch {tmp_path}/owned); x"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"STAGEDOOR_TOKEN": "s3cret"}, "from the variable STAGEDOOR_TOKEN: name or password"),
        ({"STAGEDOOR_CREDENTIAL_HELPER": "echo s3cret"}, "the credential helper 'echo s3cret'"),
    ],
)
def test_a_refused_credential_is_named_by_its_source_and_not_asked_for_again(
    tunnel_to: Tunnel, variables: dict[str, str], words: str
) -> None:
    with ScriptedGateway([WRONG]) as gateway:
        done = tunnel_to(gateway.address, **variables)
    assert done.returncode == errors.CREDENTIAL
    assert words in done.stderr.decode()
    assert len(gateway.requests) == 1


def test_a_refused_token_file_is_named_with_what_mends_it(tunnel_to: Tunnel, home: Path) -> None:
    file = token_file(home, "s3cret")
    with ScriptedGateway([WRONG]) as gateway:
        done = tunnel_to(gateway.address)
    assert f"{file}: name or password is wrong; fix: put a new token into it" in (
        done.stderr.decode()
    )
    assert b"s3cret" not in done.stderr


def test_without_any_credential_and_nobody_to_ask_the_fix_is_told(
    tunnel_to: Tunnel, home: Path
) -> None:
    with ScriptedGateway([WRONG]) as gateway:
        done = tunnel_to(gateway.address, stdin=b"not a password\n")
    assert done.returncode == errors.CREDENTIAL
    assert f"put your token into {home}/.config/stagedoor/token" in done.stderr.decode()
    assert [shown(request) for request in gateway.requests] == [None]


def test_ssh_askpass_is_asked_where_there_is_no_terminal(tunnel_to: Tunnel, tmp_path: Path) -> None:
    askpass = program(tmp_path, "askpass", 'test "$1" && echo spoken')
    with ScriptedGateway([WRONG, echoing]) as gateway:
        done = tunnel_to(
            gateway.address, stdin=b"SSH-", SSH_ASKPASS=str(askpass), DISPLAY=":nowhere"
        )
    assert done.stdout == b"SSH-"
    assert [shown(request) for request in gateway.requests] == [None, "anna:spoken"]


def on_a_terminal(
    env: dict[str, str],
    gateway: str,
    typed: list[bytes | int],
    watch: Callable[[bytes], None] = lambda _screen: None,
    prompt: str = "Password or token of anna",
) -> tuple[int, bytes, str]:
    """Run with a terminal to ask; `typed` is entered at each `prompt`. Code, stdout, the screen.

    A number in `typed` is a signal to send instead.

    `watch` is called with the screen each time that it changes.
    """
    command = [*TUNNEL, "--gateway", gateway, "app01.ssh"]
    pid, terminal = pty.fork()
    out = Path(env["HOME"]) / "stdout"
    if pid == 0:
        words = " ".join(f"'{word}'" for word in command)
        os.execve("/bin/sh", ["sh", "-c", f"exec {words} </dev/null >'{out}'"], env)
    screen = b""
    left = list(typed)
    while True:
        assert select.select([terminal], [], [], PATIENCE_S)[0]
        try:
            more = os.read(terminal, 4096)
        except OSError:  # EIO: the other side has ended
            break
        screen += more
        watch(screen)
        if left and screen.count(prompt.encode()) == len(typed) - len(left) + 1:
            entry = left.pop(0)
            if isinstance(entry, int):
                os.kill(pid, entry)
            else:
                os.write(terminal, entry)
    assert termios.tcgetattr(terminal)[3] & termios.ECHO, "the terminal was left mute"
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), out.read_bytes(), screen.decode()


def test_the_terminal_is_asked_only_after_the_gateway_asked_and_shows_no_secret(
    env: dict[str, str],
) -> None:
    with ScriptedGateway([WRONG, WRONG, answering(b"HTTP/1.1 200 OK\r\n\r\nhi")]) as gateway:
        code, stdout, screen = on_a_terminal(env, gateway.address, [b"wr0ng\n", b"r1ght\n"])
    assert (code, stdout) == (errors.OK, b"hi")
    assert [shown(r) for r in gateway.requests] == [None, "anna:wr0ng", "anna:r1ght"]
    assert "wr0ng" not in screen
    assert "r1ght" not in screen
    assert "not accepted: name or password is wrong" in screen


def test_the_prompt_is_in_the_locale_s_language(env: dict[str, str]) -> None:
    with ScriptedGateway([WRONG, WRONG, answering(b"HTTP/1.1 200 OK\r\n\r\nhi")]) as gateway:
        prompt = f"anna 在 {gateway.address} 的密码或令牌："
        chinese = env | {"LC_ALL": "zh_CN.UTF-8"}
        code, _, screen = on_a_terminal(
            chinese, gateway.address, [b"wr0ng\n", b"r1ght\n"], prompt=prompt
        )
    assert code == errors.OK
    assert "stagedoor: 未被接受：" in screen


def test_after_three_wrong_answers_at_the_prompt_it_ends(env: dict[str, str]) -> None:
    with ScriptedGateway([WRONG]) as gateway:
        code, _, screen = on_a_terminal(env, gateway.address, [b"a\n", b"b\n", b"c\n"])
    assert code == errors.CREDENTIAL
    assert len(gateway.requests) == 4
    assert "refused the credential of anna from the prompt" in screen


def test_ctrl_c_at_the_prompt_ends_quietly_with_the_echo_restored(env: dict[str, str]) -> None:
    with ScriptedGateway([WRONG]) as gateway:
        code, _, screen = on_a_terminal(env, gateway.address, [b"\x03"])
    assert code == errors.INTERRUPTED
    assert "Traceback" not in screen


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_at_the_prompt_restores_the_echo_first(env: dict[str, str], number: int) -> None:
    """As from ssh, whose ConnectTimeout ends its ProxyCommand while the developer types."""
    with ScriptedGateway([WRONG]) as gateway:
        code, _, _ = on_a_terminal(env, gateway.address, [number])
    assert code == -number


def test_a_prompt_that_was_stopped_is_shown_again(env: dict[str, str]) -> None:
    with ScriptedGateway([WRONG, answering(b"HTTP/1.1 200 OK\r\n\r\nhi")]) as gateway:
        code, _, screen = on_a_terminal(env, gateway.address, [signal.SIGTSTP, b"r1ght\n"])
    assert code == errors.OK
    assert "r1ght" not in screen


def test_a_cold_start_is_told_on_a_terminal_and_wiped_away(env: dict[str, str]) -> None:
    notified = threading.Event()

    def starting(conn: socket.socket, _target: str) -> None:
        assert notified.wait(PATIENCE_S)
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def watch(screen: bytes) -> None:
        if re.search(rb"stagedoor: waiting for app01\.ssh:22, [1-9]\d* s", screen):
            notified.set()

    with ScriptedGateway([starting]) as gateway:
        code, stdout, screen = on_a_terminal(env, gateway.address, [], watch)
    assert (code, stdout) == (errors.OK, b"")
    assert screen.endswith("\r\x1b[K")


def test_a_secret_that_is_not_utf_8_is_sent_as_it_is(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, STAGEDOOR_PASSWORD=os.fsdecode(b"caf\xe9"))
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert base64.b64encode(b"anna:caf\xe9") in gateway.requests[0]
