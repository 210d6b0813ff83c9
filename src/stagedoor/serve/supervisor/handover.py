"""The messages between a supervisor and its successor: JSON lines over a pair of sockets.

    old → new   HandoverOffer     the sockets, and which program hands them over
    new → old   Hello             which program takes over
    new → old   Progress          for the administrator who waits
    new → old   SuccessorReady | Refusal   its workers accept, or why they do not
    old → new   Transfer          from now on the new one is the gateway
    old → new   OldSessions, OldMetrics   while sessions of older workers last
    new → old   GatewayStop       the gateway stops, with its older workers

The end of the stream means that the other supervisor has ended, or that the old one has no sessions left.
Each side names the version of this protocol that it speaks, and refuses one that it does not understand.
"""

import asyncio
from contextlib import suppress
from typing import Self

import msgspec
import structlog

from stagedoor.net.pair import Socket
from stagedoor.serve.supervisor.control import MetricsMessage

VARIABLE = "STAGEDOOR_HANDOVER"
"""The environment variable that gives the new program the number of its socket."""
VERSION = 1
UNDERSTOOD = frozenset({1})
LINE_BYTES = 1 << 20
"""The longest line: the offer of a thousand sockets has 80 kB."""


class HandoverOffer(msgspec.Struct, frozen=True, tag="offer"):
    """The first line. `sockets` are a kind, an address in the settings, a slot and descriptors.

    `schema` is the version of the store's tables that the old program knows (`store.schema`).
    """

    version: int
    program: str
    pid: int
    schema: int
    sockets: tuple[tuple[str, str, int, tuple[int, ...]], ...]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first answer, with the process id of the new supervisor and its program's version."""

    version: int
    program: str
    pid: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A step that the new program begins: `text` completes "it is …"."""

    text: str


class SuccessorReady(msgspec.Struct, frozen=True, tag="ready"):
    """The news that the new workers accept. `settings` is the digest of the text of their settings."""

    settings: str


class Refusal(msgspec.Struct, frozen=True, tag="refused"):
    """The reason why the new program does not take over, in one line."""

    reason: str


class Transfer(msgspec.Struct, frozen=True, tag="transfer"):
    """The hand-over. The old supervisor has stopped everything but its workers' sessions."""


class OldSessions(msgspec.Struct, frozen=True, tag="left"):
    """The number of sessions in older workers."""

    sessions: int


class OldMetrics(msgspec.Struct, frozen=True, tag="measured"):
    """The metrics that an older worker measured; None once it has ended."""

    worker: str
    measured: MetricsMessage | None


class GatewayStop(msgspec.Struct, frozen=True, tag="stop"):
    """A request to drain. The second one closes everything at once.

    `failed`: the gateway does not stop by a signal, but because the one after it has died.
    """

    failed: bool = False


Message = (
    HandoverOffer
    | Hello
    | Progress
    | SuccessorReady
    | Refusal
    | Transfer
    | OldSessions
    | OldMetrics
    | GatewayStop
)
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


class HandoverChannel:
    """One end of the stream between two supervisors. Belongs to one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: Socket) -> Self:
        """Return the channel over a connected socket, which belongs to it from now on."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=LINE_BYTES))

    @property
    def is_ended(self) -> bool:
        """Return whether the other supervisor has ended, and everything that it sent was received."""
        return self._reader.at_eof()

    def send(self, message: Message) -> None:
        """Send a message. It is lost if the other supervisor has ended."""
        if not self._writer.is_closing():
            self._writer.write(_encoder.encode(message) + b"\n")

    async def receive(self) -> Message | None:
        """Return the next message, or None if the other supervisor has ended.

        A message that this version does not know is logged and skipped.
        """
        while True:
            try:
                text = await self._reader.readline()
            except (OSError, ValueError):  # reset; or longer than LINE_BYTES
                return None
            if not text.endswith(b"\n"):
                return None
            try:
                return _decoder.decode(text)
            except msgspec.DecodeError as error:
                structlog.get_logger().warning("unknown message of a hand-over", reason=str(error))

    def end(self) -> None:
        """Send nothing more. The other supervisor can still send."""
        if not self._writer.is_closing() and self._writer.can_write_eof():
            self._writer.write_eof()

    async def close_stream(self) -> None:
        """Close the stream, and wait until it is closed."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
