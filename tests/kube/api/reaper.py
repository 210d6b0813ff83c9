"""A relay in front of an API server that kills a process (SIGKILL) at one of its writes.

It ends TLS, so that it sees where a request begins: before the API server has had it, or after it
was done and before the process can hear of it.
"""

import asyncio
import contextlib
import os
import signal
import ssl
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import yaml

from stagedoor.net.tls import make_client_context
from tests.kube.api.lone import LoneApi
from tests.waiting import BOUND_S

CHUNK = 64 * 1024
ELECTION = b"/leases/stagedoor-controller"


class Reaper:
    """No controller dies until `arm` says which and when."""

    def __init__(self, api: LoneApi) -> None:
        self._target = ("127.0.0.1", api.port)
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(api.folder / "api.crt", api.folder / "api.key")
        self._client = make_client_context(api.folder / "ca.crt")
        self._lock = threading.Lock()
        self._pid = self._left = 0
        self._late = False
        self.killed = threading.Event()
        self.at = ""
        """The request at which it was done."""
        # One thread for both ways of a connection: two at once break OpenSSL's memory.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listen = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._server)
        self._listening: asyncio.Server = self._call(listen)
        self.port: int = self._listening.sockets[0].getsockname()[1]

    def arm(self, pid: int, last: int, *, late: bool) -> None:
        """Kill the process at its `last`-th write from now on."""
        with self._lock:
            self._pid, self._left, self._late = pid, last, late
            self.killed.clear()

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()

    def kubeconfig(self, kubeconfig: Path, written: Path) -> Path:
        """A copy of it that goes through here."""
        document = yaml.safe_load(kubeconfig.read_text())
        document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        written.touch(mode=0o600)
        written.write_text(yaml.safe_dump(document))
        return written

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(BOUND_S)

    async def _end(self) -> None:
        self._listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near: StreamReader, to_near: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far, to_far = await asyncio.open_connection(*self._target, ssl=self._client)
            doomed = asyncio.Event()
            back = asyncio.create_task(self._answers(far, to_near, doomed))
            try:
                while request := await _read_request(near):
                    if self._is_the_one(request):
                        self.at = request.partition(b"\r\n")[0].decode()
                        if not self._late:
                            self._kill()
                            return
                        doomed.set()
                    to_far.write(request)
                    await to_far.drain()
            finally:
                to_far.close()
                await back

    async def _answers(
        self, far: StreamReader, to_near: StreamWriter, doomed: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await far.read(CHUNK):
                if doomed.is_set():
                    self._kill()
                    break
                to_near.write(data)
                await to_near.drain()
        to_near.close()

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


async def _read_request(near: StreamReader) -> bytes:
    """One request of HTTP/1.1, whole; empty at the end of the connection."""
    try:
        head = await near.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
            assert name.strip().lower() != b"transfer-encoding", (
                "requests of ours tell their length"
            )
        return head + await near.readexactly(length)
    except IncompleteReadError:
        return b""
