"""`stagedoor demo`: print what to try, then each login as it happens, until Ctrl-C."""

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import click

from stagedoor.admin.service import AdminService, open_service
from stagedoor.admin.sessions import list_sessions
from stagedoor.client import sshconfig
from stagedoor.demo import live
from stagedoor.demo.client_files import APPS
from stagedoor.demo.clients import NC, find, ours
from stagedoor.demo.stage import PORT, Stage, StoppedError, staged, stagedoor_command
from stagedoor.model.errors import StagedoorError
from stagedoor.store.journal import Entry, read_entries
from stagedoor.store.sessions import SessionRecord

POLL_S = 0.25
_CLEAR_BELOW = "\x1b[J"


async def show(more: bool = False, sso: bool = False) -> None:
    """Run until a signal ends it, or nobody reads what it prints. `more`: print all that there is to try;
    `sso`: with an identity provider.

    Raises StagedoorError when it cannot start.
    """
    with suppress(StoppedError, _UnreadError):
        async with staged("error", sso=sso) as (stage, supervisor):
            _print(await asyncio.to_thread(what_to_try, stage, more))
            ended = asyncio.create_task(supervisor.wait())
            with open_service(stage.settings) as service:
                await _watch(service, ended)
            await ended
    with suppress(_UnreadError):
        _print("Stopped; nothing is left behind.\n")


class _UnreadError(Exception):
    """What stdout led to is gone: a pipe's reader, or the terminal (EPIPE, EIO)."""


def _print(text: str) -> None:
    """Raises _UnreadError."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except OSError:
        # Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _UnreadError from None


def what_to_try(stage: Stage, more: bool) -> str:
    """The commands to print, each one line to copy: two of them, or with `more` all."""
    config = shlex.quote(str(stage.configs.through))
    moved = f" (another program has port {PORT})" if stage.moved else ""
    lines = [
        "",
        f"{bold('Stagedoor')} is open at {bold(stage.gateway)}{moved}, with the apps "
        f"{' and '.join(APPS)}. In another terminal, try:",
        "",
        f"  ssh -F {config} app01.ssh",
        "",
        "or in a browser, by a link that works once, within 10 minutes (later: name "
        f"{stage.login.user}, password {stage.login.password}, at {stage.web}):",
        "",
        f"  {stage.web_link()}",
        "",
        *(_sign_in(stage) if stage.sso else ()),
        *(
            _more(stage, config)
            if more
            else ["Other clients and the jump host: start it with --more.", ""]
        ),
        "Each login is shown below. Ctrl-C ends the demo, and all that was started in its shells.",
        "",
        "",
    ]
    return "\n".join(lines)


def _more(stage: Stage, config: str) -> list[str]:
    """The other commands; `config` is the file for ssh, quoted."""
    jump = shlex.quote(str(stage.configs.jump))
    program = find("nc")
    if program is not None:
        note = f"nc asks for the password, which is {bold(stage.login.password)}"
        command = NC.through(stage.login).command
    else:
        # Any stock client would do, but none is sure to be here.
        script = stage.folder / "tun.py"
        text = subprocess.run(
            [*stagedoor_command(), "tunnel", "--print-script"], stdout=subprocess.PIPE, check=True
        )
        script.write_bytes(text.stdout)
        note = "tun.py is our client in one file, which runs where Stagedoor is not installed"
        command = ours(replace(stage.login, tunnel=("python3", str(script))))
    proxy = shlex.quote(f"ProxyCommand={command}")
    attach = [*stagedoor_command(), "attach", "--url", stage.web, "--user", stage.login.user]
    attach += ["--token-file", str(stage.login.token_file), "app01"]
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
        *([] if stage.sso else _sign_in(stage)),
    ]


def _sign_in(stage: Stage) -> list[str]:
    """The commands for a sign-in by the browser."""
    login = shlex.join([*stagedoor_command(), "login", stage.web])
    logout = shlex.join([*stagedoor_command(), "logout", "--forget", stage.web])
    by = (
        "at the demo's identity provider, as anybody and with any password"
        if stage.sso
        else f"with the name and password above ({stage.login.user})"
    )
    return [
        f"or sign in once in the browser {by}, and then ssh alone; the last line takes it back:",
        "",
        f"  {login}",
        "  ssh app01.ssh",
        f"  {logout}",
        "",
    ]


async def _watch(service: AdminService, ended: asyncio.Task[None]) -> None:
    """Print what happens as it does; on a terminal, those who are inside stay below it."""
    after = 0
    screen = _Screen()
    over = False
    while not over:
        await asyncio.wait((ended,), timeout=POLL_S)
        # Once more after the end: what ended with the gateway is told as well. Never cancelled, for
        # the thread would go on in a folder that is being removed.
        over = ended.done()
        try:
            entries, records = await asyncio.to_thread(_look, service, after)
        except StagedoorError as error:
            print(f"stagedoor: {error}", file=sys.stderr)
            return
        if entries:
            after = entries[-1].seq
        told = [line for entry in entries if (line := live.news(entry.event))]
        if over:
            screen.end(told)
        else:
            screen.draw(told, records, time.time())


def _look(service: AdminService, after: int) -> tuple[list[Entry], list[SessionRecord]]:
    return read_entries(service.database, after=after), list_sessions(service, limit=200)


class _Screen:
    """Lines that stay, and on a terminal a few below them that are redrawn."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._below: list[str] = []

    def draw(self, told: list[live.StatusLine], records: list[SessionRecord], now: float) -> None:
        below: list[str] = []
        if self._terminal:
            size = shutil.get_terminal_size()
            below = [
                click.style(f"  {line}"[: size.columns - 1], dim=True)
                for line in live.inside(records, now, max(1, size.lines // 3))
            ]
        if told or below != self._below:
            self._write(told, below)

    def end(self, told: list[live.StatusLine]) -> None:
        """Nothing is drawn any more."""
        self._write(told, [])

    def _write(self, told: list[live.StatusLine], below: list[str]) -> None:
        text = ""
        if self._below:
            # Up to the first of the lines that were drawn last (ECMA-48: CPL, ED).
            up = len(self._below) - 1
            text += "\r" + (f"\x1b[{up}A" if up else "") + _CLEAR_BELOW
        for line in told:
            text += f"{told_now(line)}\n"
        self._below = below
        text += "\n".join(below)
        if text:
            _print(text)


def told_now(news: live.StatusLine) -> str:
    """A line that says what has just happened."""
    mark = {True: click.style("+", fg="green"), False: click.style("!", fg="red"), None: "-"}
    return f"{time.strftime('%H:%M:%S')} {mark[news.good]} {news.text}"


def bold(text: str) -> str:
    return click.style(text, bold=True) if sys.stdout.isatty() else text
