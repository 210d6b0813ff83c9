"""A web client without a browser: pages by HTTP, with cookies and forms, and a terminal by WebSocket."""

import http.cookiejar
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from acceptance.verdict import FailedError, expect
from stagedoor.client.attach.attachment import Attachment, WriteOutput
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import SUBPROTOCOL, HolderFrame, Mode, Size, TerminalError

ANSWER_S = 60.0


@dataclass(frozen=True)
class Answer:
    """The answer to a request, after all redirects."""

    status: int
    text: str


class Person:
    """A person with their own cookies at the gateway below `url`. Its methods raise FailedError."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        # Ignore a proxy from the environment, which cannot reach this machine's loopback.
        cookies = HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = build_opener(ProxyHandler({}), cookies)

    def get(self, path: str) -> Answer:
        """Return a page."""
        return self._ask(Request(self.url + path))  # noqa: S310 - the gateway's own address

    def post(self, path: str, **fields: str) -> Answer:
        """Send a page's form and return the answer."""
        return self._post(path, urlencode(fields).encode(), "application/x-www-form-urlencoded")

    def post_json(self, path: str, **fields: object) -> dict[str, Any]:
        """POST JSON as the pages' own scripts do, and return the answer's fields."""
        answer = self._post(path, json.dumps(fields).encode(), "application/json")
        expect(answer.status == 200, f"{path} answers {answer.status}: {answer.text[:200]}")
        content = json.loads(answer.text)
        assert isinstance(content, dict), "all of these answers are objects"
        return content

    def sign_in(self, name: str, secret: str) -> None:
        """Sign in by a password or a token."""
        answer = self.post("/sign-in", name=name, secret=secret, next="")
        expect(answer.status == 200, f"signing in answers {answer.status}")

    def follow(self, link: str) -> None:
        """Sign in by a one-time link, as its page's script does."""
        secret = urlsplit(link).fragment.partition("&")[0]
        answer = self.post("/sign-in/link", secret=secret, next="")
        expect(answer.status == 200, f"the link answers {answer.status}")

    def in_terminal(self, app: str, typed: str, wanted: str) -> None:
        """Type a line into a new terminal of an app, wait for the output `wanted`, and end the shell."""
        ticket = str(self.post_json("/api/ticket", target=app)["ticket"])
        attachment = Attachment("check", Size(80, 24), Mode.MIRROR, "xterm", "C.UTF-8", "")
        url = f"ws{self.url.removeprefix('http')}/terminal"
        try:
            with connect(
                url, origin=Origin(self.origin), subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None
            ) as socket:
                socket.send(encode(attachment.make_hello(ticket)))
                attachment.queue_input(f"{typed}\r".encode())
                shown, deadline = b"", time.monotonic() + ANSWER_S
                while wanted.encode() not in shown:
                    frame = decode(_binary(socket.recv(max(deadline - time.monotonic(), 0))))
                    assert isinstance(frame, HolderFrame), "the gateway sends nothing else"
                    for event in attachment.handle_frame(frame):
                        shown += event.data if isinstance(event, WriteOutput) else b""
                    socket.send(encode(attachment.confirm_output()))
                    for typed_frame in attachment.take_sendable():
                        socket.send(encode(typed_frame))
                attachment.queue_input(b"exit\r")
                for typed_frame in attachment.take_sendable():
                    socket.send(encode(typed_frame))
        except (OSError, TerminalError, WebSocketException) as error:
            raise FailedError(f"the terminal: {error or type(error).__name__}") from None

    def _post(self, path: str, body: bytes, kind: str) -> Answer:
        fields = {"Origin": self.origin, "Content-Type": kind}
        return self._ask(Request(self.url + path, body, fields))  # noqa: S310 - as above

    def _ask(self, request: Request) -> Answer:
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                return Answer(answer.status, answer.read().decode())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(errors="replace"))
        except (URLError, OSError) as error:
            raise FailedError(f"no answer from the gateway: {error}") from None


def _binary(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise FailedError("the terminal sent text, where all of its frames are binary")
    return message
