"""The start of a shell's process, on the gateway's side. It blocks, and runs in a thread.

Both sides send lines of JSON. The process sends `{"pid": n}`, `{"step": …}`, then `{"sign": "ssh-ed25519
…"}`, which the gateway answers with `{"certificate": …}` (so its host key never leaves its memory), and at
last `{"ready": true}`.
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
from typing import IO, Any

from stagedoor.model.errors import StagedoorError
from stagedoor.model.shell import ProgressStep
from stagedoor.shells.local.settings import Order
from stagedoor.shells.local.shell_folder import Running, ShellFolder

# The only variables that the process gets, since an app's shell must not have the gateway's secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE")
_ERROR_TAIL_BYTES = 2000
_ERROR_TAIL_LINES = 3


class StartFailedError(Exception):
    """A failed start: `step` is the step that failed, `str(error)` the reason."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


def start_shell(
    order: Order,
    place: ShellFolder,
    sign_host: Callable[[str], str],
    timeout_s: float,
    report: Callable[[ProgressStep], None],
) -> Running:
    """Start a shell's process, and wait until it listens. The caller holds the lock of its folder.

    `sign_host` returns a certificate for a public key line. `report` is called with each step. Raises
    StartFailedError with the step that failed.
    """
    step = ProgressStep("starting the process")
    report(step)
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
            _send(process.stdin, order.to_json())
            for message in _messages(process.stdout, time.monotonic() + timeout_s):
                if "pid" in message:
                    pid = message["pid"]
                elif "step" in message:
                    step = ProgressStep(message["step"], message.get("detail", ""))
                    report(step)
                elif "sign" in message:
                    certificate = sign_host(message["sign"])
                    _send(process.stdin, json.dumps({"certificate": certificate}))
                elif "ready" in message:
                    ready = True
                    break
            running = place.read_running() if ready else None
        except TimeoutError:
            raise StartFailedError(step.name, f"not done after {timeout_s:g} s") from None
        except (OSError, ValueError, StagedoorError) as error:
            why = "" if isinstance(error, StagedoorError) else _tail(place)
            raise StartFailedError(step.name, why or str(error)) from error
        finally:
            if not ready:
                _end(process, pid)
    if running is None:
        raise StartFailedError(step.name, _tail(place) or "the process ended")
    return running


def pass_environment() -> dict[str, str]:
    """Return those variables of this process that may be passed to one outside of the gateway."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _process(place: ShellFolder) -> "subprocess.Popen[bytes]":
    """Start the process, which then waits for its order. Raises OSError."""
    with place.errors.open("wb") as errors:
        os.fchmod(errors.fileno(), 0o600)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "stagedoor.shells.local", place.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env=pass_environment(),
            start_new_session=True,
        )


def _send(stream: IO[bytes], line: str) -> None:
    stream.write(line.encode() + b"\n")
    stream.flush()


def _messages(stream: IO[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the messages of the process until it closes the pipe. Raises TimeoutError at `deadline`."""
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
    """Kill the processes of a failed start."""
    with suppress(ProcessLookupError):
        process.kill()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tail(place: ShellFolder) -> str:
    """Return the last lines that the process has written, joined into one."""
    with suppress(OSError), place.errors.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _ERROR_TAIL_BYTES, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        tail = " / ".join([line for line in lines if line][-_ERROR_TAIL_LINES:])
        return "".join(c if c.isprintable() else "?" for c in tail)
    return ""
