"""ttyd: one process, no sign-in, a program for each connection, the DOM renderer."""

from pathlib import Path

from peers.process import Process, free_port, said
from peers.web_peer import WebPeer, found


def start(folder: Path, *command: str) -> WebPeer:
    """It runs `command` for each connection. Raises MissingError and StartError."""
    ttyd = found("ttyd", "Debian's package ttyd")
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
        said(ttyd, "--version"),
        "nobody signs in, nothing is written down, and a cut line ends the shell",
    )
