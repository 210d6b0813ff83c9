"""Real proxies before the gateway, and between it and the developer: nginx, Caddy, Traefik, tinyproxy, one
of our own."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.programs import program
from tests.docs.pages import ROOT, blocks
from tests.missing import missing
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.mover import trusting

NEEDED = ("nginx", "caddy", "tinyproxy")
MISSING = [
    name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
]

PAGE = ROOT / "docs" / "how-to" / "web-proxies.md"


def printed(language: str) -> str:
    """The lines of that language that our how-to prints."""
    (found,) = [block.text for block in blocks(language) if block.page == PAGE]
    return found


def put(text: str, places: Mapping[str, object]) -> str:
    """The same lines, with this machine's ports and files where the page has others."""
    for old, new in places.items():
        assert text.count(old) == 1, f"the page does not have {old!r} once"
        text = text.replace(old, str(new))
    return text


@dataclass(frozen=True)
class Reverse:
    """A reverse proxy that runs: its ports, and the files of its two logs. Without TLS, nginx alone."""

    port: int
    tls_port: int
    log: Path
    errors: Path


@contextlib.contextmanager
def _runs(*command: str | Path, until: Callable[[], bool], **options: Any) -> Iterator[None]:
    """A proxy's program, once it is ready, for the length of the block."""
    process = subprocess.Popen(command, **options)
    try:
        wait_until(until)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def nginx(
    folder: Path,
    to_port: int,
    certificate: tuple[Path, Path],
    location: str = "/",
    more: str = "",
    others: Sequence[int] = (),
) -> Iterator[Reverse]:
    """A reverse proxy by the lines of our how-to; `more` goes into its location, and gateways at `others`
    take turns with the first."""
    folder.mkdir(exist_ok=True)
    port, tls_port = free_port(), free_port()
    file, key = certificate
    site = put(
        printed("nginx"),
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{port};\n    listen 127.0.0.1:{tls_port} ssl;",
            "/etc/ssl/portal.pem": file,
            "/etc/ssl/portal.key": key,
            "location /stagedoor/ {": f"location {location} {{\n        {more}",
            "http://127.0.0.1:8443;": "http://gateways;",
        },
    )
    # Each is tried at every request, also soon after it was away.
    servers = "".join(
        f"server 127.0.0.1:{candidate} max_fails=0; " for candidate in (to_port, *others)
    )
    (folder / "nginx.conf").write_text(
        f"""
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream gateways {{ {servers}}}
{site}
}}
"""
    )
    command = (
        _program("nginx"),
        "-p",
        folder,
        "-c",
        folder / "nginx.conf",
        "-e",
        folder / "error.log",
    )
    with _runs(*command, until=lambda: answers(port) and answers(tls_port)):
        yield Reverse(port, tls_port, folder / "access.log", folder / "error.log")


@contextlib.contextmanager
def caddy(folder: Path, to_port: int, certificate: tuple[Path, Path]) -> Iterator[Reverse]:
    """The same by Caddy, for its names on its port; who names none is answered for the first."""
    folder.mkdir(exist_ok=True)
    tls_port = free_port()
    file, key = certificate
    site = put(
        printed("caddyfile"),
        {
            "127.0.0.1:8443\n": f"127.0.0.1:{to_port}\n",
            "shell.example.com {\n": f"shell.example.com {{\n    tls {file} {key}\n",
        },
    )
    (folder / "Caddyfile").write_text(
        f"""
{{
    admin off
    auto_https off
    default_bind 127.0.0.1
    default_sni shell.example.com
    https_port {tls_port}
    storage file_system {folder}/storage
    log {{
        output file {folder}/caddy.log
    }}
}}
{site}
"""
    )
    command = (_program("caddy"), "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile")
    with _runs(
        *command,
        until=lambda: answers(tls_port),
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        stderr=subprocess.DEVNULL,
    ):
        yield Reverse(0, tls_port, folder / "caddy.log", folder / "caddy.log")


def need_traefik() -> Path:
    """Its program. With CI=true a missing one is a failure."""
    path = program("traefik")
    if not path.exists():
        missing("Traefik is not built: script/cluster build builds it")
    return path


@contextlib.contextmanager
def traefik(
    folder: Path, to_port: int, certificate: tuple[Path, Path], read_timeout_s: int = 60
) -> Iterator[Reverse]:
    """The same by Traefik, for its names; a request that takes longer than that to come is cut off."""
    command = need_traefik()
    folder.mkdir(exist_ok=True)
    tls_port = free_port()
    file, key = certificate
    site = put(printed("yaml"), {"http://127.0.0.1:8443": f"http://127.0.0.1:{to_port}"})
    # Our lines are a file of their own, as the page has it; the others are JSON, which is YAML.
    dynamic = folder / "dynamic"
    dynamic.mkdir(exist_ok=True)
    (dynamic / "site.yaml").write_text(site)
    default = {"certFile": str(file), "keyFile": str(key)}
    (dynamic / "tls.yaml").write_text(
        json.dumps({"tls": {"stores": {"default": {"defaultCertificate": default}}}})
    )
    timeouts = {"readTimeout": f"{read_timeout_s}s"}
    (folder / "static.yaml").write_text(
        json.dumps(
            {
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "log": {"filePath": str(folder / "error.log")},
                "accessLog": {"filePath": str(folder / "access.log")},
                "entryPoints": {
                    "websecure": {
                        "address": f"127.0.0.1:{tls_port}",
                        "transport": {"respondingTimeouts": timeouts},
                    }
                },
                "providers": {"file": {"directory": str(dynamic), "watch": False}},
            }
        )
    )
    # Its port is open, and hangs up, before it has read what is to be behind it.
    with _runs(command, f"--configFile={folder}/static.yaml", until=lambda: _leads_on(tls_port)):
        yield Reverse(0, tls_port, folder / "access.log", folder / "error.log")


@contextlib.contextmanager
def tinyproxy(folder: Path, credential: tuple[str, str] | None = None) -> Iterator[int]:
    """A corporate proxy; its port."""
    port = free_port()
    (folder / "tinyproxy.conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 50\nLogFile "{folder}/tiny.log"\n'
        + (f"BasicAuth {credential[0]} {credential[1]}\n" if credential else "")
    )
    command = (_program("tinyproxy"), "-d", "-c", folder / "tinyproxy.conf")
    with _runs(*command, until=lambda: answers(port)):
        yield port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def _leads_on(tls_port: int) -> bool:
    """Return whether a server behind it answers for the name of our how-to."""
    line = http.client.HTTPSConnection("127.0.0.1", tls_port, timeout=5, context=trusting())
    try:
        line.request("GET", "/sign-in", headers={"Host": "shell.example.com"})
        return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def _program(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert path, f"as root: apt-get install {name}"
    return path


@dataclass
class Corporate:
    """A proxy that speaks CONNECT and knows names that no resolver does, each for a port of this machine or
    an address; `asked` is what for."""

    names: Mapping[str, int | tuple[str, int]]
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = [self._listener]

    def __enter__(self) -> "Corporate":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

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
            door = self.names[target]
            far = socket.create_connection(("127.0.0.1", door) if isinstance(door, int) else door)
            self._open.append(far)
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=self._carry, args=(far, near), daemon=True).start()
            self._carry(near, far)

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for stream in (source, sink):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
