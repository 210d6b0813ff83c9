"""`stagedoor recording`: list, play and export recordings of terminals.

A recording has all that a program sent to a terminal, hostile sequences too. Only what draws is played
(`wire.terminal.output_parser`), as for a person who watches while it happens.
"""

import hashlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from stagedoor.admin.recordings import open_recording
from stagedoor.cli import show
from stagedoor.cli.administration import open_administration, print_list
from stagedoor.cli.complete import recording_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.client.attach.locale_name import find_locale, is_utf8
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import MIB, format_size
from stagedoor.wire.api.reports import RecordingEntry, RecordingState
from stagedoor.wire.oneline import replace_unprintable
from stagedoor.wire.terminal import output_parser as drawing
from stagedoor.wire.terminal.asciicast import (
    AsciicastError,
    AsciicastEvent,
    AsciicastHeader,
    AsciicastReader,
    Code,
    encode_event,
    encode_header,
)
from stagedoor.wire.terminal.modes import Modes
from stagedoor.wire.terminal.output_parser import OutputParser

_IDENTITY = click.option(
    "--identity",
    "-i",
    "identities",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with a recipient's private key, for encrypted recordings. May be given more than once.",
)
_QUIT = (b"q", b"\x03", b"\x04")


@click.group()
def recording() -> None:
    """List, play and export recordings of terminals."""


@recording.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor recording list",
        "stagedoor recording list --user alice",
        "stagedoor recording list --json | jq -r '.[].id'",
    ),
)
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@show.json_option
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the recordings, oldest first. Each terminal of a login has its own."""
    duty = "stagedoor grant add everybody '*' --allow record --without enter"
    none = show.explain_empty("recordings", user, f"to have terminals recorded: {duty}")
    print_list(installation, "recordings.list", _row, none, {"user": user}, as_json=json_)


def _row(entry: RecordingEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "user": entry.user,
        "target": entry.target,
        "from": entry.source,
        "opened": show.format_local(entry.opened_at),
        "last written": show.format_local(entry.written_at),
        "kept until": show.format_local(entry.kept_until),
        "size": format_size(entry.size),
        "encrypted": entry.encrypted,
        "end": entry.end or (None if entry.user is None else "open"),
    }


@recording.command(
    epilog=show.make_epilog(
        "stagedoor recording play 0199f2c81a7",
        "stagedoor recording play 0199f2c81a7 --speed 4 --idle-limit 2",
        "stagedoor recording play 0199f2c81a7 --identity auditor.key",
    )
)
@click.argument("recording_id", metavar="ID", shell_complete=recording_ids)
@click.option(
    "--speed",
    type=click.FloatRange(min=0.01, max=1000),
    default=1.0,
    show_default=True,
    help="How many times faster to play.",
)
@click.option(
    "--idle-limit",
    "idle_limit_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Cut pauses longer than this.",
)
@_IDENTITY
@click.pass_obj
def play(
    installation: Installation,
    recording_id: str,
    speed: float,
    idle_limit_s: float | None,
    identities: tuple[Path, ...],
) -> None:
    """Play the recording ID at its original pace.

    The beginning of the ID is enough.

    Space pauses, and q or Ctrl-C ends. If stdout is not a terminal, everything is written at once. Only known
    drawing sequences are played; titles, the clipboard, printing, mouse modes and queries are left out.
    """
    with _open(installation, recording_id, identities) as reader:
        _print_header(reader.header)
        if sys.stdout.isatty():
            _play(reader, speed, idle_limit_s)
        else:
            for _, text in pace_events(reader.read_events()):
                click.echo(text, nl=False)


@recording.command(
    epilog=show.make_epilog(
        "stagedoor recording export 0199f2c81a7 > login.cast",
        "stagedoor recording export 0199f2c81a7 -o login.cast && asciinema play login.cast",
    )
)
@click.argument("recording_id", metavar="ID", shell_complete=recording_ids)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this new file (mode 0600) instead of stdout.",
)
@_IDENTITY
@click.pass_obj
def export(
    installation: Installation,
    recording_id: str,
    output: Path | None,
    identities: tuple[Path, ...],
) -> None:
    """Export the recording ID as asciicast v2, for any player."""
    with _open(installation, recording_id, identities) as reader, _open_output(output) as file:
        file.write(encode_header(reader.header))
        for event in reader.read_events():
            file.write(encode_event(event))
        file.flush()


@contextmanager
def _open(
    installation: Installation, recording_id: str, identities: tuple[Path, ...]
) -> Iterator[AsciicastReader]:
    """Open a recording, and compare it with the audit. Raises StagedoorError if it is damaged or changed."""
    with open_administration(installation) as admin:
        entry: RecordingState = admin.call("recordings.get", {"id": recording_id})
        file = admin.open_file("recordings.file", {"id": entry.id})
    with file:
        digest = hashlib.sha256()
        for piece in iter(partial(file.read, MIB), b""):
            digest.update(piece)
        is_changed = entry.sha256 not in (None, digest.hexdigest())
        if is_changed:
            show.note(f"Attention: {entry.id} differs from what the audit says was recorded.")
        file.seek(0)
        reader = open_recording(file, entry.id, identities, is_encrypted=entry.encrypted)
        try:
            yield reader
        except AsciicastError as error:
            raise StagedoorError(f"the recording {entry.id} is damaged: {error}") from None
        if reader.cut_off:
            show.note("Its last line is cut off, as happens if the gateway is killed.")
    if is_changed:
        raise StagedoorError(f"the recording {entry.id} was changed after the gateway wrote it")


@contextmanager
def _open_output(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        fd = os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise StagedoorError(f"cannot write {output}: {error.strerror}") from None
    with os.fdopen(fd, "wb") as file:
        yield file


def _print_header(header: AsciicastHeader) -> None:
    parts = [
        show.format_local(header.timestamp),
        replace_unprintable(header.title or ""),
        replace_unprintable(header.command or ""),
    ]
    show.note("  ".join(part for part in parts if part))
    if sys.stdout.isatty():
        here = os.get_terminal_size(sys.stdout.fileno())
        if here.columns < header.width or here.lines < header.height:
            show.note(f"It was made at {header.width}x{header.height}; your terminal is smaller.")


def _play(reader: AsciicastReader, speed: float, idle_limit_s: float | None) -> None:
    """Play a recording in this terminal, with keys to pause and end it."""
    modes = Modes()
    pieces = pace_events(
        reader.read_events(), speed=speed, idle_limit_s=idle_limit_s, utf8=is_utf8(find_locale())
    )
    with _open_keyboard() as keys:
        try:
            for wait_s, text in pieces:
                if not keys.wait(wait_s):
                    break
                modes.feed(text.encode())
                sys.stdout.write(text)
                sys.stdout.flush()
        finally:
            undone = drawing.UNDO + modes.undo() + b"\x1b[m\r\n"
            sys.stdout.write(undone.decode())
            sys.stdout.flush()


class _Keys:
    """The viewer's keys; `fd` is None if there is no keyboard."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def wait(self, wait_s: float) -> bool:
        """Wait `wait_s` seconds, and longer while the viewer pauses. Return False once the viewer quits."""
        paused = False
        while paused or wait_s > 0:
            began = time.monotonic()
            key = self._key(None if paused else wait_s)
            if key in _QUIT:
                return False
            if not paused:
                wait_s -= time.monotonic() - began
            if key == b" ":
                paused = not paused
        return True

    def _key(self, timeout_s: float | None) -> bytes:
        fds = [] if self._fd is None else [self._fd]
        ready, _, _ = select.select(fds, [], [], timeout_s)
        if not ready or self._fd is None:
            return b""
        key = os.read(self._fd, 1)
        if not key:
            self._fd = None  # the keyboard is gone
        return key


@contextmanager
def _open_keyboard() -> Iterator[_Keys]:
    """Yield the keyboard, without echo.

    Answers of the terminal to the recording are discarded, or the shell would take them for typed input.
    """
    if not sys.stdin.isatty():
        yield _Keys(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    attributes = termios.tcgetattr(fd)
    attributes[3] &= ~termios.ISIG
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    try:
        yield _Keys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)


def pace_events(
    events: Iterable[AsciicastEvent],
    *,
    speed: float = 1.0,
    idle_limit_s: float | None = None,
    utf8: bool = True,
) -> Iterator[tuple[float, str]]:
    """Yield what to show, each with the seconds to wait before it.

    `speed` 2 is twice as fast; a pause longer than `idle_limit_s` (by the recording's clock) is
    cut to that. Events that show nothing only pass time. `utf8` says whether the terminal takes it.
    """
    drawing = OutputParser(utf8=utf8)
    before = 0.0
    wait_s = 0.0
    for event in events:
        pause_s = max(0.0, event.at - before)
        before = max(before, event.at)
        if idle_limit_s is not None:
            pause_s = min(pause_s, idle_limit_s)
        wait_s += pause_s / speed
        if event.code == Code.OUTPUT and (text := drawing.draw(event.data)):
            yield wait_s, text
            wait_s = 0.0
