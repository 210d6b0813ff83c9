"""A program in a terminal that follows commands, a line of JSON each, over a Unix socket ($SCRIPT).

Run by its path, as a login shell is: it knows nothing of the project.
"""

import fcntl
import json
import os
import signal
import socket
import struct
import termios
import tty
from typing import Any


def take(count: int) -> str:
    data = b""
    while len(data) < count:
        data += os.read(0, count - len(data))
    return data.hex()


def write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def busy(is_busy: bool, job: list[int]) -> None:
    """A job of ours has the foreground, or none, as a shell does it (tcsetpgrp(3))."""
    if is_busy:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            while True:
                signal.pause()
        os.setpgid(pid, pid)
        os.tcsetpgrp(0, pid)
        job.append(pid)
    elif job:
        os.tcsetpgrp(0, os.getpgrp())
        os.kill(job[0], signal.SIGKILL)
        os.waitpid(job.pop(), 0)


def end(code: int, name: str) -> None:
    if name:
        os.kill(os.getpid(), signal.Signals[f"SIG{name}"])
    os._exit(code)


def main() -> None:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    tty.setraw(0)
    job: list[int] = []
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ["SCRIPT"])
        with line.makefile(encoding="ascii") as commands:
            for text in commands:
                number, what, with_what = json.loads(text)
                answer: Any = None
                if what == "writes":
                    write(bytes.fromhex(with_what))
                elif what == "takes":
                    answer = take(with_what)
                elif what == "size":
                    rows, columns, *pixels = struct.unpack(
                        "HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
                    )
                    answer = [columns, rows, *pixels]
                elif what == "busy":
                    busy(with_what, job)
                elif what == "exits":
                    end(*with_what)
                line.sendall(json.dumps([number, answer]).encode() + b"\n")


if __name__ == "__main__":
    main()
