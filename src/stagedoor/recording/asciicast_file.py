"""The file of one recording: asciicast, sealed where recordings are encrypted, with its size and digest."""

import hashlib
from contextlib import suppress
from typing import Protocol

from stagedoor.recording.folder import RecordingFile, RecordingFolder
from stagedoor.wire.terminal.asciicast import (
    AsciicastEvent,
    AsciicastHeader,
    Code,
    Text,
    encode_event,
    encode_header,
)


class Seal(Protocol):
    """Encryption of pieces, each separately, so that a power cut damages the last one at most.

    `suffix` ends the names of sealed recordings.
    """

    suffix: str

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` encrypted, as a piece that can be decrypted alone."""
        ...


class AsciicastFile:
    """The file of a recording. Only one thread may use it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._writer: RecordingFile | None = None
        self._seal: Seal | None = None
        self._sha256 = hashlib.sha256()
        self._texts = {Code.OUTPUT: Text(), Code.INPUT: Text()}
        self.size = 0
        self.has_header = False

    @property
    def is_created(self) -> bool:
        """Return whether `create` has made the file."""
        return self._writer is not None

    def create(self, store: RecordingFolder, seal: Seal | None, header: AsciicastHeader) -> None:
        """Make the file, and write its header. Raises OSError."""
        self._writer = store.create(self._name)
        self._seal = seal
        self._append(encode_header(header))
        self.has_header = True

    def append(self, events: list[tuple[float, Code, bytes]], *, last: bool) -> None:
        """Write events (seconds since the beginning, code, data) as one piece. Raises OSError.

        A character that is incomplete at the end of `events` is written with the next ones, or as U+FFFD if
        these are the `last`.
        """
        lines = bytearray()
        at = 0.0
        for at, code, data in events:
            decoder = self._texts.get(code)
            text = data.decode() if decoder is None else decoder.feed(data)
            if text:
                lines += encode_event(AsciicastEvent(at, code, text))
        for code, decoder in self._texts.items():
            if last and (text := decoder.end()):
                lines += encode_event(AsciicastEvent(at, code, text))
        if lines:
            self._append(bytes(lines))

    def _append(self, plain: bytes) -> None:
        assert self._writer is not None, "a recording is written after it was created"
        piece = self._seal.seal(plain) if self._seal else plain
        self._writer.append(piece)
        self.size += len(piece)
        self._sha256.update(piece)

    def finish(self) -> str:
        """Close the file. Return the SHA-256 of its content, as hexadecimal digits."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        return self._sha256.hexdigest()
