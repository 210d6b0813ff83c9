"""The commands `attach` and `join`, which connect stdin and stdout to a terminal.

The gateway runs them in a shell, through the shell's sshd. They pass the bytes of the terminal protocol on
without reading them. `attach` starts the terminal's holder if there is none.
"""

import os
import select
import signal
import socket
import sys
from pathlib import Path

from stagedoor.holder.folder import BACKLOG, connect, listen, lock_terminal, mark_locked

_CHUNK = 64 * 1024


def attach(path: Path) -> int:
    """Attach until one side has ended. Return the exit status. Raises OSError."""
    connection = connect(path)
    if connection is None:
        with lock_terminal(path):
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
    """Attach to an existing terminal. Return False if there is none. Raises OSError."""
    connection = connect(path)
    if connection is None:
        return False
    _carry(connection)
    return True


def _start(path: Path) -> None:
    """Start the holder as a daemon, which outlives this process and its connection."""
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
        _detach_from_parent(path, listener.fileno())
        # Again, so that SO_PEERCRED names this process to clients (unix(7)).
        listener.listen(BACKLOG)
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


def _detach_from_parent(path: Path, listening: int) -> None:
    """Ignore hang-ups and close the inherited descriptors but `listening`.

    Faults are written to a file beside the socket.
    """
    # SIGPIPE ends `attach` together with its reader. The holder handles a lost link itself, and continues.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    faults = os.open(
        path.with_suffix(".faults"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
    )
    for fd, source in ((0, null), (1, null), (2, faults)):
        os.dup2(source, fd)
    # The lock is one of them: a fork shares it, so it would never be released (flock(2)).
    os.closerange(3, listening)
    os.closerange(listening + 1, os.sysconf("SC_OPEN_MAX"))


def _carry(connection: socket.socket) -> None:
    """Copy both ways until one side has ended, and read no faster than the other side takes the bytes."""
    with connection:
        socket_fd = connection.fileno()
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(socket_fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                try:
                    data = os.read(fd, _CHUNK)
                except ConnectionResetError:  # the holder hung up before reading all (unix(7))
                    return
                if not data:
                    return
                if fd == socket_fd:
                    _write_out(data)
                    continue
                try:
                    # SIGPIPE would end this process, which it should only do if stdout is closed
                    # (`__main__`).
                    connection.sendall(data, socket.MSG_NOSIGNAL)
                except OSError:  # it has hung up; its last bytes still follow
                    poll.unregister(0)


def _write_out(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
