"""Joins stdin and stdout to a terminal; `attach` starts its holder if there is none yet.

This is what the gateway runs in a shell, through the shell's sshd: bytes of the terminal protocol go
in and out and are not looked at.
"""

import os
import select
import signal
import socket
import sys
from pathlib import Path

from stagedoor.holder.folder import BACKLOG, alone, connect, listen, mark_locked

_CHUNK = 64 * 1024


def attach(path: Path) -> int:
    """Serve until one side is gone; the exit status. Raises OSError."""
    connection = connect(path)
    if connection is None:
        with alone(path):
            connection = connect(path)
            if connection is None:
                _start(path)
                connection = connect(path)
    if connection is None:
        print("stagedoor: the terminal ended as soon as it had been started", file=sys.stderr)
        return 1
    _carry(connection)
    return 0


def join(path: Path) -> bool:
    """The same for a terminal that is held; False if none is. Nothing is started. Raises OSError."""
    connection = connect(path)
    if connection is None:
        return False
    _carry(connection)
    return True


def _start(path: Path) -> None:
    """Start the holder as a daemon: it outlives us, and the connection that brought us."""
    listener = listen(path)
    first = os.fork()
    if first:
        listener.close()
        os.waitpid(first, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        _let_go(path, listener.fileno())
        listener.listen(BACKLOG)  # again: a client learns who listened last (unix(7))
        from stagedoor.holder.process import Holder

        Holder(listener, path).run()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        path.unlink(missing_ok=True)
        mark_locked(path, False)
        os._exit(code)


def _let_go(path: Path, listening: int) -> None:
    """Of everything of the parent process; faults are written beside the socket."""
    # `attach` ends when its reader does; the holder finds out that a link is gone, and lives on.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    faults = os.open(
        path.with_suffix(".faults"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
    )
    for fd, source in ((0, null), (1, null), (2, faults)):
        os.dup2(source, fd)
    # The lock among them: a fork shares it, and it would never be free again (flock(2)).
    os.closerange(3, listening)
    os.closerange(listening + 1, os.sysconf("SC_OPEN_MAX"))


def _carry(connection: socket.socket) -> None:
    """Copy both ways, whole pieces at a time, with the writer's pace as the reader's."""
    with connection:
        ours = connection.fileno()
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(ours, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                try:
                    data = os.read(fd, _CHUNK)
                except ConnectionResetError:  # it had not read all when it hung up (unix(7))
                    return
                if not data:
                    return
                if fd == ours:
                    _write_out(data)
                    continue
                try:
                    # A SIGPIPE ends us, which is meant for our own reader (`__main__`).
                    connection.sendall(data, socket.MSG_NOSIGNAL)
                except OSError:  # it has hung up: what it said last is still to be passed on
                    poll.unregister(0)


def _write_out(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
