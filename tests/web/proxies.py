"""Real proxies before the gateway, and between it and the developer: nginx, tinyproxy, one of our own."""

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port
from tests.waiting import wait_until

NEEDED = ("nginx", "tinyproxy")
MISSING = [
    name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
]

HEADERS = """
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
"""


@dataclass(frozen=True)
class Nginx:
    """One that runs: its ports, and the file of its access log."""

    port: int
    tls_port: int
    log: Path


@contextlib.contextmanager
def nginx(
    folder: Path, to_port: int, certificate: tuple[Path, Path], location: str = "/", more: str = ""
) -> Iterator[Nginx]:
    """A reverse proxy as our how-to has it; `more` goes into its location."""
    folder.mkdir(exist_ok=True)
    port, tls_port = free_port(), free_port()
    file, key = certificate
    (folder / "nginx.conf").write_text(
        f"""
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {file};
    ssl_certificate_key {key};
    location {location} {{
      proxy_pass http://127.0.0.1:{to_port};
{HEADERS}
      {more}
    }}
  }}
}}
"""
    )
    process = subprocess.Popen(
        [_program("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    )
    try:
        wait_until(lambda: answers(port) and answers(tls_port))
        yield Nginx(port, tls_port, folder / "access.log")
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def tinyproxy(folder: Path, credential: tuple[str, str] | None = None) -> Iterator[int]:
    """A corporate proxy; its port."""
    port = free_port()
    (folder / "tinyproxy.conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 50\nLogFile "{folder}/tiny.log"\n'
        + (f"BasicAuth {credential[0]} {credential[1]}\n" if credential else "")
    )
    process = subprocess.Popen([_program("tinyproxy"), "-d", "-c", folder / "tinyproxy.conf"])
    try:
        wait_until(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, f"as root: apt-get install {name}"
    return found


@dataclass
class Corporate:
    """A proxy that speaks CONNECT and knows names that nobody else does; `asked` is what for."""

    names: Mapping[str, int]
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = [self._listener]

    def __enter__(self) -> "Corporate":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(1)
            method, target, _ = head.decode().split(" ", 2)
            self.asked.append(f"{method} {target}")
            if method != "CONNECT" or target not in self.names:
                near.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                near.close()
                return
            far = socket.create_connection(("127.0.0.1", self.names[target]))
            self._open.append(far)
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
            self._carry(near, far)

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
