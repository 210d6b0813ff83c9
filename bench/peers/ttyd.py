"""ttyd: one process, no sign-in, a program for each connection, the DOM renderer."""

from dataclasses import dataclass
from pathlib import Path

from peers import MissingError
from peers.process import Process, free_port, program, said


@dataclass(frozen=True)
class Ttyd:
    """`port` answers the page and its WebSocket."""

    process: Process
    port: int
    version: str


def start(folder: Path, *command: str) -> Ttyd:
    """It runs `command` for each who comes. Raises MissingError and StartError."""
    found = program("ttyd")
    if found is None:
        raise MissingError("it is not installed (apt-get install ttyd, where there is one)")
    port = free_port()
    process = Process(
        [
            found, "--interface", "127.0.0.1", "--port", str(port), "--writable",
            "--client-option", "rendererType=dom", "--client-option", "disableLeaveAlert=true",
            *command,
        ],
        folder / "ttyd.log",
    )  # fmt: skip
    process.answers(port)
    return Ttyd(process, port, said(found, "--version"))
