"""ttyd: one process, no sign-in, a program for each connection, the DOM renderer."""

from pathlib import Path

from peers.process import Process, free_port, version_of
from peers.web_peer import WebPeer, find_program


def start(folder: Path, *command: str) -> WebPeer:
    """Start a ttyd that runs `command` for each connection. Raises MissingError and StartError."""
    ttyd = find_program("ttyd", "Debian's package ttyd")
    port = free_port()
    process = Process(
        [
            ttyd, "--interface", "127.0.0.1", "--port", str(port), "--writable",
            "--client-option", "rendererType=dom", "--client-option", "disableLeaveAlert=true",
            *command,
        ],
        folder / "ttyd.log",
    )  # fmt: skip
    process.answers(port)
    return WebPeer(
        process,
        port,
        version_of(ttyd, "--version"),
        "nobody signs in, nothing is written down, and a cut line ends the shell",
    )
