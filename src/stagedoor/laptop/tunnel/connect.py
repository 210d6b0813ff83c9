"""A CONNECT request to a proxy (RFC 9110 §9.3.6), and its answer."""

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
PATIENT_S = 2.0  # a start that takes longer has its progress shown in a log too


class ReasonPromptError(Exception):
    """The person may ask for access, and has given no reason yet; the gateway's line says so."""


def encode_reason(reason: str) -> str:
    """Return the line of the request's header that has the person's reason for access."""
    data = reason.encode("utf-8", "replace")
    text = "".join(chr(c) if 32 < c < 127 and c != 37 else f"%{c:02X}" for c in data)
    return f"{REASON_FIELD}: {text}\r\n"


def ask(
    wire: TcpWire, target: str, credential: str | None, answer_by: float, fields: str = ""
) -> HttpAnswer:
    """Send the CONNECT request and return the answer. Raises TunnelError, ReasonPromptError.

    `fields` are further lines of the request's header.
    """
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: stagedoor-tunnel\r\n"
    if wire.awaited:  # only for the gateway; a corporate proxy has no use for these
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
    """Read the final answer, with the reason of a refusal. Raises TunnelError, ReasonPromptError."""
    room = HEAD_LIMIT
    began = time.monotonic()
    patient_until, patience_s = began + PATIENT_S, answer_by - began
    while True:
        head = read_head(wire, room, answer_by)
        room -= len(head)
        answer = parse_head(wire, head)
        # RFC 9110 §15.2: interim answers are skipped. 101 would be final, but was not requested.
        if answer.status >= 200 or answer.status == 101:
            break
        step = clean(answer.fields.get("stagedoor-progress", ""))
        if step:
            # A person has to act: shown at once, and once.
            for_person = step.startswith(("step-up: ", "access: "))
            if wire.asks_reason and step.startswith("access: ") and " is open on request " in step:
                raise ReasonPromptError(step)
            if for_person and step != wire.step:
                show(f"stagedoor: {clean(wire.awaited)}: {step}\n")
            wire.step = step
            # A gateway that reports progress gets more time: adding a node takes minutes.
            answer_by = time.monotonic() + patience_s
            if not (for_person or os.isatty(2)) and time.monotonic() >= patient_until:
                show(f"stagedoor: {clean(wire.awaited)}: {step}\n")
    if not answer.opened:
        answer.reason = clean(read_reason(wire, answer) or answer.phrase, REASON_LIMIT)
    return answer


def read_reason(wire: TcpWire, answer: HttpAnswer) -> str:
    """Return the first line of a refusal in plain text; empty if none arrives in time."""
    if not answer.fields.get("content-type", "").lower().startswith("text/plain"):
        return ""
    wanted = BODY_LIMIT if answer.length is None else min(answer.length, BODY_LIMIT)
    body = b""
    try:
        for data in receive(wire, wanted, time.monotonic() + BODY_TIMEOUT_S):
            body += data
    except (OSError, TunnelError):
        pass  # use what was received
    return next((line for line in body.decode("utf-8", "replace").splitlines() if line.strip()), "")
