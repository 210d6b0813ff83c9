"""zellij's web client: a multiplexer whose server draws the sessions, and a page that shows them."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from measure import PROC
from peers.process import Process, StartError, free_port, version_of
from peers.web_peer import BUFFER, WebPeer, find_program

_CONFIG = """
default_shell "{command}"
default_layout "bare"
default_mode "locked"
pane_frames false
show_startup_tips false
show_release_notes false
session_serialization false
web_sharing "on"
"""
_LAYOUT = "layout {\n    pane\n}\n"
_SIGN_IN = """
fetch("/command/login", { method: "POST", credentials: "include",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ auth_token: %s, remember_me: true }) }).then((answer) => answer.status)
"""


def start(folder: Path, command: str) -> WebPeer:
    """Start a zellij that has a session for each terminal, with `command` in one pane and without bars.

    Raises MissingError and StartError.
    """
    zellij = find_program("zellij", "crates.io's package zellij")
    settings = folder / ".config/zellij"  # the only folder that its web server reads
    (settings / "layouts").mkdir(parents=True)
    (settings / "layouts/bare.kdl").write_text(_LAYOUT)
    (settings / "config.kdl").write_text(_CONFIG.format(command=command))
    environment = {**os.environ, "HOME": str(folder), "ZELLIJ_SOCKET_DIR": str(folder / "s")}
    for name in [name for name in environment if name.startswith("XDG_")]:
        del environment[name]
    done = subprocess.run(
        [zellij, "web", "--create-token"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    token = done.stdout.strip().rpartition(" ")[2]
    if done.returncode or not token:
        raise StartError(f"zellij makes no token: {done.stdout}{done.stderr}")
    port = free_port()
    command_line = [zellij, "web", "--start", "--ip", "127.0.0.1", "--port", str(port)]
    process = _Server(command_line, folder, environment)
    process.answers(port)
    rows = BUFFER.format("window.term")
    return WebPeer(
        process,
        port,
        version_of(zellij, "--version"),
        "people sign in by a token; a session stays, and a multiplexer draws it",
        "/{terminal}",
        rows,
        title=f"{rows}.join()",  # the page does not show titles that a program sets
        says="%s",
        sign_in=_SIGN_IN % json.dumps(token),
        more=lambda: _sessions(folder),
    )


class _Server(Process):
    """The server's process, with its sessions, which outlive it."""

    def __init__(self, argv: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(argv, folder / "zellij.log", environment)
        self._folder = folder

    def stop(self) -> None:
        """Stop the server, and kill its sessions."""
        super().stop()
        for pid in _sessions(self._folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _sessions(folder: Path) -> list[int]:
    """Return the pids of the processes that hold sessions, which have their socket's path as an argument."""
    pids = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder / "s").encode() in words:
                pids.append(int(entry.name))
    return pids
