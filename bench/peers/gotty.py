"""GoTTY: one process, no sign-in, a program for each connection, the DOM renderer."""

from pathlib import Path

from peers.process import Process, free_port, version_of
from peers.web_peer import ROWS, WebPeer, find_program


def start(folder: Path, command: str) -> WebPeer:
    """Start a GoTTY that runs `command` for each connection. Raises MissingError and StartError."""
    gotty = find_program("gotty", "built with Go from the source of sorenisanerd/gotty")
    port = free_port()
    process = Process(
        [
            gotty, "--address", "127.0.0.1", "--port", str(port), "--permit-write", "--quiet",
            "--enable-webgl=false", command,
        ],
        folder / "gotty.log",
    )  # fmt: skip
    process.answers(port)
    return WebPeer(
        process,
        port,
        version_of(gotty, "--version"),
        "nobody signs in, nothing is written down, and a cut line ends the shell",
        # The page does not show titles that a program sets.
        title=f"{ROWS}.join()",
        says="%s",
    )
