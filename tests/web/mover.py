"""One who moves files as the page does: signed in, with an Origin, over plain HTTP."""

import hashlib
import http.client
import json
import random
import secrets
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.fixtures.gateway import PASSWORD
from tests.waiting import BOUND_S

MIB = 1024 * 1024
CUT = (ConnectionError, ssl.SSLEOFError)
"""What a client sees of a connection that the other end has cut, without TLS and with it."""
_BLOCK = random.Random(5).randbytes(MIB)


def content(size: int, start: int = 0) -> Iterator[bytes]:
    """Bytes of which no two blocks are alike, from `start` on."""
    at = start
    while at < size:
        number, inside = divmod(at, MIB)
        block = number.to_bytes(8, "big") + _BLOCK[8:]
        piece = block[inside : inside + size - at]
        yield piece
        at += len(piece)


def digest(pieces: Iterator[bytes]) -> str:
    checksum = hashlib.sha256()
    for piece in pieces:
        checksum.update(piece)
    return checksum.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


@dataclass
class Sent:
    """An upload, named as the page names it."""

    folder: Path
    name: bytes
    size: int
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def query(self) -> str:
        return f"folder={quote(str(self.folder))}&name={quote(self.name)}&size={self.size}&id={self.id}"

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name.decode()}.{self.id}.part"


def trusting() -> ssl.SSLContext:
    """For a test's own certificate, whatever name it is shown for."""
    # Not create_default_context: it reads the machine's CAs, which takes long.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Mover:
    """A browser's side, signed in. `origin` and `path` are those of the page, where the gateway has a
    domain, a path or a proxy before it; an `https:` one is spoken to by TLS."""

    def __init__(
        self, port: int, app: str = "app01", name: str = "dev", *, origin: str = "", path: str = ""
    ) -> None:
        self.port = port
        self.app = app
        self.origin = origin or f"http://127.0.0.1:{port}"
        self.path = path
        self.cookie = ""
        answer = self.ask(
            "POST",
            f"{path}/sign-in",
            urlencode({"name": name, "secret": PASSWORD}).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == 303, answer.body
        self.cookie = answer.headers["set-cookie"].partition(";")[0]

    @property
    def host(self) -> str:
        return self.origin.partition("://")[2]

    def connect(self, port: int | None = None) -> http.client.HTTPConnection:
        port = port or self.port
        if self.origin.startswith("https:"):
            return http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=BOUND_S, context=trusting()
            )
        return http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_S)

    def headers(self, method: str) -> dict[str, str]:
        """As a browser sends them with what a page of ours asks for."""
        mark = {"Sec-Fetch-Site": "same-origin"}
        if method not in ("GET", "HEAD"):
            mark["Origin"] = self.origin
        return {"Cookie": self.cookie, **mark}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        plain: bool = False,
    ) -> Answer:
        """`plain`: with these headers and no others."""
        with closing(self.connect()) as line:
            ours = {} if plain else self.headers(method)
            line.request(method, path, body, {"Host": self.host, **ours, **(headers or {})})
            response = line.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def files(self, query: str = "", tail: str = "") -> str:
        return f"{self.path}/api/files/{self.app}{tail}?{query}"

    def about(self, path: bytes | str) -> Answer:
        return self.ask("POST", self.files(f"path={quote(path)}"))

    def get(self, path: bytes | str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("GET", self.files(f"path={quote(path)}"), headers=named)

    def offset(self, sent: Sent) -> int:
        answer = self.ask("POST", self.files(sent.query, "/upload"))
        assert answer.status == 200, answer.body
        return int(answer.said["offset"])

    def begin(self, sent: Sent) -> Answer:
        return self.ask("POST", self.files(sent.query, "/upload"))

    def patch(self, sent: Sent, at: int, body: bytes) -> Answer:
        return self.ask("PATCH", self.files(f"{sent.query}&at={at}", "/upload"), body)

    def send(self, sent: Sent, body: bytes) -> Answer:
        """A small file, whole."""
        begun = self.begin(sent)
        return self.patch(sent, begun.said["offset"], body) if begun.status == 200 else begun

    def put_head(self, line: http.client.HTTPConnection, sent: Sent, at: int) -> None:
        """Announce the file's bytes from `at` on."""
        line.putrequest("PATCH", self.files(f"{sent.query}&at={at}", "/upload"), skip_host=True)
        head = {"Host": self.host, **self.headers("PATCH"), "Content-Length": str(sent.size - at)}
        for name, value in head.items():
            line.putheader(name, value)
        line.endheaders()

    def stall(self, sent: Sent, at: int, size: int) -> None:
        """Send so many of the file's bytes from `at` on; the rest does not come until one end hangs up."""
        with closing(self.connect()) as line:
            self.put_head(line, sent, at)
            for piece in content(size):
                line.send(piece)
            assert line.sock is not None
            with suppress(*CUT):
                while line.sock.recv(65536):
                    pass

    def pour_on(self, sent: Sent, at: int) -> Answer:
        """`pour`, as often as it is found too slow, as on a busy machine; each time it comes further."""
        # 499 is Traefik's: its own time limit ended the request (server.transport.respondingTimeouts).
        slow = (HTTPStatus.GATEWAY_TIMEOUT, 499)
        while (answer := self.pour(sent, at)) is None or answer.status in slow:
            before, at = at, self.offset(sent)
            assert at > before
        return answer

    def pour(
        self, sent: Sent, at: int, *, until: int | None = None, port: int | None = None
    ) -> Answer | None:
        """The file's `content` from `at` on; None where the line is cut: by us, `until` there, or by who
        finds it too slow."""
        with closing(self.connect(port)) as line:
            self.put_head(line, sent, at)
            with suppress(*CUT):  # the answer may say why it was cut
                for piece in content(until or sent.size, at):
                    line.send(piece)
            if until is not None:
                return None
            try:
                response = line.getresponse()
            except CUT:  # http.client.RemoteDisconnected is a ConnectionError
                return None
            return Answer(response.status, dict(response.getheaders()), response.read())
