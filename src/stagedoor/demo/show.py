"""`stagedoor demo`: print what to try, then each login as it happens, until Ctrl-C."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import click

from stagedoor.admin.service import AdminService, open_service
from stagedoor.demo.gateway import StoppedError, run_demo
from stagedoor.demo.keys import CUT_KEY, UPGRADE_KEY, NetworkKey, UpgradeKey, read_keys
from stagedoor.demo.suggestions import list_suggestions
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import EndReason
from stagedoor.model.units import HOUR_S, MINUTE_S, format_size
from stagedoor.store.journal import JournalEntry, read_entries
from stagedoor.store.sessions import SessionRecord, list_sessions
from stagedoor.wire.oneline import to_one_line

POLL_S = 0.25
COMMAND_CHARS = 60
_CLEAR_BELOW = "\x1b[J"
_END = {
    EndReason.EVICTED: "closed by an administrator",
    EndReason.REVOKED: "closed: nothing lets them in any more",
    EndReason.EXPIRED: "closed: the grant expired",
    EndReason.DRAINED: "closed: the gateway stops",
}


@dataclass(frozen=True)
class StatusLine:
    """A line that stays on the screen. `good` is True for a login, False for a refusal, None for the rest."""

    text: str
    good: bool | None = None


def describe(event: Event) -> StatusLine | None:
    """Return the line for an audit event; None for events that the demo does not show."""
    who = f"{event.identity} → {event.target}"
    match event.kind:
        case EventKind.SESSION_OPENED:
            return StatusLine(f"{who}  open, from {event.source}", True)
        case EventKind.SESSION_RESUMED:
            away_s = float(event.fields.get("away_s") or 0)
            return StatusLine(
                f"{who}  back after {format_duration(away_s)}, from {event.source}", True
            )
        case EventKind.SESSION_CLOSED:
            lasted_s = float(event.fields.get("duration_s") or 0)
            sent, received = (int(event.fields.get(name) or 0) for name in ("sent", "received"))
            end = EndReason(event.reason) if event.reason else EndReason.CLOSED
            return StatusLine(
                f"{who}  {_END.get(end, end.value.replace('_', ' '))} after {format_duration(lasted_s)}, "
                f"{format_size(sent)} up, {format_size(received)} down"
            )
        case EventKind.SESSION_DENIED:
            name = event.identity or event.source
            who = f"{name} → {event.target}" if event.target else f"{name}"
            if (count := event.fields.get("count")) is not None:
                why = (event.reason or "").replace("_", " ")
                return StatusLine(f"{who}  refused {count} times more: {why}", False)
            return StatusLine(f"{who}  refused: {event.fields.get('message')}", False)
        case EventKind.RUN_STARTED:
            command = to_one_line(str(event.fields.get("what")), COMMAND_CHARS)
            return StatusLine(f"{who}  run {event.fields.get('run')} started: {command}", True)
        case EventKind.RUN_ENDED:
            state = (event.reason or "").replace("_", " ")
            code = event.fields.get("code")
            lasted_s = float(event.fields.get("duration_s") or 0)
            run = event.fields.get("run")
            return StatusLine(
                f"{who}  run {run} {state} with {code} after {format_duration(lasted_s)}"
            )
        case _:
            return None


def render_sessions(records: Sequence[SessionRecord], now: float, rows: int) -> list[str]:
    """Return the open sessions, one a line, in at most `rows` lines. `now` is seconds since the epoch."""
    if not records:
        return ["no open sessions"]
    lines = [
        f"{record.identity} in {record.target}  {format_duration(now - record.opened_at)}  "
        f"{format_size(record.sent)} up, {format_size(record.received)} down"
        for record in records
    ]
    if len(lines) > rows:
        left_out = len(lines) - rows + 1
        lines = [*lines[: rows - 1], f"and {left_out} more"]
    return lines


def format_duration(seconds: float) -> str:
    """Return a short text for a duration: `0.4 s`, `12 s`, `3 min`, `2 h 5 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = int(seconds // MINUTE_S)
    if seconds < HOUR_S:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


async def show(more: bool = False, sso: bool = False) -> None:
    """Run the demo until a signal, or until its output is closed.

    With `more`, print all commands to try; with `sso`, run an identity provider too. Raises StagedoorError if
    the demo cannot start.
    """
    with suppress(StoppedError, _UnreadError):
        async with run_demo(sso=sso, cuts=True) as (demo, supervisor):
            assert demo.network is not None, "it was asked for"
            news: list[StatusLine] = []

            def report(line: str) -> None:
                news.append(StatusLine(line))

            upgrade = UpgradeKey(demo.settings.data_dir, demo.settings_file, report).upgrade
            actions = {CUT_KEY: NetworkKey(demo.network, report).cut, UPGRADE_KEY: upgrade}
            with read_keys(actions) as reads_keys:
                _print(await asyncio.to_thread(list_suggestions, demo, more, reads_keys=reads_keys))
                ended = asyncio.create_task(supervisor.wait())
                with open_service(demo.settings) as service:
                    await _watch(service, ended, news)
                await ended
    with suppress(_UnreadError):
        _print("Stopped; nothing is left behind.\n")


class _UnreadError(Exception):
    """The standard output is closed: the reader of the pipe or the terminal has ended (EPIPE, EIO)."""


def _print(text: str) -> None:
    """Write `text` to the standard output. Raises _UnreadError."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except OSError:
        # Otherwise Python would flush again at its end, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _UnreadError from None


async def _watch(service: AdminService, ended: asyncio.Task[None], news: list[StatusLine]) -> None:
    """Print events and news until the gateway has ended. A terminal also shows the open sessions below."""
    after = 0
    screen = _Screen()
    over = False
    while not over:
        await asyncio.wait((ended,), timeout=POLL_S)
        # Read once more after the end, to show the sessions that ended with the gateway. The read is never
        # cancelled, since its thread would continue in a folder that is being removed.
        over = ended.done()
        try:
            entries, records = await asyncio.to_thread(_read, service, after)
        except StagedoorError as error:
            print(f"stagedoor: {error}", file=sys.stderr)
            return
        if entries:
            after = entries[-1].seq
        lines = [*news, *(line for entry in entries if (line := describe(entry.event)))]
        news.clear()
        screen.draw(lines, None if over else records)


def _read(service: AdminService, after: int) -> tuple[list[JournalEntry], list[SessionRecord]]:
    sessions = list_sessions(service.database, limit=200)
    return read_entries(service.database, after=after), sessions[::-1]


class _Screen:
    """The output: lines that stay, and on a terminal a few lines below them that are redrawn."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._below: list[str] = []

    def draw(self, lines: list[StatusLine], records: list[SessionRecord] | None) -> None:
        """Print `lines`. On a terminal, redraw the open sessions below them; None removes these."""
        below: list[str] = []
        if self._terminal and records is not None:
            size = shutil.get_terminal_size()
            below = [
                click.style(f"  {line}"[: size.columns - 1], dim=True)
                for line in render_sessions(records, time.time(), max(1, size.lines // 3))
            ]
        if not lines and below == self._below:
            return
        text = ""
        if self._below:
            # Move up to the first of the redrawn lines, and clear from there (ECMA-48: CUU, ED).
            up = len(self._below) - 1
            text += "\r" + (f"\x1b[{up}A" if up else "") + _CLEAR_BELOW
        text += "".join(f"{mark_time(line)}\n" for line in lines)
        self._below = below
        _print(text + "\n".join(below))


def mark_time(line: StatusLine) -> str:
    """Return a line with the present time and a mark in front."""
    mark = {True: click.style("+", fg="green"), False: click.style("!", fg="red"), None: "-"}
    return f"{time.strftime('%H:%M:%S')} {mark[line.good]} {line.text}"
