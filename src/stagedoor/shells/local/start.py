"""Starting a shell's process, from the gateway's side. Blocks; runs in a thread.

The two talk in lines of JSON. The process tells `{"pid": n}`, `{"step": …}`, asks
`{"sign": "ssh-ed25519 …"}` and is answered `{"certificate": …}` (so its host key never leaves its
memory), and ends with `{"ready": true}`.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from stagedoor.model.errors import StagedoorError
from stagedoor.model.shell import StartStep
from stagedoor.shells.local.settings import Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder

# What of our own environment the process gets: an app's shell must not read the gateway's secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE")
_ERROR_TAIL_BYTES = 2000
_ERROR_TAIL_LINES = 3


class StartFailedError(Exception):
    """`step` failed; `str(error)` says why."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


@dataclass(frozen=True, slots=True)
class Starter:
    """How shells are started: `sign_host` signs a public key line for some principals."""

    sign_host: Callable[[str, tuple[str, ...]], str]
    start_timeout_s: float

    def start(
        self,
        order: Order,
        place: ShellFolder,
        principals: tuple[str, ...],
        tell: Callable[[StartStep], None],
    ) -> Running:
        """Start the process and wait until it listens; the caller holds the place's lock.

        Raises StartFailedError that names the step.
        """
        step = StartStep("starting the process")
        tell(step)
        pid: int | None = None
        try:
            process = _process(place)
        except OSError as error:
            raise StartFailedError(step.name, error.strerror or str(error)) from error
        ready = False
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _say(process.stdin, order.to_json())
                for told in _lines(process.stdout, time.monotonic() + self.start_timeout_s):
                    if "pid" in told:
                        pid = told["pid"]
                    elif "step" in told:
                        step = StartStep(told["step"], told.get("detail", ""))
                        tell(step)
                    elif "sign" in told:
                        certificate = self.sign_host(told["sign"], principals)
                        _say(process.stdin, json.dumps({"certificate": certificate}))
                    elif "ready" in told:
                        ready = True
                        break
                running = place.running() if ready else None
            except TimeoutError:
                raise StartFailedError(
                    step.name, f"not done after {self.start_timeout_s:g} s"
                ) from None
            except (OSError, ValueError, StagedoorError) as error:
                raise StartFailedError(
                    step.name,
                    str(error) if isinstance(error, StagedoorError) else _tail(place) or str(error),
                ) from error
            finally:
                if not ready:
                    _end(process, pid)
        if running is None:
            raise StartFailedError(step.name, _tail(place) or "the process ended")
        return running


def _process(place: ShellFolder) -> "subprocess.Popen[bytes]":
    """The process, which waits for its order. Raises OSError."""
    with place.errors.open("wb") as errors:
        os.fchmod(errors.fileno(), 0o600)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "stagedoor.shells.local", place.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            start_new_session=True,
        )


def _say(stream: IO[bytes], line: str) -> None:
    stream.write(line.encode() + b"\n")
    stream.flush()


def _lines(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    """What the process tells, until it closes. Raises TimeoutError at `deadline`."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise TimeoutError
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole:
                yield json.loads(line)


def _end(process: "subprocess.Popen[bytes]", pid: int | None) -> None:
    """Leave nothing behind of a start that failed."""
    with suppress(ProcessLookupError):
        process.kill()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tail(place: ShellFolder) -> str:
    """The last lines that the process wrote, as one."""
    with suppress(OSError), place.errors.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _ERROR_TAIL_BYTES, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        said = " / ".join([line for line in lines if line][-_ERROR_TAIL_LINES:])
        return "".join(c if c.isprintable() else "?" for c in said)
    return ""
