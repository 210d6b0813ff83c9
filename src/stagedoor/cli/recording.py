"""`stagedoor recording`: list, play and export recordings of terminals."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from stagedoor.admin import recordings
from stagedoor.admin.recordings import Recorded
from stagedoor.admin.service import AdminService, open_service
from stagedoor.cli import show
from stagedoor.cli.complete import recording_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.client.attach.locale_name import find_locale, is_utf8
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import DAY_S, size
from stagedoor.recording.playback import pace_events
from stagedoor.wire.oneline import replace_unprintable
from stagedoor.wire.terminal import output_parser as drawing
from stagedoor.wire.terminal.asciicast import (
    AsciicastError,
    AsciicastHeader,
    AsciicastReader,
    encode_event,
    encode_header,
)
from stagedoor.wire.terminal.modes import Modes

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
    epilog=show.examples(
        "stagedoor recording list",
        "stagedoor recording list --user alice",
        "stagedoor recording list --json | jq -r '.[].id'",
    ),
)
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the recordings, oldest first. A login has one for each terminal in it."""
    with open_service(installation.settings, create=False) as service:
        entries = recordings.list_recordings(service, identity=user)
    keep_days = installation.settings.recording.keep_days
    if json_:
        return show.as_json([_document(entry, keep_days) for entry in entries])
    duty = "stagedoor grant add everybody '*' --allow record --without enter"
    none = show.no("recordings", user, f"to have terminals recorded: {duty}")
    return show.table([_row(entry, keep_days) for entry in entries], none)


def _kept_until(entry: Recorded, keep_days: float | None) -> float | None:
    """Return when a recording may be removed, in seconds since the epoch.

    None stands for a recording that is kept for ever, or is still being written.
    """
    is_open = entry.session is not None and entry.session.end is None
    return None if keep_days is None or is_open else entry.file.changed_at + keep_days * DAY_S


def _row(entry: Recorded, keep_days: float | None) -> dict[str, str]:
    session = entry.session
    return {
        "id": entry.file.id,
        "user": session.identity if session else "-",
        "target": session.target if session else "-",
        "from": session.source if session else "-",
        "opened": show.local(session.opened_at if session else None),
        "last written": show.local(entry.file.changed_at),
        "kept until": show.local(_kept_until(entry, keep_days)),
        "size": size(entry.file.size),
        "encrypted": "yes" if entry.sealed else "no",
        "end": "-" if session is None else session.end or "open",
    }


def _document(entry: Recorded, keep_days: float | None) -> dict[str, object]:
    session = entry.session
    return {
        "id": entry.file.id,
        "session": entry.file.session,
        "channel": entry.file.number,
        "user": session.identity if session else None,
        "target": session.target if session else None,
        "source": session.source if session else None,
        "opened_at": show.iso(session.opened_at if session else None),
        "closed_at": show.iso(session.closed_at if session else None),
        "end": session.end if session else None,
        "written_at": show.iso(entry.file.changed_at),
        "kept_until": show.iso(_kept_until(entry, keep_days)),
        "size": entry.file.size,
        "encrypted": entry.sealed,
        "file": str(entry.file.path),
    }


@recording.command(
    epilog=show.examples(
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
    help="How many times faster.",
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

    Space pauses, and q or Ctrl-C ends. If stdout is no terminal, everything is written at once. Only known
    drawing sequences are played; titles, the clipboard, printing, mouse modes and queries are left out.
    """
    with open_service(installation.settings, create=False) as service:
        entry = recordings.find_recording(service, recording_id)
        _note_viewed(service, entry)
        changed = _warn_if_changed(service, entry)
    reader = recordings.open_recording(entry, identities)
    _about(reader.header)
    with _damage(entry):
        if sys.stdout.isatty():
            _play(reader, speed, idle_limit_s)
        else:
            for _, text in pace_events(reader.events()):
                click.echo(text, nl=False)
    _about_end(reader)
    if changed:
        raise StagedoorError(f"the recording {entry.file.id} was changed after it was made")


@recording.command(
    epilog=show.examples(
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
    """Write the recording ID as asciicast v2, for any player."""
    with open_service(installation.settings, create=False) as service:
        entry = recordings.find_recording(service, recording_id)
        _note_viewed(service, entry)
        changed = _warn_if_changed(service, entry)
    reader = recordings.open_recording(entry, identities)
    with _target(output) as file, _damage(entry):
        file.write(encode_header(reader.header))
        for event in reader.events():
            file.write(encode_event(event))
        file.flush()
    _about_end(reader)
    if changed:
        raise StagedoorError(f"the recording {entry.file.id} was changed after it was made")


def _note_viewed(service: AdminService, entry: Recorded) -> None:
    session = entry.session
    recordings.audit_view(
        service, entry.file.session, session.target if session else None, entry.file.path.name
    )


def _warn_if_changed(service: AdminService, entry: Recorded) -> bool:
    changed = recordings.was_changed(service, entry)
    if changed:
        show.note(f"Attention: {entry.file.id} is not what the audit says that was recorded.")
    return bool(changed)


@contextmanager
def _damage(entry: Recorded) -> Iterator[None]:
    try:
        yield
    except AsciicastError as error:
        raise StagedoorError(f"the recording {entry.file.id} is damaged: {error}") from None


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        fd = os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise StagedoorError(f"cannot write {output}: {error.strerror}") from None
    with os.fdopen(fd, "wb") as file:
        yield file


def _about(header: AsciicastHeader) -> None:
    parts = [
        show.local(header.timestamp),
        replace_unprintable(header.title or ""),
        replace_unprintable(header.command or ""),
    ]
    show.note("  ".join(part for part in parts if part))
    if sys.stdout.isatty():
        here = os.get_terminal_size(sys.stdout.fileno())
        if here.columns < header.width or here.lines < header.height:
            show.note(f"It was made in {header.width}x{header.height}; your terminal is smaller.")


def _about_end(reader: AsciicastReader) -> None:
    if reader.cut_off:
        show.note("Its last line was cut off, as when the gateway is killed.")


def _play(reader: AsciicastReader, speed: float, idle_limit_s: float | None) -> None:
    """Play a recording in this terminal, with keys to pause and end it."""
    modes = Modes()
    pieces = pace_events(
        reader.events(), speed=speed, idle_limit_s=idle_limit_s, utf8=is_utf8(find_locale())
    )
    with _keys() as keys:
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
def _keys() -> Iterator[_Keys]:
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
