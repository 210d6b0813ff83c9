"""The page for logins that name no app. It shows the apps that the user may enter, and never runs a shell."""

import asyncio
import json
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import asyncssh

from stagedoor.admin.requests.request_service import RequestService
from stagedoor.listeners.ssh.login import SshLogin
from stagedoor.listeners.ssh.request_command import HELP, RequestCommand
from stagedoor.listeners.ssh.runs import RunChannel
from stagedoor.model.denial import Denial
from stagedoor.model.target import SSH_PORT, Target
from stagedoor.session.runs import RunService
from stagedoor.signin.login.ssh_sign_ins import SshSignInService
from stagedoor.wire.rfc3339 import show_time

_REFUSED = 255
"""The exit status of a certificate's refusal, the same as ssh's own for errors."""
_UNKNOWN_COMMAND = 127
_NO_KEY = "you did not log in with the key of a sign-in"
_HELP = """\
This is a Stagedoor gateway: it leads to apps' shells and has none of its own.
  ssh {at} ls           the apps that you may enter
  ssh {at} ls --json    the same for scripts
  ssh {at} whoami       who you are, and how long your sign-in lasts
  ssh {at} cert         a certificate for the key of your sign-in, good for an hour
  ssh {at} logout       end your sign-in, and all that it opened
  ssh {at} run APP -- COMMAND   run a task in the app that outlives this connection
  ssh {at} run list     the tasks; also: run logs|wait|attach|cancel ID
"""
_MAX_COMMAND_CHARS = 8192
"""The longest command that is split into words: splitting blocks the event loop."""


@dataclass(frozen=True, slots=True)
class PageParts:
    """The services and settings that the pages of all logins of a listener share.

    Commands contain the first of `host_names`, the gateway's names, and `port`. If `port` is None, they
    contain the port to which the client has connected.
    """

    host_names: tuple[str, ...] = ()
    port: int | None = None
    sign_ins: SshSignInService | None = None
    requests: RequestService | None = None
    runs: RunService | None = None
    """None where no runs can be started."""


class AppPage:
    """The page of one login."""

    def __init__(self, login: SshLogin, parts: PageParts) -> None:
        self._login = login
        self._sign_ins = parts.sign_ins
        requests = parts.requests
        is_concerned = requests is not None and requests.offers.is_concerned(login.identity)
        self._requests = requests if is_concerned else None
        """None for a user who may neither ask nor decide; then the page does not mention requests."""
        self._runs = parts.runs
        here, listened = login.gateway_address
        self._host = parts.host_names[0] if parts.host_names else here
        self._port = parts.port or listened

    async def answer(
        self, command: str | None, show: Callable[[str], None] = lambda _: None
    ) -> tuple[str, str, int]:
        """Run `command`, or show the apps if it is None. Return stdout, stderr and the exit status.

        `show` shows a line on stderr while the command waits. Answers to scripts are never translated.
        """
        translate = self._login.translate
        out, err, status = await self._answer(command, lambda line: show(translate(line)))
        is_for_script = "--json" in (command or "").split()
        return out if is_for_script else translate(out), translate(err), status

    async def _answer(
        self, command: str | None, show: Callable[[str], None]
    ) -> tuple[str, str, int]:
        if self._login.force_command is not None:
            return "", "stagedoor: your certificate permits its own command only\n", _REFUSED
        # A reason is plain text, not shell syntax, so an apostrophe is an apostrophe.
        verb, *rest = (command or "")[:_MAX_COMMAND_CHARS].split() or [""]
        if verb == "request" and self._requests is not None:
            return await RequestCommand(self._login, self._requests, show).run(rest)
        words = _words(command or "")
        match words:
            case [] | ["ls"]:
                return await self._text(greeting=not words), "", 0
            case ["ls", "--json"] | ["--json", "ls"]:
                return await self._json(), "", 0
            case ["whoami"]:
                return self._whoami(), "", 0
            case ["cert"]:
                return await self._certificate()
            case ["logout"]:
                return await self._log_out()
            case ["help"] | ["--help"]:
                return self._help, "", 0
        name = "".join(c if " " <= c <= "~" else "?" for c in (command or "")[:60])
        error = f"stagedoor: the gateway runs no commands: '{name}'\n{self._help}"
        return "", error, _UNKNOWN_COMMAND

    def open_runs(
        self, command: str | None, chan: "asyncssh.SSHServerChannel[bytes]"
    ) -> RunChannel | None:
        """Return the handler of a command `run` in this channel, or None if `answer` answers the command."""
        runs = self._runs
        if runs is None or command is None or command.split(maxsplit=1)[:1] != ["run"]:
            return None
        if self._login.force_command is not None:
            return None
        return RunChannel(self._login, runs, chan)

    @property
    def _help(self) -> str:
        text = _HELP if self._requests is None else _HELP + HELP
        return text.format(at=self._at())

    def _whoami(self) -> str:
        identity, sign_ins = self._login.identity, self._sign_ins
        by = identity.credential_id or identity.method.value
        groups = sign_ins.list_groups(identity) if sign_ins else ()
        lines = [identity.name, f"groups: {' '.join(groups) or 'none'}", f"by: {by}"]
        ends_at = sign_ins.find_end(identity) if sign_ins else None
        if ends_at is not None:
            lines.append(f"until: {show_time(ends_at)} (ssh {self._at()} logout ends it)")
        elif (ends_at := identity.token_ends_at) is not None:
            soon = identity.find_token_warning(self._login.flow.now()) is not None
            fix = ", soon: make another on your account's page, or ask for one" if soon else ""
            lines.append(f"until: {show_time(ends_at)}, when the token ends{fix}")
        return "\n".join(lines) + "\n"

    async def _certificate(self) -> tuple[str, str, int]:
        """Return a certificate for the key that this connection has proved to have, and for no other."""
        key = self._login.public_key
        if self._sign_ins is None or key is None:
            return "", f"stagedoor: {_NO_KEY}\n", 1
        line = await self._sign_ins.issue_certificate(self._login.identity, key)
        if isinstance(line, Denial):
            return "", f"stagedoor: no certificate: {line.line}\n", 1
        return f"{line}\n", "", 0

    async def _log_out(self) -> tuple[str, str, int]:
        if self._sign_ins is None:
            return "", f"stagedoor: {_NO_KEY}\n", 1
        denial = await self._sign_ins.log_out(self._login.identity)
        if denial is not None:
            return "", f"stagedoor: not logged out: {denial.line}\n", 1
        return "Your sign-in has ended, and its sessions are being closed.\n", "", 0

    def make_jump_command(self, target: Target) -> str:
        """Return the command that enters `target`."""
        return f"ssh -J {self._at(':')} {target.host_name}"

    def _at(self, separator: str = "") -> str:
        """Return `dev@gw` with the port as ssh takes it: `-p 8023 dev@gw`, or `dev@gw:8023` after -J."""
        host = f"[{self._host}]" if separator and ":" in self._host else self._host
        name = f"{self._login.identity.name}@{host}"
        if self._port == SSH_PORT:
            return name
        return f"{name}{separator}{self._port}" if separator else f"-p {self._port} {name}"

    async def _text(self, *, greeting: bool) -> str:
        flow, name = self._login.flow, self._login.identity.name
        entries = await flow.observe_grants(self._login.identity)
        if not entries:
            return f"Hello {name}. There is no app that you may enter; ask an administrator for a grant.\n"
        rows = [
            (str(grant.target), state.value, self.make_jump_command(grant.target))
            for grant, state in entries
        ]
        widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
        notices = (flow.find_notice(grant.target) for grant, _ in entries)
        lines += [f"{notice}." for notice in notices if notice]
        if greeting:
            indented = (f"  {line}" for line in lines)
            lines = [f"Hello {name}. The apps that you may enter:", "", *indented]
            lines += ["", "A shell that does not run yet is started when you enter."]
        return "\n".join(lines) + "\n"

    async def _json(self) -> str:
        flow = self._login.flow
        apps: list[Mapping[str, str | float | None]] = [
            {
                "app": grant.target.app,
                "environment": grant.target.environment,
                "host": grant.target.host_name,
                "state": state.value,
                "expires_at": grant.expires_at,
                "notice": flow.find_notice(grant.target),
                "command": self.make_jump_command(grant.target),
            }
            for grant, state in await flow.observe_grants(self._login.identity)
        ]
        return json.dumps({"identity": self._login.identity.name, "apps": apps}) + "\n"


def _words(command: str) -> list[str]:
    """Split a command as a shell does. Return it as one word if its quoting is wrong."""
    if len(command) > _MAX_COMMAND_CHARS:
        return [command]
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


class PageSession(asyncssh.SSHServerSession[bytes]):
    """A session channel that the page answers (RFC 4254 §6). The gateway itself answers no other kind."""

    def __init__(self, page: AppPage, fault: Callable[[BaseException], None]) -> None:
        self._page = page
        self._fault = fault
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._runs: RunChannel | None = None

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        """Keep the channel."""
        self._chan = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        """Accept a terminal, in which nothing runs; ssh would complain about a refusal."""
        return True

    def shell_requested(self) -> bool:
        """Accept the request, which the page answers."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Accept the request. The page answers the command if it knows it."""
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Refuse all subsystems."""
        return False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass input on to a run. The page itself reads no input."""
        if self._runs is not None:
            self._runs.input.write(data)

    def eof_received(self) -> bool:
        """Keep the channel open for the answer."""
        if self._runs is not None:
            self._runs.input.finish()
        return True

    def pause_writing(self) -> None:
        """Hold a run's output back until the client has read some. The run's task continues meanwhile."""
        if self._runs is not None:
            self._runs.has_room.clear()

    def resume_writing(self) -> None:
        """Show output again."""
        if self._runs is not None:
            self._runs.has_room.set()

    def session_started(self) -> None:
        """Begin to answer."""
        assert self._chan is not None
        self._runs = self._page.open_runs(self._chan.get_command(), self._chan)
        self._task = asyncio.create_task(self._answer())

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering."""
        if self._runs is not None:
            self._runs.input.abandon()
        if self._task is not None:
            self._task.cancel()

    async def _answer(self) -> None:
        chan = self._chan
        assert chan is not None
        try:
            if self._runs is not None:
                out, err, status = "", "", await self._runs.serve(chan.get_command() or "")
            else:
                out, err, status = await self._page.answer(chan.get_command(), self._show)
        except Exception as error:  # no other code would report it, since nothing awaits this task
            self._fault(error)
            out, err, status = "", f"stagedoor: {Denial.of_fault().message}\n", 1
        with suppress(OSError):  # the client has closed the channel meanwhile
            if out:
                chan.write(self._encode(out))
            if err:
                chan.write_stderr(self._encode(err))
            chan.exit(status)

    def _show(self, line: str) -> None:
        assert self._chan is not None, "the page answers on an open channel"
        with suppress(OSError):
            self._chan.write_stderr(self._encode(f"{line}\n"))

    def _encode(self, text: str) -> bytes:
        assert self._chan is not None, "the page answers on an open channel"
        newline = b"\r\n" if self._chan.get_terminal_type() is not None else b"\n"
        return text.encode().replace(b"\n", newline)
