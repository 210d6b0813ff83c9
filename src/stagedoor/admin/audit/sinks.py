"""The places where the audit goes as well: each takes chained lines, in order, at least once."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from stagedoor.audit.chain import Line
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Kind
from stagedoor.model.secure_url import shown_url
from stagedoor.net.syslog import SyslogConnection, syslog_context
from stagedoor.settings.audit import Sink
from stagedoor.settings.careful import read_secret
from stagedoor.wire import syslog

REQUEST_BYTES = 1024 * 1024
"""Most in one request, unless one line alone is longer."""
POST_LIMIT_S = 30.0
"""For one request, until its answer is there."""

_BEGINS = b'{"seq": '
_TAIL_BYTES = 16 * 1024 * 1024
_WARNINGS = frozenset({Kind.SESSION_DENIED, Kind.RECORDING_FAILED})


class LineSink(Protocol):
    """For one thread."""

    rewind_s: float
    """What was sent in so many seconds before a failure may be lost, and is sent again."""

    def resume(self, stored: int | None) -> int:
        """After which `seq` it goes on; `stored` is what was kept of it. Raises StagedoorError."""
        ...

    def send(self, lines: Sequence[Line]) -> None:
        """Returns once they are there. Raises StagedoorError with one line; they may be there then."""
        ...

    def check(self) -> None:
        """Raises StagedoorError where what was sent before may be lost. While there is nothing to send."""
        ...

    def probe(self, newest: Line) -> None:
        """Try it by a line that was sent already, or without one. Raises StagedoorError."""
        ...

    def close(self) -> None: ...


def open_sink(sink: Sink) -> LineSink:
    """Raises StagedoorError where a file that the settings name cannot be used."""
    if sink.scheme == "file":
        return FileSink(sink.path)
    if sink.scheme in ("https", "http"):
        return HttpsSink(sink)
    return SyslogSink(sink)


class SyslogSink:
    """A line is one message; what is a refusal or a failure is a warning.

    Syslog acknowledges nothing, and what a server's kernel has taken the server may never read. So a
    connection that ends costs half a minute's lines once more.
    """

    rewind_s = 30.0

    def __init__(self, sink: Sink) -> None:
        context = None
        if sink.scheme == "syslog+tls":
            context = syslog_context(sink.ca_file, sink.certificate_file, sink.key_file)
        self._host = platform.node()
        self._connection = SyslogConnection(*sink.server, context)

    def resume(self, stored: int | None) -> int:
        return stored or 0

    def send(self, lines: Sequence[Line]) -> None:
        self._connection.send(b"".join(map(self._frame, lines)))

    def check(self) -> None:
        self._connection.check()

    def probe(self, newest: Line) -> None:
        self.send([newest])

    def close(self) -> None:
        self._connection.close()

    def _frame(self, line: Line) -> bytes:
        return syslog.frame(
            line.text,
            severity=syslog.WARNING if line.event.kind in _WARNINGS else syslog.INFORMATIONAL,
            at=line.event.at,
            host=self._host,
            message_id=line.event.kind.value,
        )


class HttpsSink:
    """POST of lines, each with its newline. What was answered was taken."""

    rewind_s = 0.0

    def __init__(self, sink: Sink) -> None:
        # Only here: a gateway without such a sink does not load the library in the supervisor.
        from stagedoor.net.https import load_trust

        self._url = sink.url
        self._token_file = sink.token_file
        self._trust = load_trust(sink.ca_file, "audit.sinks.ca_file")

    def resume(self, stored: int | None) -> int:
        return stored or 0

    def send(self, lines: Sequence[Line]) -> None:
        headers = [("Content-Type", "application/x-ndjson")]
        if self._token_file is not None:
            # Read each time, so that a token may be renewed.
            token = read_secret(self._token_file, "audit.sinks.token_file", "the token")
            if not (token.isascii() and token.isprintable()):
                raise StagedoorError(f"audit.sinks.token_file: {self._token_file} holds no token")
            headers.append(("Authorization", f"Bearer {token}"))
        for body in bodies(lines):
            self._post(headers, body)

    def _post(self, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Raises StagedoorError unless the server answers that it has taken it (2xx)."""
        from stagedoor.net.https import NoAnswerError, post

        try:
            status = post(self._trust, self._url, headers, body, POST_LIMIT_S)
        except NoAnswerError as error:
            raise StagedoorError(f"{shown_url(self._url)}: {error}") from None
        if not 200 <= status < 300:
            raise StagedoorError(f"{shown_url(self._url)}: it answered {status}")

    def check(self) -> None:
        """Nothing was sent that was not answered."""

    def probe(self, newest: Line) -> None:
        self.send([newest])

    def close(self) -> None:
        """Each request has closed its connection."""


def bodies(lines: Sequence[Line]) -> Iterator[bytes]:
    """The lines in requests of at most `REQUEST_BYTES`, if no line alone is longer."""
    body = bytearray()
    for line in lines:
        text = line.text.encode() + b"\n"
        if body and len(body) + len(text) > REQUEST_BYTES:
            yield bytes(body)
            body.clear()
        body += text
    if body:
        yield bytes(body)


class FileSink:
    """Appends to a file, which may be renamed at any time: then another is made. Mode 0600.

    A line that was cut by a crash or a full disk is taken back, so the file has whole lines only.
    """

    rewind_s = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def resume(self, stored: int | None) -> int:
        """After the last line of the file, which knows best; an empty one goes on where the last ended."""
        self._open()
        try:
            size = os.fstat(self._fd).st_size
            start = max(0, size - _TAIL_BYTES)
            tail = os.pread(self._fd, size - start, start)
            seq, whole = last_seq_of(tail)
            os.ftruncate(self._fd, start + whole)
        except OSError as error:
            raise self._fault(error) from None
        except ValueError:
            raise StagedoorError(
                f"{self._path} holds something else than the audit; name another file"
            ) from None
        return (stored or 0) if seq is None else seq

    def send(self, lines: Sequence[Line]) -> None:
        data = "".join(f"{line.text}\n" for line in lines).encode()
        try:
            if self._fd < 0 or self._was_renamed():
                self.close()
                self._open()
            size = os.fstat(self._fd).st_size
            try:
                _write_all(self._fd, data)
                os.fsync(self._fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise
        except OSError as error:
            raise self._fault(error) from None

    def check(self) -> None:
        """What was sent is on the disk."""

    def probe(self, newest: Line) -> None:
        """That it can be written, without doing so: the gateway may be at it. None is made, since it would
        belong to the process that tries."""
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            if not os.access(self._path.parent, os.W_OK):
                raise StagedoorError(f"{self._path} cannot be made: no access") from None
        except OSError as error:
            raise self._fault(error) from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StagedoorError(f"{self._path} is written by another gateway") from None
        except OSError as error:
            raise self._fault(error) from None

    def _was_renamed(self) -> bool:
        ours = os.fstat(self._fd)
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def _fault(self, error: OSError) -> StagedoorError:
        return StagedoorError(f"{self._path} cannot be written: {error.strerror or error}")


def last_seq_of(tail: bytes) -> tuple[int | None, int]:
    """The number of the last whole line at the end of a file, None for an empty one; and how many bytes are
    whole lines. Raises ValueError unless it is a line of the chain, and what follows the beginning of one."""
    whole = tail.rfind(b"\n") + 1
    cut = tail[whole:].rstrip(b"\0")  # a power cut may leave blocks that were never written
    if not cut.startswith(_BEGINS) and not _BEGINS.startswith(cut):
        raise ValueError("no beginning of a line")
    if whole == 0:
        return None, 0
    try:
        seq = json.loads(tail[:whole].splitlines()[-1])["seq"]
    except (ValueError, TypeError, KeyError):
        seq = None
    if type(seq) is not int or seq <= 0:
        raise ValueError("no line of the chain")
    return seq, whole


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
