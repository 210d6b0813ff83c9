"""The upstream: processes that share one port and do what the greeting requests."""

import contextlib
import multiprocessing
import select
import signal
import socket
from collections.abc import Callable, Iterator

from load.greeting import ECHO, FLOW, HOLD, READY, SINK, SIZE, understand

CHUNK = 1 << 20
BLOCK = memoryview(bytes(CHUNK))
SCRATCH = bytearray(CHUNK)


class Connection:
    """One accepted socket. `on_event` is called when it is ready, and returns False at its end."""

    def __init__(self, sock: socket.socket, poll: select.epoll) -> None:
        self.sock = sock
        self.on_event: Callable[[], bool] = self._read_greeting
        self._poll = poll
        self._greeting = b""
        self._left = 0

    def _read_greeting(self) -> bool:
        read = self.sock.recv(SIZE - len(self._greeting))
        self._greeting += read
        if len(self._greeting) < SIZE:
            return bool(read)
        what, self._left = understand(self._greeting)
        if what == SINK:
            self.on_event = self._sink
        elif what == FLOW:
            self._poll.modify(self.sock.fileno(), select.EPOLLOUT)
            self.on_event = self._flow
        elif what == READY:
            self._greeting = b""
            self.sock.send(b"!")
        elif what in (ECHO, HOLD):
            self.sock.send(b"!")
            self.on_event = self._echo
        else:
            return False
        return True

    def _sink(self) -> bool:
        # MSG_TRUNC (tcp(7)) discards bytes without a copy, so that the sink does not limit the
        # peer on a machine with few cores.
        read = self.sock.recv_into(SCRATCH, CHUNK, socket.MSG_TRUNC)
        if not read:
            return False
        self._left -= read
        if self._left == 0:
            self.sock.send(b"!")
        return True

    def _flow(self) -> bool:
        self._left -= self.sock.send(BLOCK[: self._left])
        if self._left == 0:
            self._poll.modify(self.sock.fileno(), select.EPOLLIN)
            self.on_event = self._echo
        return True

    def _echo(self) -> bool:
        read = self.sock.recv(4096)
        if read:
            self.sock.send(read)
        return bool(read)


def _serve(listening: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    listening.setblocking(False)
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listening.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listening.accept()
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        connections[sock.fileno()] = Connection(sock, poll)
                        poll.register(sock.fileno(), select.EPOLLIN)
                continue
            try:
                stays = connections[fd].on_event()
            except BlockingIOError:
                continue
            except OSError:
                stays = False
            if not stays:
                poll.unregister(fd)
                connections.pop(fd).sock.close()


@contextlib.contextmanager
def upstream(processes: int = 1) -> Iterator[int]:
    """Run the upstream in so many processes; yield its port on 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(_listening(0))
        port: int = first.getsockname()[1]
        sockets = [first, *(stack.enter_context(_listening(port)) for _ in range(processes - 1))]
        fork = multiprocessing.get_context("fork")
        running = [fork.Process(target=_serve, args=(sock,), daemon=True) for sock in sockets]
        for process in running:
            process.start()
        for sock in sockets:
            sock.close()
        try:
            yield port
        finally:
            for process in running:
                process.terminate()
                process.join()


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(4096)
    return sock
