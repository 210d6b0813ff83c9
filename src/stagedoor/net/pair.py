"""A pair of connected sockets, of which a process that is started inherits one."""

import socket

Socket = socket.socket
"""One end."""


def open_pair() -> tuple[Socket, Socket]:
    """Return two ends that are connected with each other, and inherited by no process."""
    return socket.socketpair()


def adopt_end(number: str) -> Socket:
    """Return the end that was inherited as the descriptor `number`. No other process inherits it.

    Raises OSError or ValueError if there is no such socket.
    """
    end = socket.socket(fileno=int(number))
    end.set_inheritable(False)
    return end
