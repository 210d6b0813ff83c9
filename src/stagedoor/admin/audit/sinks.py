"""The audit's sinks: syslog, HTTPS and files. Each gets the chained lines in order, at least once."""

import fcntl
import json
import os
import platform
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from stagedoor.audit.chain import Line
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import EventKind
from stagedoor.net.syslog import SyslogConnection, make_syslog_context
from stagedoor.settings.audit import SinkSettings
from stagedoor.settings.safe_files import read_secret
from stagedoor.wire.rfc3339 import show_milliseconds

REQUEST_BYTES = 1024 * 1024
"""The longest body of a request, unless a single line is longer."""
POST_LIMIT_S = 30.0
"""The time limit for a request and its answer."""

_BEGINS = b'{"seq": '
_TAIL_BYTES = 16 * 1024 * 1024
_WARNINGS = frozenset({EventKind.SESSION_DENIED, EventKind.RECORDING_FAILED})


class LineSink(ABC):
    """A sink for the audit's lines. For one thread."""

    rewind_s = 0.0
    """Lines that were sent within this time before a failure may be lost, and are sent again."""
    confirmed = 0
    """The number of the last line that has arrived, although `send` failed later; 0 if that is unknown."""

    def resume(self, stored: int | None, last: int) -> int:
        """Return the number (`seq`) after which to continue. Raises StagedoorError.

        `stored` is the one in the store, if any, and `last` is that of the newest event.
        """
        return stored or 0

    @abstractmethod
    def send(self, lines: Sequence[Line]) -> None:
        """Send lines, and return once they have arrived.

        Raises StagedoorError with a message of one line; the lines may have arrived even then.
        """

    def check(self) -> None:
        """Raise StagedoorError if sent lines may be lost. It is called while there is nothing to send."""
        return

    def probe(self, newest: Line) -> None:
        """Test the sink with a line that was sent already, or without a line. Raises StagedoorError."""
        self.send([newest])

    def close_output(self) -> None:
        """Close the sink's connection or file, if it keeps one open."""
        return


def open_sink(sink: SinkSettings) -> LineSink:
    """Open a sink. Raises StagedoorError if a file that the settings name cannot be used."""
    if sink.scheme == "file":
        return FileSink(sink.path)
    if sink.scheme in ("https", "http"):
        return HttpsSink(sink)
    return SyslogSink(sink)


class SyslogSink(LineSink):
    """A sink that sends each line as one syslog message; refusals and failures are warnings.

    Syslog acknowledges nothing, and a server may never read what its kernel has received. So after a
    connection ends, the lines of the last half minute are sent again.
    """

    rewind_s = 30.0

    def __init__(self, sink: SinkSettings) -> None:
        context = None
        if sink.scheme == "syslog+tls":
            context = make_syslog_context(sink.ca_file, sink.certificate_file, sink.key_file)
        self._host = platform.node()
        self._connection = SyslogConnection(*sink.server, context)

    def send(self, lines: Sequence[Line]) -> None:
        """Send each line as a message. Raises StagedoorError."""
        self._connection.send(b"".join(map(self._message, lines)))

    def check(self) -> None:
        """Raise StagedoorError if the server has closed the connection."""
        self._connection.check()

    def close_output(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _message(self, line: Line) -> bytes:
        return format_message(
            line.text,
            severity=WARNING if line.event.kind in _WARNINGS else INFORMATIONAL,
            at=line.event.at,
            host=self._host,
            message_id=line.event.kind.value,
        )


class HttpsSink(LineSink):
    """A sink that POSTs lines, each with its newline. An answer with a status of 2xx confirms them."""

    def __init__(self, sink: SinkSettings) -> None:
        # Imported here, so that the supervisor does not load the library without such a sink.
        from stagedoor.net.https import load_trust

        self._url = sink.url
        self._token_file = sink.token_file
        self._trust = load_trust(sink.ca_file, "audit.sinks.ca_file")

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines in requests of at most `REQUEST_BYTES`. Raises StagedoorError."""
        from stagedoor.net.https import post

        headers = [("Content-Type", "application/x-ndjson")]
        if self._token_file is not None:
            # Read each time, so that a token may be renewed.
            token = read_secret(self._token_file, "audit.sinks.token_file", "the token")
            if not (token.isascii() and token.isprintable()):
                raise StagedoorError(f"audit.sinks.token_file: {self._token_file} holds no token")
            headers.append(("Authorization", f"Bearer {token}"))
        for body in split_into_bodies(lines):
            post(self._trust, self._url, headers, body, POST_LIMIT_S)


def split_into_bodies(lines: Sequence[Line]) -> Iterator[bytes]:
    """Yield the lines in bodies of at most `REQUEST_BYTES`; a longer line has a body of its own."""
    body = bytearray()
    for line in lines:
        text = line.text.encode() + b"\n"
        if body and len(body) + len(text) > REQUEST_BYTES:
            yield bytes(body)
            body.clear()
        body += text
    if body:
        yield bytes(body)


class FileSink(LineSink):
    """A sink that appends to a file with mode 0600. If the file is renamed, a new one is created.

    A line that was cut off by a crash or a full disk is removed, so the file has whole lines only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def resume(self, stored: int | None, last: int) -> int:
        """Return the number of the file's last line, or the stored number if the file is empty."""
        self._open()
        try:
            size = os.fstat(self._fd).st_size
            start = max(0, size - _TAIL_BYTES)
            tail = os.pread(self._fd, size - start, start)
            seq, whole = read_last_seq(tail)
            os.ftruncate(self._fd, start + whole)
        except OSError as error:
            raise self._error(error) from None
        except ValueError:
            raise StagedoorError(
                f"{self._path} holds something else than the audit; name another file"
            ) from None
        return (stored or 0) if seq is None else seq

    def send(self, lines: Sequence[Line]) -> None:
        """Append lines and sync the file. Raises StagedoorError."""
        data = "".join(f"{line.text}\n" for line in lines).encode()
        try:
            if self._fd < 0 or self._was_renamed():
                self.close_output()
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
            raise self._error(error) from None

    def probe(self, newest: Line) -> None:
        """Check that the file can be written. Raises StagedoorError.

        It writes nothing, because the gateway may have the file open, and creates no file, because the file
        would belong to the account that tests.
        """
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError:
            if not os.access(self._path.parent, os.W_OK):
                raise StagedoorError(f"{self._path} cannot be made: no access") from None
        except OSError as error:
            raise self._error(error) from None

    def close_output(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.close_output()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close_output()
            raise StagedoorError(f"{self._path} is written by another gateway") from None
        except OSError as error:
            raise self._error(error) from None

    def _was_renamed(self) -> bool:
        own = os.fstat(self._fd)
        try:
            current = self._path.lstat()
        except FileNotFoundError:
            return True
        return (own.st_dev, own.st_ino) != (current.st_dev, current.st_ino)

    def _error(self, error: OSError) -> StagedoorError:
        return StagedoorError(f"{self._path} cannot be written: {error.strerror or error}")


def read_last_seq(tail: bytes) -> tuple[int | None, int]:
    """Return the number of the last whole line of a file, and the length of its whole lines in bytes.

    `tail` is the end of the file. The number is None if there is no whole line. Raises ValueError unless that
    line is one of the chain, followed by nothing or by the beginning of another.
    """
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


AUTHPRIV = 10
"""The facility (RFC 5424 §6.2.1, table 1) to which sshd(8) logs logins; not every account can read it."""

WARNING, INFORMATIONAL = 4, 6
"""Severities (RFC 5424 §6.2.1, table 2)."""

_NOT_PRINTED = re.compile(r"[^!-~]", re.ASCII)


def format_message(text: str, *, severity: int, at: float, host: str, message_id: str) -> bytes:
    """Return one message with its length. `text` is ASCII; `at` is seconds since the epoch.

    In `host` (at most 255 characters) and `message_id` (32), characters that RFC 5424 §6 does not allow
    become `_`.
    """
    priority = AUTHPRIV * 8 + severity
    head = f"<{priority}>1 {show_milliseconds(at)} {_word(host, 255)} stagedoor - {_word(message_id, 32)} - "
    message = (head + text).encode()
    return b"%d %s" % (len(message), message)


def _word(text: str, limit: int) -> str:
    return _NOT_PRINTED.sub("_", text)[:limit] or "-"
