"""A process that runs until it is stopped, with its output in a file."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0


class StartError(Exception):
    """The program ended or did not answer; the message has its last line."""


class Process:
    """A running program; `answers` waits for its port."""

    def __init__(
        self, argv: Sequence[str], output: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Start the program."""
        self._name = Path(argv[0]).name
        self._output = output
        with output.open("ab") as file:
            self._popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=output.parent, env=env
            )
        self.pid = self._popen.pid

    def answers(self, port: int) -> None:
        """Wait until a connection to 127.0.0.1:`port` is accepted. Raises StartError."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if self._popen.poll() is not None:
                raise StartError(f"{self._name} ended at once: {self.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)  # no event shows that another program listens
        self.stop()
        raise StartError(f"{self._name} did not answer on port {port}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of its output."""
        lines = self._output.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(it said nothing)"

    def stop(self) -> None:
        """End the process by SIGTERM, and by SIGKILL if that does not end it in time."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str | None:
    """Return the path of an installed program, also from administrators' folders; None if it is missing."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def version_of(*argv: str) -> str:
    """Run a command and return the first line of its output, as its version."""
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ((run.stdout or run.stderr).strip().splitlines() or [""])[0]
