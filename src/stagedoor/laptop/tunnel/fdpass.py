"""`--fdpass`: ssh gets the connected socket, and carries the bytes itself."""

from __future__ import annotations

import os
import sys

from stagedoor.laptop.tunnel.errors import OK, USAGE, TunnelError, clean
from stagedoor.laptop.tunnel.wire import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stagedoor.laptop.tunnel.wire import TcpWire

LAST_WORDS = 300
"""Bytes of a last message: ssh prints 400."""
LAST_WORDS_S = 5.0
DISCONNECT = 1
BY_APPLICATION = 11


def hand_over(wire: TcpWire) -> int:
    """Pass ssh the socket itself; for TLS pass one end of a socket pair, and relay at the other end.

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
    """Hand `sock` to ssh over stdout (ssh_config(5), ProxyUseFdpass; SCM_RIGHTS in unix(7))."""
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
    """Pass ssh one end of a socket pair. Return the other end in a child process, and None in this one.

    ssh waits for this process to end before it continues.
    """
    ours, theirs = socket.socketpair()
    pass_socket(theirs)
    theirs.close()
    if os.fork():
        return None
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        # Keep only a terminal: the reader of a pipe would wait until this process ends.
        if fd < 2 or not os.isatty(2):
            os.dup2(null, fd)
    return ours


def make_ssh_print(line: str) -> None:
    """Make ssh print `line` as its server's last message (RFC 4253 §11.1), not an error about sockets."""
    try:
        ours = fork_relay()
    except TunnelError:
        return  # not run by ssh; the line is on stderr
    if ours is None:
        return
    said = clean(line).encode("utf-8", "replace")[:LAST_WORDS]
    payload = bytes([DISCONNECT]) + pack_uint(BY_APPLICATION)
    payload += pack_uint(len(said)) + said + pack_uint(0)
    padding = 16 - (5 + len(payload)) % 8
    packet = pack_uint(1 + len(payload) + padding) + bytes([padding]) + payload + bytes(padding)
    ours.settimeout(LAST_WORDS_S)
    try:
        ours.sendall(b"SSH-2.0-stagedoor\r\n" + packet)
        while ours.recv(4096):
            pass
    except OSError:
        pass
    os._exit(OK)


def pack_uint(number: int) -> bytes:
    """Return a uint32 of the SSH protocol."""
    return number.to_bytes(4, "big")
