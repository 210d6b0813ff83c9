"""The part of HTTP/1.1 (RFC 9112) that the laptop's programs use."""

from __future__ import annotations

import select
import time

from stagedoor.laptop.tunnel.errors import NO_ANSWER, NOT_PROXY, TunnelError, clean
from stagedoor.laptop.tunnel.wire import TcpWire, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_LIMIT = 16 * 1024  # bytes of one answer's header, interim answers (1xx) included
HEAD_TIMEOUT_S = 10.0  # from an answer's first byte to its last


class HttpAnswer:
    """An HTTP answer. The names in `fields` are in lower case. `body` and `reason` are set later."""

    def __init__(self, status: int, phrase: str, fields: dict[str, str]) -> None:
        self.status = status
        self.phrase = phrase
        self.fields = fields
        self.body = b""
        self.reason = ""  # one line that explains a refusal

    @property
    def is_success(self) -> bool:
        """True if the proxy opened the tunnel."""
        return 200 <= self.status < 300  # RFC 9110 §9.3.6: any 2xx

    @property
    def length(self) -> int | None:
        """The length of the body in bytes, or None if the header has no valid one."""
        size = self.fields.get("content-length", "")
        return int(size) if size.isascii() and size.isdigit() and len(size) < 9 else None


def encode_basic(credential: str) -> str:
    """Return `name:password` as the value of an Authorization field (RFC 7617)."""
    import binascii

    raw = credential.encode("utf-8", "surrogateescape")
    return "Basic " + binascii.b2a_base64(raw, newline=False).decode("ascii")


def send(wire: TcpWire, data: bytes, deadline: float) -> None:
    """Send all of `data`, in one write if possible. Raises OSError, and TunnelError at `deadline`."""
    view = memoryview(data)
    while view:
        part = view
        view = view[wait_for(wire, lambda: wire.send(part), select.POLLOUT, deadline) :]  # noqa: B023 - called here
    wait_for(wire, wire.flush, select.POLLOUT, deadline)


def receive(wire: TcpWire, size: int, deadline: float) -> Iterator[bytes]:
    """Yield `size` bytes as they arrive, or fewer if the connection ends. Raises OSError, TunnelError."""
    while size > 0:
        left = size
        data = wait_for(wire, lambda: wire.recv(left), select.POLLIN, deadline)  # noqa: B023 - called here
        if not data:
            return
        yield data
        size -= len(data)


def read_head(wire: TcpWire, limit: int, answer_by: float) -> bytes:
    """Read one header up to its empty line, and nothing after it. Raises TunnelError."""
    head = b""
    deadline = answer_by
    while len(head) < limit:
        room = limit - len(head)
        try:
            seen = wait_for(wire, lambda: wire.peek(room), select.POLLIN, deadline)  # noqa: B023 - called here
        except OSError as error:
            seen, reason = b"", f" ({error.strerror or error})"
        else:
            reason = ""
        if not seen and not head:
            raise TunnelError(NO_ANSWER, f"{wire.name} hung up without an answer{reason}")
        whole = head + seen
        if not b"HTTP/1.".startswith(whole[:7]):
            raise TunnelError(NOT_PROXY, describe_non_proxy(wire, whole))
        if not seen:
            raise TunnelError(NO_ANSWER, f"{wire.name} hung up in the middle of its answer{reason}")
        if not head:
            deadline = min(answer_by, time.monotonic() + HEAD_TIMEOUT_S)
        end = find_end_of_head(whole, max(0, len(head) - 2))
        stop = len(whole) if end < 0 else end
        while len(head) < stop:
            head += wire.recv(stop - len(head))
        if end >= 0:
            return head
    raise TunnelError(NOT_PROXY, f"{wire.name} sent a header of more than {HEAD_LIMIT} bytes")


def parse_head(wire: TcpWire, head: bytes) -> HttpAnswer:
    """Parse a header by RFC 9112 §4 and §5, without checking unused parts. Raises TunnelError."""
    lines = head.decode("latin-1").split("\n")
    version, _, rest = lines[0].rstrip("\r").partition(" ")
    status, _, phrase = rest.partition(" ")
    is_well_formed = version in ("HTTP/1.0", "HTTP/1.1") and status.isascii() and status.isdigit()
    if not is_well_formed or len(status) != 3 or status < "100":
        raise TunnelError(NOT_PROXY, describe_non_proxy(wire, head))
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return HttpAnswer(int(status), phrase, fields)


def find_end_of_head(data: bytes, start: int) -> int:
    """Return the index after the empty line, or -1. A bare LF ends a line, too (RFC 9112 §2.2)."""
    ends = [(data.find(mark, start), len(mark)) for mark in (b"\n\r\n", b"\n\n")]
    return min((at + size for at, size in ends if at >= 0), default=-1)


def describe_non_proxy(wire: TcpWire, data: bytes) -> str:
    """Return the error for `data`, an answer that is not HTTP."""
    line = f"{wire.name} is not an HTTP proxy (got {clean(data[:60].decode('latin-1'))!r})"
    if data.startswith(b"SSH-"):
        line += "; an SSH server answers there: check the port"
    elif data[:1] == b"\x15":
        line += "; it speaks TLS: give its address as https://"
    return line
