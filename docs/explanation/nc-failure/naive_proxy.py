#!/usr/bin/env python3
"""An HTTP CONNECT proxy with the bug that makes people say "nc breaks ssh". Not for any use.

    naive_proxy.py SSHD_PORT [--careful]

Listens on a free port of 127.0.0.1, prints the port, and connects whoever asks, for whatever name,
to 127.0.0.1:SSHD_PORT. It checks nothing: no name, no password, no length.

The bug is in `read_request`: what one recv() returns is taken for the whole request. TCP keeps no
boundaries between writes, so a request that was written in two pieces may arrive in two, and the
second then goes to sshd. With --careful the loop that was missing is there; nothing else differs.
"""

# ruff: noqa: T201 - to print is what a demonstration is for
import socket
import sys
import threading

END_OF_HEADER = b"\r\n\r\n"


def read_request(downstream: socket.socket, careful: bool) -> tuple[bytes, bytes]:
    """Return what is taken for the request, and what came behind it."""
    received = downstream.recv(4096)  # the bug: "surely that is all of it"
    while careful and received and END_OF_HEADER not in received:
        received += downstream.recv(4096)
    request, end, early = received.partition(END_OF_HEADER)
    return request + end, early


def serve(downstream: socket.socket, sshd_port: int, careful: bool) -> None:
    request, early = read_request(downstream, careful)
    print(f"proxy: took {request!r} for the request", file=sys.stderr)
    with downstream, socket.create_connection(("127.0.0.1", sshd_port)) as upstream:
        downstream.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n")
        upstream.sendall(early)
        back = threading.Thread(target=copy, args=(upstream, downstream))
        back.start()
        copy(downstream, upstream, what="sent sshd first")
        back.join()


def copy(source: socket.socket, sink: socket.socket, what: str = "") -> None:
    """Carry one direction's bytes, then its end; tell its first ones if there is a word for it."""
    try:
        while data := source.recv(65536):
            if what:
                print(f"proxy: {what} {data[:32]!r}", file=sys.stderr)
                what = ""
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other side has gone


def main() -> None:
    sshd_port, careful = int(sys.argv[1]), "--careful" in sys.argv[2:]
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        downstream, _ = listener.accept()
        # Loopback has no round trip, so the pieces often arrive together after all. Acknowledging
        # late (Linux: by 40 ms) makes it a little more like a network: see the page.
        downstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        threading.Thread(target=serve, args=(downstream, sshd_port, careful), daemon=True).start()


if __name__ == "__main__":
    main()
