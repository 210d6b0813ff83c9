"""`stagedoor demo`: print what to try, then each login as it happens, until Ctrl-C."""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import click

from stagedoor.admin.service import AdminService, open_service
from stagedoor.client import sshconfig
from stagedoor.demo.clients import APPS, NC, find, make_tunnel_command
from stagedoor.demo.gateway import PORT, DemoGateway, StoppedError, find_command, run_demo
from stagedoor.demo.keys import (
    CUT_KEY,
    CUT_S,
    UPGRADE_KEY,
    NetworkKey,
    UpgradeKey,
    read_keys,
)
from stagedoor.model.errors import StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.session import End
from stagedoor.model.units import HOUR_S, MINUTE_S, format_size
from stagedoor.store.journal import JournalEntry, read_entries
from stagedoor.store.sessions import SessionRecord, list_sessions
from stagedoor.wire.oneline import to_one_line

_END = {
    End.EVICTED: "closed by an administrator",
    End.REVOKED: "closed: nothing lets them in any more",
    End.EXPIRED: "closed: the grant expired",
    End.DRAINED: "closed: the gateway stops",
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
            end = End(event.reason) if event.reason else End.CLOSED
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


POLL_S = 0.25
COMMAND_CHARS = 60
_CLEAR_BELOW = "\x1b[J"


async def show(more: bool = False, sso: bool = False) -> None:
    """Run the demo until a signal, or until its output is closed.

    With `more`, print all commands to try; with `sso`, run an identity provider too. Raises StagedoorError if
    the demo cannot start.
    """
    with suppress(StoppedError, _UnreadError):
        async with run_demo(sso=sso, cuts=True) as (demo, supervisor):
            assert demo.network is not None, "it was asked for"
            news: list[StatusLine] = []
            keys = (
                NetworkKey(demo.network, lambda line: news.append(StatusLine(line))),
                UpgradeKey(
                    demo.settings.data_dir,
                    demo.settings_file,
                    lambda line: news.append(StatusLine(line)),
                ),
            )

            def handle(typed: str) -> None:
                for key in keys:
                    key.handle(typed)

            with read_keys(handle) as reads_keys:
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


def list_suggestions(demo: DemoGateway, more: bool, *, reads_keys: bool = False) -> str:
    """Return the text with the commands to try, each a line to copy: two of them, or all with `more`."""
    config = shlex.quote(str(demo.configs.through))
    moved = f" (another program has port {PORT})" if demo.moved else ""
    lines = [
        "",
        f"{mark_bold('Stagedoor')} is open at {mark_bold(demo.gateway)}{moved}, with the apps "
        f"{' and '.join(APPS)}. In another terminal, try:",
        "",
        f"  ssh -F {config} app01.ssh",
        "",
        "or in a browser, by a link that works once, within 10 minutes (later: name "
        f"{demo.login.user}, password {demo.login.password}, at {demo.web}):",
        "",
        f"  {demo.make_web_link()}",
        "",
        *(_sign_in(demo) if demo.sso else ()),
        *(
            _more(demo, config)
            if more
            else ["Other clients and the jump host: start it with --more.", ""]
        ),
        *(
            [
                f"Press {mark_bold(CUT_KEY)} here to cut the network for {CUT_S:.0f} s, or "
                f"{mark_bold(UPGRADE_KEY)} to upgrade the gateway: ssh goes on.",
                "",
            ]
            if reads_keys
            else ()
        ),
        "Each login is shown below. Ctrl-C ends the demo, and all that was started in its shells.",
        "",
        "",
    ]
    return "\n".join(lines)


def _more(demo: DemoGateway, config: str) -> list[str]:
    """Return the lines with the other commands; `config` is the file for ssh, quoted."""
    jump = shlex.quote(str(demo.configs.jump))
    program = find("nc")
    if program is not None:
        note = f"nc asks for the password, which is {mark_bold(demo.login.password)}"
        command = NC.through(demo.login).command
    else:
        # Any common client would do, but perhaps none is installed.
        script = demo.folder / "tun.py"
        text = subprocess.run(
            [*find_command(), "tunnel", "--print-script"], stdout=subprocess.PIPE, check=True
        )
        script.write_bytes(text.stdout)
        note = "tun.py is our client in one file, which runs where Stagedoor is not installed"
        command = make_tunnel_command(replace(demo.login, tunnel=("python3", str(script))))
    proxy = shlex.quote(f"ProxyCommand={command}")
    attach = [*find_command(), "attach", "--url", demo.web, "--user", demo.login.user]
    attach += ["--token-file", str(demo.login.token_file), "app01"]
    return [
        "or copy a file, or use a program that is not ours:",
        "",
        f"  scp -F {config} /etc/hostname app02.ssh:/tmp/stagedoor-demo.txt",
        f"  ssh -F {config} -o ProxyUseFdpass=no -o {proxy} app01.ssh",
        "",
        f"({note}), or without another program, over the gateway's own SSH "
        f"({sshconfig.JUMP_HOST} in the file):",
        "",
        f"  ssh -F {jump} app01.ssh",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST}",
        "",
        "or the browser's terminal in this one, which stays when you leave it by Enter ~ .:",
        "",
        f"  {shlex.join(attach)}",
        "",
        "or a task that goes on when its terminal is closed, and what became of it:",
        "",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST} \"run --detach app01 -- 'sleep 5; env | grep APP'\"",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST} run list",
        "",
        *([] if demo.sso else _sign_in(demo)),
    ]


def _sign_in(demo: DemoGateway) -> list[str]:
    """Return the lines with the commands for a sign-in by the browser."""
    login = shlex.join([*find_command(), "login", demo.web])
    logout = shlex.join([*find_command(), "logout", "--forget", demo.web])
    by = (
        "at the demo's identity provider, under any name and with any password"
        if demo.sso
        else f"with the name and password above ({demo.login.user})"
    )
    return [
        f"or sign in once in the browser {by}, and then ssh alone; the last line takes it back:",
        "",
        f"  {login}",
        "  ssh app01.ssh",
        f"  {logout}",
        "",
        *(_ask_access(demo) if demo.sso else ()),
    ]


def _ask_access(demo: DemoGateway) -> list[str]:
    """Return the lines about the app that is open on request."""
    return [
        f"That name may ask for {APPS[1]}. While ssh waits, {demo.login.user} (by that link) approves it "
        f"at {demo.web}/requests:",
        "",
        f"  ssh {APPS[1]}.ssh",
        "",
    ]


async def _watch(service: AdminService, ended: asyncio.Task[None], news: list[StatusLine]) -> None:
    """Print events and news until the gateway has ended. A terminal also shows the open sessions below."""
    after = 0
    screen = _Screen()
    over = False
    while not over:
        await asyncio.wait((ended,), timeout=POLL_S)
        # Read once more after the end, to show the sessions that ended with the gateway. The read is never
        # cancelled, since its thread would go on in a folder that is being removed.
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
        if over:
            screen.end(lines)
        else:
            screen.draw(lines, records, time.time())


def _read(service: AdminService, after: int) -> tuple[list[JournalEntry], list[SessionRecord]]:
    return read_entries(service.database, after=after), list_sessions(service.database, limit=200)


class _Screen:
    """The output: lines that stay, and on a terminal a few lines below them that are redrawn."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._below: list[str] = []

    def draw(self, lines: list[StatusLine], records: list[SessionRecord], now: float) -> None:
        """Print `lines`, and redraw the open sessions below them on a terminal."""
        below: list[str] = []
        if self._terminal:
            size = shutil.get_terminal_size()
            below = [
                click.style(f"  {line}"[: size.columns - 1], dim=True)
                for line in render_sessions(records, now, max(1, size.lines // 3))
            ]
        if lines or below != self._below:
            self._write(lines, below)

    def end(self, lines: list[StatusLine]) -> None:
        """Print the last lines, and remove the lines below them."""
        self._write(lines, [])

    def _write(self, lines: list[StatusLine], below: list[str]) -> None:
        text = ""
        if self._below:
            # Move up to the first of the redrawn lines, and clear from there (ECMA-48: CUU, ED).
            up = len(self._below) - 1
            text += "\r" + (f"\x1b[{up}A" if up else "") + _CLEAR_BELOW
        for line in lines:
            text += f"{mark_time(line)}\n"
        self._below = below
        text += "\n".join(below)
        if text:
            _print(text)


def mark_time(line: StatusLine) -> str:
    """Return a line with the present time and a mark in front."""
    mark = {True: click.style("+", fg="green"), False: click.style("!", fg="red"), None: "-"}
    return f"{time.strftime('%H:%M:%S')} {mark[line.good]} {line.text}"


def mark_bold(text: str) -> str:
    """Return `text` in bold type if the standard output is a terminal."""
    return click.style(text, bold=True) if sys.stdout.isatty() else text
