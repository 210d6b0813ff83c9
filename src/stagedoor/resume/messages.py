"""The messages between a worker and the endpoint, each a packet of a Unix socket (SOCK_SEQPACKET).

    worker → endpoint                          endpoint → worker
    stagedoor-resume 1                         stagedoor-resume 1
    open NUMBER KEY AWAY IDLE OWNER            ticket NUMBER TICKET
    back NUMBER KEY ATTEMPT OWNER              gone NUMBER WHY
    end NUMBER WHY                             moved NUMBER
                                               over NUMBER CODE WHY

    stop

NUMBER identifies a request of the worker, and the client's connection for which it was made. With `open`
comes the descriptor of the connection to the sshd (SCM_RIGHTS). AWAY is how long the session
waits for a client, and IDLE how long it may move no byte (0: for ever), in seconds. OWNER is who may
return to the session, the user's name and the target's host name (`alice app01.ssh`); it and WHY are the rest
of the line.
`moved`: a newer connection of the client has taken its place. `over`: the session has ended; CODE and WHY are
those of END. `stop` ends the endpoint, with all sessions.
"""

import socket
from pathlib import Path

GREETING = "stagedoor-resume 1"
"""The version of these messages. Both sides send it first, and hang up on another."""
MAX_PACKET_BYTES = 4096
CONTROL, DATA, LOCK = "control", "data", "lock"
"""The names of the sockets and of the lock, in the endpoint's folder."""

CLOSED, LOST, REMOVED, AWAY, IDLE = range(5)
"""The codes of END: in order; the shell hung up; ended by the gateway; away, and idle, for too long."""


def open_control_socket() -> socket.socket:
    """Return a new socket for messages. Raises OSError where there is none of that kind (macOS)."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, line: str, fds: tuple[int, ...] = ()) -> None:
    """Send a message, whole. Raises OSError."""
    socket.send_fds(sock, [line.encode()[:MAX_PACKET_BYTES]], list(fds), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[str, list[int]]:
    """Return a message and its descriptors; ("", []) at the end. Raises OSError."""
    data, fds, _flags, _address = socket.recv_fds(sock, MAX_PACKET_BYTES, 1)
    return data.decode(errors="replace"), fds


def address(folder: Path, name: str) -> str:
    """Return the address of a socket in the folder."""
    return str(folder / name)
