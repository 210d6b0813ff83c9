"""The messages between a worker and the endpoint, each a packet of a Unix socket (SOCK_SEQPACKET).

    worker → endpoint                          endpoint → worker
    stagedoor-resume 1                         stagedoor-resume 1
    open NUMBER KEY SESSION AWAY IDLE NOTE OWNER
                                               ticket NUMBER TICKET SESSION SENT RECEIVED AWAY
    back NUMBER KEY ATTEMPT OWNER              ticket …, or gone NUMBER WHY
    end NUMBER WHY                             moved NUMBER
                                               over NUMBER CODE SENT RECEIVED WHY
    adopts yes|no                              orphan SESSION SENT RECEIVED AWAY NOTE OWNER
    adopt NUMBER SESSION                       adopted NUMBER, or gone NUMBER WHY
    limit NUMBER AWAY
    leave NUMBER
    alive
    retire
    stop

NUMBER identifies a request of the worker, and from then on this worker's hold on the session. With `open`
comes the descriptor of the connection to the sshd (SCM_RIGHTS). SESSION is the audit's id. AWAY is how long
the session waits for a client, or how long its client has been away, and IDLE how long it may move no byte
(0: for ever), in seconds. SENT and RECEIVED are the bytes that went to the sshd and came from it. OWNER is
the user and the target that may resume the session, as the user's name and the target's host name
(`alice app01.ssh`). OWNER and WHY are the rest of the line. NOTE is one word that only workers read: what
they need to adopt the session.

`moved`: another connection or worker has taken its place. `over`: the session has ended; CODE and WHY are
those of END. `orphan`: this session's worker has ended, and its client is away; it is offered to the workers
that adopt, one after the other. `limit` changes how long the session waits for its client. `leave`: it is an
orphan again. `alive` is for the endpoint in a shell, which counts a worker as gone after 90 s without a
message. A new endpoint sends `retire` to the previous one, which keeps its sessions, renames its sockets, and
ends after the last session. `stop` ends the endpoint, with all sessions.

While one side is busy, the messages for it wait in a queue (`message_queue`). A worker waits 5 s for an
answer. Then it undoes `open` with `end`, and `adopt` with `leave`.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stagedoor.holder.folder import make_address

VERSION = 1
GREETING = f"stagedoor-resume {VERSION}"
"""The first message of both sides. An endpoint names the newest version of these messages that it speaks, and
a worker the one to use, the newest that both speak. So an endpoint of any version must speak version 1."""
MAX_PACKET_BYTES = 4096
TIMEOUT_S = 10.0
"""How long the functions of this module wait for the endpoint."""
MAX_NOTE_CHARS = 2048
CONTROL, DATA, LOCK = "control", "data", "lock"
"""The names of the sockets and of the lock, in the endpoint's folder. The sockets of an endpoint that has
retired have names that end in its process id, such as `control.811`."""

CLOSED, LOST, REMOVED, AWAY, IDLE = range(5)
"""The codes of END: a normal end; the shell hung up; ended by the gateway; away, and idle, for too long."""


def check_greeting(line: str) -> bool:
    """Return whether an endpoint with this greeting speaks `VERSION`, as every later one does."""
    word, _, version = line.partition(" ")
    return word == "stagedoor-resume" and version.isdecimal() and int(version) >= VERSION


def open_control_socket() -> socket.socket:
    """Return a new socket for messages. Raises OSError where there are none of that kind (macOS)."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, line: str, fds: tuple[int, ...] = ()) -> None:
    """Send a message. Raises OSError, also for one longer than `MAX_PACKET_BYTES`."""
    packet = line.encode()
    if len(packet) > MAX_PACKET_BYTES:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    socket.send_fds(sock, [packet], list(fds), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[str, list[int]]:
    """Return a message and its descriptors; ("", []) at the end. Raises OSError."""
    data, fds, _flags, _address = socket.recv_fds(sock, MAX_PACKET_BYTES, 1)
    return data.decode(errors="replace"), fds


def connect_control(folder: Path, suffix: str = "", timeout_s: float = TIMEOUT_S) -> socket.socket:
    """Return a connection to the endpoint. Blocks for up to `timeout_s`. Raises OSError if it does not run.

    `suffix` ends the names of the sockets of one that has retired. If that was killed, they are removed.
    """
    sock = open_control_socket()
    try:
        sock.settimeout(timeout_s)
        with make_address(folder / f"{CONTROL}{suffix}") as address:
            sock.connect(address)
        return sock
    except BaseException as error:
        sock.close()
        if suffix and isinstance(error, ConnectionRefusedError):
            remove_retired(folder, suffix)
        raise


def remove_retired(folder: Path, suffix: str) -> None:
    """Remove the sockets of an endpoint that has retired and ended."""
    for name in (CONTROL, DATA):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)


def list_retired(folder: Path) -> list[str]:
    """Return the suffixes of the endpoints that have retired, or have ended since."""
    return [file.suffix for file in folder.glob(f"{CONTROL}.*")]


def retire_endpoint(folder: Path) -> None:
    """Have the endpoint make room for another one. Blocks until it has. Raises OSError."""
    _order(folder, "retire")


def stop_endpoint(folder: Path) -> None:
    """Stop the endpoints in `folder` that run, with all their sessions. Blocks until they have ended."""
    for suffix in ("", *list_retired(folder)):
        with suppress(OSError):
            _order(folder, "stop", suffix)


def _order(folder: Path, word: str, suffix: str = "") -> None:
    with connect_control(folder, suffix) as sock:
        send(sock, GREETING)
        send(sock, word)
        while receive(sock)[0]:
            pass


@contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Let no other endpoint start in the block; yield whether one runs already. Blocks. Raises OSError."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        runs_already = False
        with suppress(FileNotFoundError, ConnectionRefusedError):
            connect_control(folder, timeout_s=1.0).close()
            runs_already = True
        yield runs_already
    finally:
        os.close(fd)
