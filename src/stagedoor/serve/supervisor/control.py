"""The messages between the supervisor and a worker: JSON lines over the worker's stdin and stdout.

When its stdin ends, the supervisor has ended, and the worker drains on its own.

A supervisor starts workers of the program on the disk, which may have been replaced meanwhile. So a worker
refuses to start if its `VERSION` is not that of its supervisor.
"""

from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from typing import Literal

import msgspec
import structlog

from stagedoor.model.metric import Series

VERSION = 1
"""The version of these messages. Raise it with each change that the other side would misunderstand."""


class StartMessage(msgspec.Struct, frozen=True, tag="begin"):
    """The first message to a worker: the checked settings, and the sockets that it inherits.

    `sockets` pairs a listener's kind with a file descriptor. `own_ports` are the ports of all listeners
    of this gateway, in whichever process.
    """

    settings: str
    settings_name: str
    instance: str
    sockets: tuple[tuple[Literal["tunnel", "tunnel-tls", "ssh", "web", "web-tls"], int], ...]
    own_ports: tuple[int, ...] = ()
    version: int = VERSION


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """A request to stop accepting. Sessions left after `timeout_s` are closed; None waits for all.

    With `keeps_connections`, SSH clients may still use their connections, and open channels on them.
    """

    timeout_s: float | None
    keeps_connections: bool = False


class Close(msgspec.Struct, frozen=True, tag="close"):
    """A request to close everything now and exit."""


class Up(msgspec.Struct, frozen=True, tag="up"):
    """A worker's message that it accepts connections."""


class DrainReport(msgspec.Struct, frozen=True, tag="left"):
    """A draining worker's message with the number of sessions left. It no longer accepts connections."""

    sessions: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A message from a worker that cannot start, with the reason in one line."""

    message: str


class Sign(msgspec.Struct, frozen=True, tag="sign"):
    """A worker's request for a certificate for a sign-in's key (`admin.certificates.user_signer`)."""

    id: int
    user: str
    sign_in: int
    public_key: str
    ends_at: float


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """The answer to the worker's request `id`.

    If no certificate was signed, it is None, and `message` is for the developer. `retry_after_s` is set
    if there were too many requests, and `no_grant` if the developer may enter no app.
    """

    id: int
    certificate: str | None
    message: str = ""
    retry_after_s: int | None = None
    no_grant: bool = False


class MetricsMessage(msgspec.Struct, frozen=True, tag="measured"):
    """A worker's counts since its last such message, and its gauges `now` (`serve.metrics`)."""

    added: tuple[tuple[Series, float], ...] = ()
    now: tuple[tuple[Series, float], ...] = ()


MAX_LINE_BYTES = 64 << 20
"""The longest line to a worker; the settings of 100,000 apps take some 8 MB of it."""

ToWorker = StartMessage | Drain | Close | Signed
FromWorker = Up | DrainReport | Failed | Sign | MetricsMessage

_encoder = msgspec.json.Encoder()
_to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def encode_line(message: ToWorker | FromWorker) -> bytes:
    """Encode a message as a line."""
    return _encoder.encode(message) + b"\n"


def read_to_worker(text: bytes) -> ToWorker:
    """Decode a line to a worker. Raises msgspec.DecodeError."""
    return _to_worker.decode(text)


def read_from_worker(text: bytes) -> FromWorker:
    """Decode a line from a worker. Raises msgspec.DecodeError."""
    return _from_worker.decode(text)


async def receive_from_worker(process: Process) -> AsyncGenerator[FromWorker, None]:
    """Yield the messages of a worker or controller until its stdout ends. Other lines are logged."""
    assert process.stdout is not None
    while True:
        try:
            text = await process.stdout.readline()
            if not text:
                return
            message = read_from_worker(text)
        except (ValueError, msgspec.DecodeError):
            # Other code has printed it. A line over asyncio's limit of 64 KiB raises ValueError.
            structlog.get_logger().error(
                "a process of the gateway printed a line that is not a message", pid=process.pid
            )
            continue
        yield message
