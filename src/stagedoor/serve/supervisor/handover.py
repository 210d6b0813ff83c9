"""The messages between a supervisor and its successor: JSON lines over a pair of sockets.

    old → new   HandoverOffer     the sockets, the streams of older ones, and which program hands them over
    new → old   Hello             which program takes over
    new → old   Progress          for the administrator who waits
    new → old   SuccessorReady | Refusal   its workers accept, or why they do not
    old → new   Transfer          from now on the new one is the gateway
    old → new   OldSessions, OldMetrics   while sessions of older workers last
    new → old   GatewayStop       the gateway stops, with its older workers

At the next hand-over this stream is passed on to the next supervisor, so each older one speaks to the newest.
The end of the stream means that the gateway has ended or that the old one has no sessions left. Each side
names its version of this protocol, and refuses one that it does not understand.
"""

import asyncio
from contextlib import suppress
from typing import Self

import msgspec
import structlog

from stagedoor.net.listen import Socket
from stagedoor.serve.supervisor.control import MetricsMessage

VARIABLE = "STAGEDOOR_HANDOVER"
"""The environment variable with the number of the new program's socket."""
VERSION = 2
UNDERSTOOD = frozenset({2})
LINE_BYTES = 1 << 20
"""The longest line: the offer of a thousand sockets has 80 kB."""


class HandoverOffer(msgspec.Struct, frozen=True, tag="offer"):
    """The first line. `sockets` are a kind, an address in the settings, a slot and descriptors.

    `schema` is the version of the store's tables that the old program knows (`store.schema`). `older` are the
    descriptors of the streams to older supervisors, each with their process id and version of the protocol.
    """

    version: int
    program: str
    pid: int
    schema: int
    sockets: tuple[tuple[str, str, int, tuple[int, ...]], ...]
    older: tuple[tuple[int, int, int], ...] = ()


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first answer, with the process id of the new supervisor and its program's version.

    It is sent again once that is the gateway, and after each reload; `settings` is then the digest of the
    text of the settings in force.
    """

    version: int
    program: str
    pid: int
    settings: str = ""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A step that the new program begins. `text` completes "it is …"."""

    text: str


class SuccessorReady(msgspec.Struct, frozen=True, tag="ready"):
    """The news that the new workers accept. `settings` is the digest of the text of their settings."""

    settings: str


class Refusal(msgspec.Struct, frozen=True, tag="refused"):
    """The reason why the new program does not take over, in one line."""

    reason: str


class Transfer(msgspec.Struct, frozen=True, tag="transfer"):
    """The hand-over. The old supervisor has stopped everything but its workers' sessions.

    `older` has, for each stream of the offer, the number of sessions, and bytes that were read too early.
    """

    older: tuple[tuple[int, bytes], ...] = ()


class OldSessions(msgspec.Struct, frozen=True, tag="left"):
    """The number of sessions in older workers."""

    sessions: int


class OldMetrics(msgspec.Struct, frozen=True, tag="measured"):
    """The metrics that an older worker has measured; None once it has ended."""

    worker: str
    measured: MetricsMessage | None


class GatewayStop(msgspec.Struct, frozen=True, tag="stop"):
    """A request to drain. The second one closes everything at once."""


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
    """One end of the stream between two supervisors. It belongs to one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: Socket, unread: bytes = b"") -> Self:
        """Return the channel over a connected socket, which it owns from now on.

        `unread` is what was already read from it.
        """
        reader = asyncio.StreamReader(LINE_BYTES)
        reader.feed_data(unread)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_unix_connection(
            lambda: asyncio.StreamReaderProtocol(reader), sock=sock
        )
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    @property
    def is_ended(self) -> bool:
        """Return whether the other supervisor has ended and everything that it sent was received."""
        return self._reader.at_eof()

    @property
    def is_closed(self) -> bool:
        """Return whether this process has closed the stream."""
        return self._writer.is_closing()

    def send(self, message: Message) -> None:
        """Send a message. It is lost if the other supervisor has ended."""
        if not self.is_closed:
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

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return int(self._writer.get_extra_info("socket").fileno())

    async def pass_on(self) -> bytes:
        """Close this process's copy of the socket, and return the bytes that were read but not yet received.

        The stream continues in the process that inherited the socket. `receive` returns None from now on.
        """
        self._reader.feed_eof()
        unread = await self._reader.read()  # does not wait, so nothing is read meanwhile
        self._writer.close()
        return unread

    def end(self) -> None:
        """Send nothing more. The other supervisor can still send."""
        if not self.is_closed and self._writer.can_write_eof():
            self._writer.write_eof()

    async def close_stream(self) -> None:
        """Close the stream, and wait until it is closed."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
