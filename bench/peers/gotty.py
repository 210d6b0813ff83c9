"""GoTTY: one process, no sign-in, a program for each connection, the DOM renderer."""

from pathlib import Path

from peers.process import Process, free_port, said
from peers.web_peer import ROWS, WebPeer, found


def start(folder: Path, command: str) -> WebPeer:
    """It runs the program `command` for each connection. Raises MissingError and StartError."""
    gotty = found("gotty", "built with Go from the source of sorenisanerd/gotty")
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
        said(gotty, "--version"),
        "nobody signs in, nothing is written down, and a cut line ends the shell",
        # A title that a program sets is not the page's.
        title=f"{ROWS}.join()",
        says="%s",
    )
