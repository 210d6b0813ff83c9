"""The CONNECT request to a proxy (RFC 9110 §9.3.6), and its answer."""

from __future__ import annotations

import os
import time

from stagedoor.laptop.tunnel.errors import NO_ANSWER, REASON_LIMIT, TunnelError, clean, show
from stagedoor.laptop.tunnel.http import (
    HEAD_LIMIT,
    HttpAnswer,
    encode_basic,
    parse_head,
    read_head,
    receive,
    send,
)
from stagedoor.laptop.tunnel.wire import TcpWire

BODY_LIMIT = 4 * 1024  # bytes of a refusal's body that are read
BODY_TIMEOUT_S = 2.0
REASON_FIELD = "Stagedoor-Reason"
_STEP_UP, _ACCESS = "step-up: ", "access: "
_ON_REQUEST = " is open on request "
PATIENT_S = 2.0  # after this, progress is shown even if stderr is not a terminal


class ReasonPromptError(Exception):
    """The developer may ask for access, and has given no reason yet. The text is the gateway's line."""


def is_action(hint: str) -> bool:
    """Return True if a gateway's hint says what the developer has to do before the login continues."""
    return hint.startswith((_STEP_UP, _ACCESS))


def is_access(hint: str) -> bool:
    """Return True if a gateway's hint is about access on request."""
    return hint.startswith(_ACCESS)


def is_open_on_request(line: str) -> bool:
    """Return True if a gateway's line says that access can be requested.

    In a hint, there is no request yet. In a refusal's message, no approver has decided yet.
    """
    return _ON_REQUEST in line


def find_offer(hint: str) -> str:
    """Return the part of a hint about access that says how to request it."""
    return (hint.partition(_ACCESS)[2] or hint).partition(". This login waits")[0]


def encode_reason(reason: str) -> str:
    """Return the header line with the developer's reason for access."""
    data = reason.encode("utf-8", "replace")
    text = "".join(chr(c) if 32 < c < 127 and c != 37 else f"%{c:02X}" for c in data)
    return f"{REASON_FIELD}: {text}\r\n"


def ask(
    wire: TcpWire, target: str, credential: str | None, answer_by: float, fields: str = ""
) -> HttpAnswer:
    """Send the CONNECT request and return the answer. Raises TunnelError, ReasonPromptError.

    `credential` is `name:password`. `answer_by` is in monotonic seconds. `fields` has further header lines.
    """
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: stagedoor-tunnel\r\n"
    if wire.shown_target:  # a corporate proxy or a reconnect has no use for these
        request += "Stagedoor-Progress: 1\r\n"
        # https://opentelemetry.io/docs/specs/otel/context/env-carriers/
        trace = os.environ.get("TRACEPARENT", "")
        if len(trace) == 55 and not trace.strip("0123456789abcdef-"):
            request += f"traceparent: {trace}\r\n"
    request += fields
    if credential is not None:
        request += f"Proxy-Authorization: {encode_basic(credential)}\r\n"
    try:
        send(wire, f"{request}\r\n".encode("ascii"), answer_by)
        return read_answer(wire, answer_by)
    except OSError as error:
        raise TunnelError(
            NO_ANSWER, f"{wire.name} hung up without an answer ({error.strerror or error})"
        ) from None


def read_answer(wire: TcpWire, answer_by: float) -> HttpAnswer:
    """Read the final answer, and the reason of a refusal. Raises TunnelError, ReasonPromptError."""
    room = HEAD_LIMIT
    start = time.monotonic()
    patient_until, patience_s = start + PATIENT_S, answer_by - start
    while True:
        head = read_head(wire, room, answer_by)
        room -= len(head)
        answer = parse_head(wire, head)
        # RFC 9110 §15.2: skip interim answers. 101 is final, although the client did not request it.
        if answer.status >= 200 or answer.status == 101:
            break
        step = clean(answer.fields.get("stagedoor-progress", ""))
        if step:
            # The developer has to act: show this at once, and only once.
            needs_action = is_action(step)
            if wire.may_ask_reason and is_access(step) and is_open_on_request(step):
                raise ReasonPromptError(step)
            if needs_action and step != wire.step:
                show(f"stagedoor: {clean(wire.shown_target)}: {step}\n")
            wire.step = step
            # A gateway that reports progress gets more time: adding a node takes minutes.
            answer_by = time.monotonic() + patience_s
            if not (needs_action or os.isatty(2)) and time.monotonic() >= patient_until:
                show(f"stagedoor: {clean(wire.shown_target)}: {step}\n")
    if not answer.is_success:
        answer.reason = clean(read_reason(wire, answer) or answer.phrase, REASON_LIMIT)
    return answer


def read_reason(wire: TcpWire, answer: HttpAnswer) -> str:
    """Return the first line of a refusal in plain text, or "" if none arrives in time."""
    if not answer.fields.get("content-type", "").lower().startswith("text/plain"):
        return ""
    limit = BODY_LIMIT if answer.length is None else min(answer.length, BODY_LIMIT)
    body = b""
    try:
        for data in receive(wire, limit, time.monotonic() + BODY_TIMEOUT_S):
            body += data
    except (OSError, TunnelError):
        pass  # use what was received
    return next((line for line in body.decode("utf-8", "replace").splitlines() if line.strip()), "")
