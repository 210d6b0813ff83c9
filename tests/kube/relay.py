"""A TCP relay in front of an API server, which a test can cut: as if the API were gone for one client."""

import contextlib
import json
import socket
import threading
from pathlib import Path

import yaml

from tests.waiting import BOUND_S

CHUNK = 64 * 1024


class Relay:
    """Listens on loopback and carries to `target`. `silent` keeps connections open and says nothing."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._open = True
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Reset what is open, and whatever comes."""
        with self._lock:
            self._open = False
            pairs, self._pairs = self._pairs, set()
        for sock in pairs:
            _drop(sock)

    def mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(BOUND_S)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self._open:
                _drop(near)
                continue
            try:
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                _drop(near)
                continue
            far.settimeout(None)
            with self._lock:
                # It may have been cut since it was let in.
                if open_still := self._open:
                    self._pairs |= {near, far}
            if not open_still:
                _drop(near)
                _drop(far)
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        _drop(sink)
        with self._lock:
            self._pairs.discard(sink)


def _drop(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def through(kubeconfig: Path, relay: Relay, written: Path) -> Path:
    """A copy of a kubeconfig that goes through the relay, where it is written."""
    document = yaml.safe_load(kubeconfig.read_text())
    for cluster in document["clusters"]:
        host = cluster["cluster"]["server"].removeprefix("https://").partition(":")[0]
        cluster["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
        cluster["cluster"]["tls-server-name"] = host
    written.write_text(json.dumps(document))
    written.chmod(0o600)
    return written


def target_of(kubeconfig: Path) -> tuple[str, int]:
    """Return the address of a kubeconfig's API."""
    document = yaml.safe_load(kubeconfig.read_text())
    host, _, port = (
        document["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    )
    return host, int(port)
