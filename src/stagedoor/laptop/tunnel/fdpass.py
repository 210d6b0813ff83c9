"""`--fdpass`: pass the connected socket to ssh."""

from __future__ import annotations

import os
import sys

from stagedoor.laptop.tunnel.errors import OK, USAGE, TunnelError, clean
from stagedoor.laptop.tunnel.wire import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.wire import TcpWire

MESSAGE_LIMIT = 300  # bytes; ssh prints up to 400
MESSAGE_TIMEOUT_S = 5.0
DISCONNECT = 1
BY_APPLICATION = 11


def hand_over(wire: TcpWire) -> int:
    """Pass the socket to ssh. For TLS, pass one end of a socket pair instead, and relay at the other end.

    Return the exit code. Raises TunnelError.
    """
    if not wire.is_tls:
        wire.sock.setblocking(True)
        pass_socket(wire.sock)
        return OK
    ours = fork_relay()
    if ours is None:
        return OK
    from stagedoor.laptop.tunnel.relay import Local, relay

    return relay(wire, Local(ours.fileno(), ours.fileno()))


def pass_socket(sock: socket.socket) -> None:
    """Pass `sock` to ssh over stdout (ssh_config(5), ProxyUseFdpass; SCM_RIGHTS in unix(7)).

    Raises TunnelError.
    """
    number = sock.fileno().to_bytes(4, sys.byteorder)  # socket.send_fds came with Python 3.9
    try:
        stdout = socket.socket(fileno=os.dup(1))
        stdout.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, number)])
        stdout.close()
    except OSError as error:
        raise TunnelError(
            USAGE, f"--fdpass works under ssh's 'ProxyUseFdpass yes' only ({error.strerror})"
        ) from None


def fork_relay() -> socket.socket | None:
    """Pass one end of a socket pair to ssh. Return the other end in a child process, and None in this one.

    ssh waits for this process to exit before it continues. Raises TunnelError.
    """
    ours, theirs = socket.socketpair()
    pass_socket(theirs)
    theirs.close()
    if os.fork():
        return None
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        # Keep stderr only if it is a terminal: the reader of a pipe would wait for the child to exit.
        if fd < 2 or not os.isatty(2):
            os.dup2(null, fd)
    return ours


def make_ssh_print(line: str) -> None:
    """Make ssh print `line` as the server's disconnect message (RFC 4253 §11.1), and exit the child."""
    try:
        ours = fork_relay()
    except TunnelError:
        return  # ssh did not start this program; the line is on stderr
    if ours is None:
        return
    message = clean(line).encode("utf-8", "replace")[:MESSAGE_LIMIT]
    payload = bytes([DISCONNECT]) + pack_uint(BY_APPLICATION)
    payload += pack_uint(len(message)) + message + pack_uint(0)
    padding = 16 - (5 + len(payload)) % 8
    packet = pack_uint(1 + len(payload) + padding) + bytes([padding]) + payload + bytes(padding)
    ours.settimeout(MESSAGE_TIMEOUT_S)
    try:
        ours.sendall(b"SSH-2.0-stagedoor\r\n" + packet)
        while ours.recv(4096):
            pass
    except OSError:
        pass
    os._exit(OK)


def pack_uint(number: int) -> bytes:
    """Return `number` as a uint32 of the SSH protocol."""
    return number.to_bytes(4, "big")
