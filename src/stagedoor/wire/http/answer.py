"""The answers to a CONNECT request (RFC 9110 §15, RFC 9112 §4): success, progress or a refusal."""

import re

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import ProgressStep
from stagedoor.wire.oneline import fold

RETRY_AFTER_S = 5
"""The advice of 429 and 503 if the denial has none of its own (RFC 9110 §10.2.3)."""
MAX_REASON_PHRASE_CHARS = 160
"""nc, corkscrew, socat and proxytunnel show only the status line, so it repeats the message."""
MAX_MESSAGE_CHARS = 500
MAX_STEP_CHARS = 200

_BAD_REQUEST = (400, "Bad Request")
_FORBIDDEN = (403, "Forbidden")
_PROXY_AUTHENTICATION_REQUIRED = (407, "Proxy Authentication Required")
_SERVICE_UNAVAILABLE = (503, "Service Unavailable")
_GATEWAY_TIMEOUT = (504, "Gateway Timeout")

_STATUS = {
    Reason.BAD_REQUEST: _BAD_REQUEST,
    Reason.HEADER_TOO_LARGE: (431, "Request Header Fields Too Large"),
    Reason.HEADER_TIMEOUT: (408, "Request Timeout"),
    Reason.TARGET_NOT_ALLOWED: _FORBIDDEN,
    Reason.SOURCE_NOT_ALLOWED: _FORBIDDEN,
    Reason.CREDENTIAL_MISSING: _PROXY_AUTHENTICATION_REQUIRED,
    Reason.CREDENTIAL_WRONG: _PROXY_AUTHENTICATION_REQUIRED,
    Reason.THROTTLED: (429, "Too Many Requests"),
    Reason.NO_GRANT: _FORBIDDEN,
    Reason.STEP_UP_NEEDED: _FORBIDDEN,
    Reason.NO_APP: (404, "Not Found"),
    Reason.SHELL_UNAVAILABLE: _SERVICE_UNAVAILABLE,
    Reason.START_TIMEOUT: _GATEWAY_TIMEOUT,
    Reason.ADDRESS_NOT_ALLOWED: _FORBIDDEN,
    Reason.UPSTREAM_REFUSED: (502, "Bad Gateway"),
    Reason.UPSTREAM_TIMEOUT: _GATEWAY_TIMEOUT,
    Reason.AUDIT_UNAVAILABLE: _SERVICE_UNAVAILABLE,
    Reason.DRAINING: _SERVICE_UNAVAILABLE,
    Reason.OVERLOADED: _SERVICE_UNAVAILABLE,
    Reason.RUN_LIMIT: (429, "Too Many Requests"),
    Reason.SESSION_OVER: (410, "Gone"),
    Reason.INTERNAL: (500, "Internal Server Error"),
}
# Two lines, Basic first: connect-proxy and proxytunnel read one scheme per line, and skip
# unknown schemes (RFC 9110 §11.7.1 allows both forms).
_CHALLENGES = (
    'Proxy-Authenticate: Basic realm="Stagedoor", charset="UTF-8"\r\n'
    'Proxy-Authenticate: Bearer realm="Stagedoor"\r\n'
)
_SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


def encode_established(
    session_id: str | None = None,
    token_ends_at: float | None = None,
    *,
    is_resumable: bool = False,
) -> bytes:
    """Return the answer that opens the tunnel; the tunnel's bytes follow it.

    It has neither Content-Length nor Transfer-Encoding (RFC 9110 §9.3.6). With `session_id`, a
    `Stagedoor-Session` header names the session, so that a developer can quote it to an administrator.
    With `token_ends_at` (seconds since the epoch), another header says when the token ends. If the tunnel
    `is_resumable`, `Stagedoor-Resume` says that frames follow (`wire.tunnel`). Raises ValueError for an id
    that is not allowed in a header.
    """
    head = "HTTP/1.1 200 Connection established\r\n"
    if session_id is not None:
        if not _SESSION_ID.fullmatch(session_id):
            raise ValueError("a session id holds 1 to 100 ASCII letters, digits and . _ - only")
        head += f"Stagedoor-Session: {session_id}\r\n"
    if token_ends_at is not None:
        head += f"Stagedoor-Token-Ends: {token_ends_at:.0f}\r\n"
    if is_resumable:
        head += "Stagedoor-Resume: 1\r\n"
    return f"{head}\r\n".encode("ascii")


def encode_interim(step: ProgressStep) -> bytes:
    """Return an interim answer (RFC 9110 §15.2) that reports the progress of a shell's start.

    RFC 2518 defines 102 for this case: accepted, but not done yet. Send it only to clients that requested it
    with a `Stagedoor-Progress` header, since stock clients take any 1xx for a refusal.
    """
    line = fold(step.line.encode("ascii", "replace").decode("ascii"))[:MAX_STEP_CHARS]
    return f"HTTP/1.1 102 Processing\r\nStagedoor-Progress: {line}\r\n\r\n".encode("ascii")


def choose_status(reason: Reason) -> int:
    """Return the HTTP status code of a reason, with 407 for one that requires another credential."""
    return _STATUS[reason][0]


def choose_server_status(reason: Reason) -> int:
    """Return the status code of an origin server's answer: 401 where a proxy's is 407 (RFC 9110 §15.5)."""
    status = choose_status(reason)
    return 401 if status == 407 else status


def encode_refusal(denial: Denial) -> bytes:
    """Return the whole answer to a refused request; the connection is closed after it.

    The body is the denial's line. No message can end a header: line ends and control characters become
    spaces, and in the status line every character outside ASCII becomes `?`.
    """
    status, phrase = _STATUS[denial.reason]
    message = fold(denial.line)[:MAX_MESSAGE_CHARS]
    body = f"{message}\n".encode("utf-8", "replace")
    brief = message.encode("ascii", "replace")[:MAX_REASON_PHRASE_CHARS].decode("ascii")
    head = f"HTTP/1.1 {status} {phrase}{': ' if brief else ''}{brief}\r\n"
    if status == 407:
        head += _CHALLENGES
    if status in (429, 503) or denial.retry_after_s is not None:
        wait = RETRY_AFTER_S if denial.retry_after_s is None else max(0, denial.retry_after_s)
        head += f"Retry-After: {wait}\r\n"
    head += (
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
