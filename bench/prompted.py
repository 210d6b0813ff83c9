"""A runner of commands on their own terminal, which answers a prompt for a password there."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence

from load.tunnel import LoadError


def prompted(argv: Sequence[str], env: Mapping[str, str], password: str, limit_s: float) -> float:
    """Run a command; return its seconds from start to end. Raises LoadError if it fails.

    OpenBSD nc reads a password only from a terminal, so every command gets a terminal, to keep
    the comparison fair.
    """
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with tempfile.TemporaryFile() as output, contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        # Open until the end: ssh closes its own descriptor, and a terminal without any hangs up.
        stack.callback(os.close, theirs)
        begin = time.perf_counter()
        process = subprocess.Popen(
            argv,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(theirs,),
            preexec_fn=own_terminal,
        )
        _answer(process, ours, password, limit_s)
        seconds = time.perf_counter() - begin
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            raise LoadError(f"exit code {process.returncode}: {' / '.join(lines[-2:])}")
        return seconds


def _answer(
    process: "subprocess.Popen[bytes]", terminal: int, password: str, limit_s: float
) -> None:
    seen = b""
    ended = os.pidfd_open(process.pid)
    try:
        with select.epoll() as poll:
            poll.register(ended, select.EPOLLIN)
            poll.register(terminal, select.EPOLLIN)
            while True:
                ready = dict(poll.poll(limit_s))
                if ended in ready:
                    process.wait()
                    return
                if not ready:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise LoadError(f"did not end within {limit_s:.0f} s")
                seen += os.read(terminal, 4096)
                if b"assword" in seen:
                    os.write(terminal, password.encode() + b"\n")
                    seen = b""
    finally:
        os.close(ended)
