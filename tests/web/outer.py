"""A terminal around the client: real tmux, whose screen and modes can be read."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stagedoor.admin.service import add_keys
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.laptop import new_key, public, write_ssh_config
from tests.waiting import BOUND_S

LOOKS = 10
Seen = TypeVar("Seen")


def attach_command(folder: Path, port: int, *arguments: str) -> list[str]:
    """`stagedoor attach` as the developer would call it, but for their environment."""
    secret = folder / "token"
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
    return [
        sys.executable, "-m", "stagedoor", "attach", "--url", f"http://127.0.0.1:{port}",
        "--user", "dev", "--token-file", str(secret), "--via", "direct",
        "--log", str(folder / "attach.log"), *arguments,
    ]  # fmt: skip


@dataclass
class Outer:
    """An outer tmux of 120 by 40 on a socket of its own."""

    folder: Path

    def tmux(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.folder / "outer"), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            env={**os.environ, "LANG": "C.UTF-8", "TMUX": ""},
        )
        assert not check or done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def start(self, command: Sequence[str]) -> None:
        """Run it; what it leaves behind stays on the screen, with its exit code."""
        line = shlex.join(command) + "; echo exit=$?; exec sleep 600"
        self.tmux("new-session", "-d", "-x", "120", "-y", "40", "-s", "o", line)

    def run(self, command: Sequence[str]) -> None:
        """The same in the pane that is there, in the place of what ran."""
        line = shlex.join(command) + "; echo exit=$?; exec sleep 600"
        self.tmux("respawn-pane", "-k", "-t", "o", line)

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "o", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", "o", "-l", text)

    def line(self, text: str) -> None:
        self.type(text)
        self.keys("Enter")

    def screen(self, *options: str) -> str:
        return self.tmux("capture-pane", "-p", "-t", "o", *options)

    def flag(self, name: str) -> str:
        return self.tmux("display-message", "-p", "-t", "o", f"#{{{name}}}").strip()

    def shows(self, text: str) -> str:
        """The screen, once `text` is on it."""
        deadline = time.monotonic() + BOUND_S
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} never came:\n{screen}"
            time.sleep(0.05)
        return screen

    def settled(self, *options: str) -> str:
        """The screen, once it has come to rest."""
        return settled(lambda: self.screen(*options))


def settled(look: Callable[[], Seen]) -> Seen:
    """Return what is seen, once it has not changed for a while, and for so many looks: on a busy machine a
    look takes longer, as does whatever is to change it."""
    deadline = time.monotonic() + BOUND_S
    before, since, looks = look(), time.monotonic(), 0
    while time.monotonic() - since < 0.8 or looks < LOOKS:
        assert time.monotonic() < deadline, f"it never settled:\n{before}"
        time.sleep(0.05)
        now = look()
        looks += 1
        if now != before:
            before, since, looks = now, time.monotonic(), 0
    return before


MODES_OFF = {
    "alternate_on": "0",
    "mouse_any_flag": "0",
    "keypad_flag": "0",
    "keypad_cursor_flag": "0",
    "cursor_flag": "1",
}
"""The modes of a terminal in which no full-screen program runs, by tmux's names."""


def modes(screen: Outer) -> dict[str, str]:
    return {name: screen.flag(name) for name in MODES_OFF}


@contextmanager
def outer(folder: Path) -> Iterator[Outer]:
    new_outer = Outer(folder)
    try:
        yield new_outer
    finally:
        new_outer.tmux("kill-server", check=False)


def ssh_command(gateway: Gateway, folder: Path, *remote: str) -> list[str]:
    """Native ssh to the same shell, through the CONNECT gateway."""
    config = folder / "ssh_config"
    if not config.exists():
        key = new_key(folder / "id")
        with gateway.changed() as service:
            add_keys(service, "dev", [public(key)])
        known = folder / "known_hosts"
        ca = (gateway.data_dir / "keys" / "host_ca.pub").read_text()
        known.write_text(f"@cert-authority *.ssh {ca}")
        proxy = shlex.join(
            [sys.executable, "-m", "stagedoor", "tunnel", "--gateway",
             f"http://127.0.0.1:{gateway.port()}", "--user", "dev", "--via", "direct",
             "--token-file", str(folder / "token"), "%h", "%p"]
        )  # fmt: skip
        lines = ("User dev", f"ProxyCommand {proxy}", "SendEnv LANG")
        write_ssh_config(config, key, *lines, known_hosts=known)
    return ["ssh", "-F", str(config), "-tt", "app01.ssh", *remote]
