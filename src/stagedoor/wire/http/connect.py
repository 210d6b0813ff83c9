"""A parser for the head of a CONNECT request, fed in pieces of any size (RFC 9110 §9.3.6, RFC 9112).

It is strict, since every stock client writes plain, well-formed lines and tolerance would gain nothing.
The answers are in `wire.http.answer`.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from stagedoor.model.credential import Credential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.trace import TraceContext
from stagedoor.model.units import KIB
from stagedoor.wire.http.fields import make_bad_request, parse_credential, parse_traceparent

MAX_HEADER_BYTES = 8 * KIB
"""The limit for the request line, the fields and the empty line, with all line ends."""
MAX_HEADER_LINES = 64
"""The limit for the request line and the fields. nc sends 1 line, curl 5, a browser about 10."""

_CONNECT = b"CONNECT "
_SPEAKS_CONNECT = "this is an SSH gateway; it speaks CONNECT only"
# The first bytes of other protocols. None is a prefix of another or of CONNECT, so the first bytes
# that decide give the same answer as the whole.
_OTHER_PROTOCOLS = {
    b"\x16": "this looks like TLS, but this port speaks plain HTTP;"
    " use the gateway's TLS port, or http:// in place of https://",
    b"SSH-": "this looks like an SSH client, but this port speaks HTTP CONNECT;"
    " let ssh come through it: ProxyCommand stagedoor tunnel --gateway HOST:PORT %h %p",
    b"PRI ": "this looks like HTTP/2; use HTTP/1.1 or 1.0",
    b"PROXY ": "this looks like a load balancer's PROXY header, which is not expected from this"
    " source; turn it off there, or trust the source in the gateway's settings",
    b"\r\n\r\n\x00\r\nQUIT\n": "this looks like a load balancer's PROXY header (version 2), which is"
    " not expected from this source; turn it off there, or trust the source in the gateway's"
    " settings",
    b"\x05": "this looks like SOCKS 5; use HTTP CONNECT (nc -X connect)",
    b"\x04": "this looks like SOCKS 4; use HTTP CONNECT (nc -X connect)",
    b"connect ": "the method is written CONNECT, in capitals",
} | {
    method + b" ": _SPEAKS_CONNECT
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
}

# Possessive quantifiers: there is no backtracking, so every match is linear.
# RFC 9112 §3: single spaces, no tab; the target is the authority-form (§3.2.3), split at its last
# colon here and checked by `parse_target`.
_REQUEST_LINE = re.compile(rb"CONNECT ([!-~]++) HTTP/1\.([01])")
# RFC 9110 §5.1, §5.5: a token, a colon right after it, and no control character but tab.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):([^\x00-\x08\x0a-\x1f\x7f]*+)")
_RESUME = re.compile(rb"1 ([0-9a-f]{32}) ([0-9]{1,9})")
# RFC 9112 §3.2 for Host; two of the others would be ambiguous.
_ONCE = frozenset(
    {b"proxy-authorization", b"host", b"content-length", b"stagedoor-resume", b"stagedoor-reason"}
)


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """The request for a resumable tunnel, with its secret key and the number of this connection.

    `attempt` 0 opens a session, and any other number resumes one.
    """

    key: str = field(repr=False)
    attempt: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a tunnel, well-formed but neither authenticated nor allowed.

    `host` and `port` are the raw text before and after the last colon, and either may be empty: only
    `parse_target` may use them. The Host header is not kept, because no decision may depend on it. `early` is
    every byte after the head: the tunnel's first bytes, to be relayed before all others.
    `has_bare_line_feed`: the request line ended in LF alone, which corkscrew 2.0 sends before
    Proxy-Authorization. That program discards everything it reads together with the 200, so the gateway
    should pause before the shell's first byte. `wants_progress`: the client reads interim answers
    (`Stagedoor-Progress`), which other clients cannot handle. `trace_context`: the client's own trace, if it
    sends a valid `traceparent`. `resume`: the client can resume the tunnel (`Stagedoor-Resume`); None for
    other clients and for unknown versions. `reason`: why the user asks for access, if they have no grant
    (`Stagedoor-Reason`, percent-encoded UTF-8).
    """

    host: str
    port: str
    credential: Credential | None = None
    early: bytes = field(default=b"", repr=False)
    has_bare_line_feed: bool = False
    wants_progress: bool = False
    trace_context: TraceContext | None = None
    resume: ResumeRequest | None = None
    reason: str | None = None


class HeadParser:
    """Parses one request head, in time linear in the bytes fed, however they are split.

    A Denial is returned as soon as the bytes decide it, not only at the end of the head, and is the
    same for every split. The caller enforces the deadline of the header.
    """

    __slots__ = (
        "_buffer",
        "_fields",
        "_is_protocol_unknown",
        "_lines",
        "_needs_host",
        "_outcome",
        "_scanned",
        "_seen",
        "_start",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the current line
        self._scanned = 0  # no LF between _start and here
        self._is_protocol_unknown = True  # until the head begins with CONNECT
        self._lines = 0
        self._needs_host = False  # unless the version is 1.1
        self._seen: set[bytes] = set()  # names of fields
        self._fields: dict[str, Any] = {}  # of the Request
        self._outcome: Request | Denial | None = None

    def feed(self, received: bytes) -> Request | Denial | None:
        """Parse the next bytes. Return None if more are needed.

        After a Denial nothing more is parsed, and the same Denial is returned again. After a Request
        the bytes belong to the tunnel, and feeding them here raises RuntimeError.
        """
        if self._outcome is None:
            self._buffer += received
            self._outcome = self._read()
        elif isinstance(self._outcome, Request):
            raise RuntimeError("the head is complete: these bytes belong to the tunnel")
        return self._outcome

    def _read(self) -> Request | Denial | None:
        buffer = self._buffer
        if self._is_protocol_unknown:
            if not buffer.startswith(_CONNECT):
                return _check_protocol(bytes(buffer))
            self._is_protocol_unknown = False
        while True:
            end = buffer.find(b"\n", self._scanned, MAX_HEADER_BYTES)
            if end < 0:
                if len(buffer) >= MAX_HEADER_BYTES:
                    return Denial(
                        Reason.HEADER_TOO_LARGE,
                        f"the request's header is larger than {MAX_HEADER_BYTES} bytes",
                    )
                self._scanned = len(buffer)
                return None
            line = bytes(buffer[self._start : end])
            self._start = self._scanned = end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            elif self._lines == 0:
                # RFC 9112 §2.2 permits LF alone. It is accepted only here, for corkscrew.
                self._fields["has_bare_line_feed"] = True
            else:
                return make_bad_request("a header line ends in LF alone; end every line with CRLF")
            if not line:
                return self._finish()
            self._lines += 1
            if self._lines > MAX_HEADER_LINES:
                return Denial(
                    Reason.HEADER_TOO_LARGE,
                    f"the request's header has more than {MAX_HEADER_LINES} lines",
                )
            denial = self._take_request_line(line) if self._lines == 1 else self._take_field(line)
            if denial is not None:
                return denial

    def _take_request_line(self, line: bytes) -> Denial | None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            if re.fullmatch(rb"CONNECT [!-~]+ HTTP/[0-9.]+", line):
                return make_bad_request(
                    "this version of HTTP is not supported; use HTTP/1.1 or 1.0"
                )
            return make_bad_request(
                "the request line is not 'CONNECT name:port HTTP/1.1', with single spaces"
            )
        host, _, port = match[1].decode("ascii").rpartition(":")
        if not host and b":" not in match[1]:
            host, port = port, ""
        self._needs_host = match[2] == b"1"
        self._fields.update(host=host, port=port)
        return None

    def _take_field(self, line: bytes) -> Denial | None:
        match = _FIELD.fullmatch(line)
        if match is None:
            return make_bad_request(_why_no_field(line))
        name, value = match[1].lower(), match[2].strip(b" \t")
        is_repeated = name in self._seen
        self._seen.add(name)
        if is_repeated and name in _ONCE:
            return make_bad_request(f"there is more than one {name.decode('ascii').title()} header")
        match name:
            case b"proxy-authorization":
                credential = parse_credential(value)
                if isinstance(credential, Denial):
                    return credential
                self._fields["credential"] = credential
            case b"content-length" if value != b"0":
                # RFC 9110 §9.3.6: content in a CONNECT has no meaning; it would be early data.
                return make_bad_request("a CONNECT request has no body; leave out Content-Length")
            case b"transfer-encoding":
                return make_bad_request(
                    "a CONNECT request has no body; leave out Transfer-Encoding"
                )
            case b"stagedoor-progress":
                self._fields["wants_progress"] = True
            case b"stagedoor-resume" if (resume := _RESUME.fullmatch(value)) is not None:
                self._fields["resume"] = ResumeRequest(resume[1].decode("ascii"), int(resume[2]))
            case b"stagedoor-reason":
                self._fields["reason"] = unquote(value.decode("latin-1"))
            case b"traceparent":
                # Two of them are ambiguous, so they count as none.
                trace = None if is_repeated else parse_traceparent(value.decode("latin-1"))
                self._fields["trace_context"] = trace
        return None

    def _finish(self) -> Request | Denial:
        if self._lines == 1 and "has_bare_line_feed" in self._fields:
            return make_bad_request("the request line ends in LF alone; end every line with CRLF")
        if self._needs_host and b"host" not in self._seen:
            # RFC 9112 §3.2: "A server MUST respond with a 400".
            return make_bad_request(
                "an HTTP/1.1 request needs a Host header; add it, or use HTTP/1.0"
            )
        early = bytes(self._buffer[self._start :])
        self._buffer = bytearray()
        return Request(**self._fields, early=early)


def _check_protocol(start: bytes) -> Denial | None:
    """Return a Denial for first bytes that are not CONNECT, or None while that is undecided."""
    for prefix, message in _OTHER_PROTOCOLS.items():
        if start.startswith(prefix):
            return make_bad_request(message)
        if prefix.startswith(start):
            return None
    if _CONNECT.startswith(start):
        return None
    return make_bad_request(f"this is no HTTP request; {_SPEAKS_CONNECT}")


def _why_no_field(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        # RFC 9112 §5.2: obs-fold is refused.
        return "a header line begins with a space; write each header in one line"
    if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line):
        return "a header line has a control character in it"
    return "a header line is not 'Name: value', with nothing between name and colon"
