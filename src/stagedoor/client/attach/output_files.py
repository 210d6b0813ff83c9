"""The files that `stagedoor attach` writes: a log of the connection, and a recording of the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Literal

from stagedoor.client.attach.secret_prompt import AttachError
from stagedoor.wire.terminal.asciicast import (
    AsciicastEvent,
    AsciicastHeader,
    Code,
    Text,
    encode_event,
    encode_header,
)
from stagedoor.wire.terminal.frames import Size


def open_log(file: Path | None) -> Callable[[str], None]:
    """Return a function that appends lines to `file`, or does nothing if it is None. Raises AttachError."""
    if file is None:
        return lambda _: None
    stream = _open_file(file, "ab")

    def log(line: str) -> None:
        with suppress(OSError):  # a full disk must not end the terminal
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n".encode())

    return log


def open_recording(file: Path | None, size: Size) -> Callable[[bytes], None] | None:
    """Return a function that records output to `file` as an asciicast, or None if `file` is None.

    Both this and the returned function raise AttachError.
    """
    if file is None:
        return None
    stream = _open_file(file, "wb")
    text, began = Text(), time.monotonic()

    def write(line: bytes) -> None:
        try:
            stream.write(line)
        except OSError as error:
            raise AttachError(f"{file} cannot be written: {error.strerror}") from None

    def record(data: bytes) -> None:
        shown = text.feed(data)
        if shown:
            write(encode_event(AsciicastEvent(time.monotonic() - began, Code.OUTPUT, shown)))

    write(encode_header(AsciicastHeader(size.columns, size.rows, int(time.time()))))
    return record


def _open_file(file: Path, mode: Literal["ab", "wb"]) -> FileIO:
    """Open `file`, created with mode 0600 if it is missing: terminal output may be secret."""
    try:
        file.touch(mode=0o600)
        return file.open(mode, buffering=0)
    except OSError as error:
        raise AttachError(f"{file} cannot be written: {error.strerror}") from None
