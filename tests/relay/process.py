"""A relay in a process of its own, so that a test can look at its memory and descriptors.

It listens on one port, relays each connection to another, and prints its port, then a line for each
end. Arguments: kind, upstream port, certificate file, key file.
"""

import asyncio
import socket
import sys
from pathlib import Path

from stagedoor.model.session import SessionResult
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream, make_server_context
from stagedoor.relay.loop import Relay
from stagedoor.relay.ports import Stream


def main(kind: str, upstream_port: str, cert_file: str, key_file: str) -> None:
    relay = Relay()
    context = make_server_context(Path(cert_file), Path(key_file))
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listening.getsockname()[1], flush=True)
    loop = asyncio.new_event_loop()
    while True:
        sock, _ = listening.accept()
        sock.setblocking(False)
        downstream: Stream = TcpStream(sock)
        if kind == "tls":
            tls = TlsStream(TcpStream(sock), context, b"")
            loop.run_until_complete(tls.complete_handshake())
            downstream = tls
        upstream = socket.create_connection(("127.0.0.1", int(upstream_port)))
        upstream.setblocking(False)
        relay.start(downstream, TcpStream(upstream), b"", ended)


def ended(end: SessionResult) -> None:
    print(end.end.value, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
