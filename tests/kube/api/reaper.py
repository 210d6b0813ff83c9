"""A relay in front of an API server that kills a process (SIGKILL) at one of its writes.

It ends TLS, so that it sees where a request begins: before the API server has had it, or after it
was done and before the process can hear of it.
"""

import contextlib
import os
import signal
import socket
import ssl
import threading
from pathlib import Path

import yaml

from tests.kube.api.lone import LoneApi

CHUNK = 64 * 1024
ELECTION = b"/leases/stagedoor-controller"


class Reaper:
    """Nobody dies until `arm` says who and when."""

    def __init__(self, api: LoneApi) -> None:
        self._target = ("127.0.0.1", api.port)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(api.folder / "api.crt", api.folder / "api.key")
        self._client = ssl.create_default_context(cafile=str(api.folder / "ca.crt"))
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._pid = self._left = 0
        self._late = False
        self.killed = threading.Event()
        self.at = ""
        """The request at which it was done."""
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, pid: int, last: int, *, late: bool) -> None:
        """Kill the process at its `last`-th write from now on."""
        with self._lock:
            self._pid, self._left, self._late = pid, last, late
            self.killed.clear()

    def disarm(self) -> None:
        with self._lock:
            self._left = 0

    def close(self) -> None:
        self._listening.close()

    def kubeconfig(self, kubeconfig: Path, written: Path) -> Path:
        """A copy of it that goes through here."""
        document = yaml.safe_load(kubeconfig.read_text())
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        written.touch(mode=0o600)
        written.write_text(yaml.safe_dump(document))
        return written

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            near = self._server.wrap_socket(plain, server_side=True)
            far = self._client.wrap_socket(
                socket.create_connection(self._target), server_hostname="127.0.0.1"
            )
            doomed = threading.Event()
            back = threading.Thread(target=self._answers, args=(far, near, doomed), daemon=True)
            back.start()
            try:
                while request := _read_request(near):
                    if self._is_the_one(request):
                        self.at = request.partition(b"\r\n")[0].decode()
                        if not self._late:
                            self._kill()
                            return
                        doomed.set()
                    far.sendall(request)
            finally:
                _drop(far)

    def _answers(self, far: ssl.SSLSocket, near: ssl.SSLSocket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(CHUNK):
                if doomed.is_set():
                    self._kill()
                    break
                near.sendall(data)
        _drop(near)

    def _is_the_one(self, request: bytes) -> bool:
        method, path, _ = request.split(b" ", 2)
        if method == b"GET" or ELECTION in path:
            return False
        if (
            path.startswith(b"/apis/coordination.k8s.io/")
            and method == b"POST"
            and _elects(request)
        ):
            return False
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            return self._left == 0

    def _kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.killed.set()


def _elects(request: bytes) -> bool:
    return b'"stagedoor-controller"' in request


def _read_request(near: ssl.SSLSocket) -> bytes:
    """One request of HTTP/1.1, whole; empty at the end of the connection."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = near.recv(CHUNK)
        if not more:
            return b""
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
        assert name.strip().lower() != b"transfer-encoding", "requests of ours tell their length"
    while len(body) < length:
        more = near.recv(CHUNK)
        if not more:
            return b""
        body += more
    assert len(body) == length, "no request before the answer to the one before"
    return head + b"\r\n\r\n" + body


def _drop(sock: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
