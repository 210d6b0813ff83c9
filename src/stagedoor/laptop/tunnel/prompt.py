"""Prompts for the credential, by SSH_ASKPASS or on the terminal, and for a reason for access."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from stagedoor.laptop.tunnel.connect import find_offer
from stagedoor.laptop.tunnel.errors import (
    CREDENTIAL,
    ON_REQUEST,
    TunnelError,
    clean,
    show,
    translate,
)
from stagedoor.laptop.tunnel.secret import Secret, check_secret, run_program

REASON_CHARS = 300  # the gateway's limit
_SIGNALS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagedoor.laptop.tunnel.options import Options


def ask_person(options: Options, rejected: str = "") -> Secret | None:
    """Ask for the credential, by SSH_ASKPASS or on the terminal as ssh(1) does. Return None without either.

    `rejected` is the reason that the last answer was refused. It is shown before the prompt. Raises
    TunnelError.
    """
    notice = f"stagedoor: not accepted: {clean(rejected)}\n" if rejected else ""
    question = translate(f"Password or token of {options.user} at {options.gateway}: ")
    env, askpass = options.env, options.env.get("SSH_ASKPASS")
    require = env.get("SSH_ASKPASS_REQUIRE", "")
    display = env.get("DISPLAY") or env.get("WAYLAND_DISPLAY")
    if askpass and (require == "force" or (require == "prefer" and display)):
        show(notice)
        return ask_program(askpass, question, env)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        if not (askpass and display and require != "never"):
            return None
        show(notice)
        return ask_program(askpass, question, env)
    prompt = clean(question).encode() + b" "
    try:
        os.write(terminal, translate(notice).encode())
        with disable_echo(terminal, prompt):
            typed = read_line(terminal)
    except OSError:
        return None
    finally:
        os.close(terminal)
    return check_secret(typed, "the prompt", "fix: try again")


@contextmanager
def disable_echo(terminal: int, prompt: bytes) -> Iterator[None]:
    """Show `prompt` and turn the terminal's echo off. Raises OSError.

    A signal that ends or stops this process restores the echo first, as in readpassphrase(3). When a stopped
    process continues, it shows the prompt again.
    """
    import termios
    import threading

    def hide() -> None:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        os.write(terminal, prompt)

    def restore() -> None:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, settings)
        os.write(terminal, b"\n")

    def handle(number: int, _frame: object) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, handle)  # it was stopped, and continues
        hide()

    handled = []
    try:
        settings = termios.tcgetattr(terminal)
        silent = [*settings[:3], settings[3] & ~termios.ECHO, *settings[4:]]
        if threading.current_thread() is threading.main_thread():
            handled = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
            for number in handled:
                signal.signal(number, handle)
        try:
            hide()
            yield
        finally:
            restore()
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def read_line(terminal: int) -> str:
    """Read one line from the terminal. Raises OSError."""
    typed = b""
    while not typed.endswith(b"\n"):
        more = os.read(terminal, 1024)
        if not more:
            break
        typed += more
    return typed.decode("utf-8", "replace")


def open_terminal(about: str, step: str) -> int:
    """Open the terminal to ask for a reason. Raises TunnelError (ON_REQUEST) without one.

    `step` is the gateway's line, which says how to request access. `about` begins the line of the error.
    """
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise TunnelError(ON_REQUEST, f"{about}: {find_offer(clean(step))}") from None


def ask_reason(target: str, step: str) -> str:
    """Ask on the terminal for the reason for access to `target`. Raises TunnelError without a terminal.

    `step` is the gateway's line. The reason may be empty: the developer can still ask in the browser.
    """
    terminal = open_terminal(target, step)
    try:
        question = f"stagedoor: {clean(f'{target}: {step}')}\nReason: "
        os.write(terminal, translate(question).encode())
        return clean(read_line(terminal), REASON_CHARS)
    except OSError:
        return ""
    finally:
        os.close(terminal)


def ask_program(program: str, question: str, env: dict[str, str]) -> Secret | None:
    """Ask by an SSH_ASKPASS program. Return None if the developer cancels. Raises TunnelError."""
    try:
        status, text = run_program([program, question], env, quiet=False)
    except OSError as error:
        raise TunnelError(
            CREDENTIAL, f"SSH_ASKPASS {program} could not be run: {error.strerror}"
        ) from None
    return check_secret(text, f"SSH_ASKPASS {program}", "fix: try again") if not status else None
