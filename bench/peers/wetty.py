"""WeTTY: Node.js and socket.io, a program for each connection, and its own page."""

from pathlib import Path

from peers.process import Process, free_port, version_of
from peers.web_peer import WebPeer, find_program


def start(folder: Path, command: str) -> WebPeer:
    """Start a WeTTY that runs `command` for each connection. Raises MissingError and StartError."""
    wetty = find_program("wetty", "npm's package wetty")
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
        f"WeTTY {version_of(wetty, '--version')}",
        "run as root it starts the program itself; nobody signs in, and a cut line ends the shell",
    )
