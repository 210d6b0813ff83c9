"""WeTTY: Node.js and socket.io; a program for each connection, which its own page shows."""

from pathlib import Path

from peers.process import Process, free_port, said
from peers.web_peer import WebPeer, found


def start(folder: Path, command: str) -> WebPeer:
    """It runs the program `command` for each connection. Raises MissingError and StartError."""
    wetty = found("wetty", "npm's package wetty")
    port = free_port()
    process = Process(
        [
            wetty, "--host", "127.0.0.1", "--port", str(port), "--base", "/", "--command", command,
            "--log-level", "error",
        ],
        folder / "wetty.log",
    )  # fmt: skip
    process.answers(port)
    return WebPeer(
        process,
        port,
        f"WeTTY {said(wetty, '--version')}",
        "run as root it starts the program itself; nobody signs in, and a cut line ends the shell",
    )
