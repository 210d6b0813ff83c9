"""The log: structlog to stderr, as JSON lines or for the console."""

import json
import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from stagedoor.session.line import LogLine
from stagedoor.settings.settings import LogSettings

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}


def configure(settings: LogSettings) -> None:
    """Set the log's format and level for this process. May be called again."""
    terminal = sys.stderr.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not terminal)
    last: Any = (
        structlog.processors.JSONRenderer(_to_json)
        if as_json
        # Named, since the default is another one where the library rich happens to be installed.
        else structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback
        )
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_timestamp,
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryHandler()], level=max(level, logging.WARNING), force=True)


def make_line_writer() -> Callable[[LogLine], None]:
    """Return a function that writes a session's canonical line, for any thread. Call `configure` first.

    A denied login is a warning, any other line is information. The line goes directly to structlog's last
    processor: each login pays for it, and a bound logger costs twice as much.
    """
    log = structlog.get_logger().bind()
    render = structlog.get_config()["processors"][-1]
    stderr = _Stderr()

    def write_line(line: LogLine) -> None:
        level = "warning" if line.get("outcome") == "denied" else "info"
        if not log.is_enabled_for(_LEVELS[level]):
            return
        event: Any = {key: value for key, value in line.items() if value is not None}
        event["level"] = level
        stderr.msg(render(log, level, _add_timestamp(log, level, event)))

    return write_line


def _add_timestamp(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the time, as structlog's TimeStamper does at twice the cost."""
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    return event


def _to_json(event: Any, default: Callable[[Any], Any]) -> str:
    """Return `event` as JSON in ASCII, so that none of its characters can control a terminal."""
    with suppress(UnicodeEncodeError):  # a lone surrogate
        text = msgspec.json.encode(event, enc_hook=default)
        if text.isascii():
            return text.decode("ascii")
    return json.dumps(event, default=default, separators=(",", ":"))


class _Stderr:
    """A logger that writes each line with one system call and never fails.

    A full disk or a closed pipe loses a line of the log, but must not end a session. The audit is kept
    elsewhere.
    """

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        # Python's own buffer would try a failed write again at the exit, and turn the exit code into 120.
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), message.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = error = critical = exception = log = fatal = msg


class _LibraryHandler(logging.Handler):
    """Forwards to the same log what asyncio and the libraries log with `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record` to structlog's log."""
        with suppress(Exception):  # a broken message of a library is no reason to fail
            structlog.get_logger().log(
                record.levelno, record.getMessage(), part=record.name, exc_info=record.exc_info
            )
