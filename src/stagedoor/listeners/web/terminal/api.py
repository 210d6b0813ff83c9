"""The API to list, search, end and share the named terminals of an app's shell.

To list and end terminals, a short command of the holder runs in the shell, in an audited session of the user.
It does not start a shell.
"""

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import asyncssh
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import make_web_login_origin
from stagedoor.listeners.web.post import Answer, Fields, PostRoutes
from stagedoor.listeners.web.shell_access import ShellAccess, make_no_holder_denial
from stagedoor.listeners.web.terminal.fields import (
    check_terminal_name,
    describe_share,
    list_at_terminal,
    read_target,
)
from stagedoor.listeners.web.terminal.guests import MAX_SECRET_CHARS
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.shell import ShellState
from stagedoor.model.source import Source
from stagedoor.model.units import MINUTE_S
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.session.flow import Flow
from stagedoor.upstream.command import CommandResult, run_command
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS, explain_hang_up
from stagedoor.upstream.login import ShellLoginError
from stagedoor.upstream.session import SessionEndedError, open_shell_session
from stagedoor.wire.oneline import to_one_line

_NOT_RUNNING = (ShellState.ABSENT, ShellState.STARTING, ShellState.FAILED)
"""The states in which the shell is not asked for its terminals, since that would start it or fail."""

_MAX_HISTORY = 8 * 1024 * 1024
"""The most bytes of tmux's history. Its 10,000 lines with colours rarely take a tenth of that."""
COMMAND_S = 20.0
"""The time limit of one command, seconds. Ending a terminal that ignores the hangup takes less."""
MAX_ANSWER = 64 * 1024
_Act = Callable[[Grant, str, Fields, Source], Awaitable[Answer]]
"""Acts on a terminal, by the user's grant and the terminal's name."""


class Terminals:
    """The routes of terminals. Belongs to one event loop."""

    def __init__(self, posts: PostRoutes, access: ShellAccess) -> None:
        self._access = access
        self._flow = access.flow
        self._presence = access.presence
        self._share_s = posts.guard.settings.share_s
        self.api: list[BaseRoute] = [
            posts.make_route("/api/terminals", self._list_terminals),
            self._make_route(posts, "/api/terminals/end", self._end_terminal),
            self._make_route(posts, "/api/terminals/history", self._read_history),
            posts.make_route("/api/attached", self._list_attached),
            self._make_route(posts, "/api/share", self._share_terminal),
            posts.make_route("/api/shares", self._list_shares),
            posts.make_route("/api/share/end", self._end_share),
        ]
        """Routes for programs and the pages' scripts."""

    def _make_route(self, posts: PostRoutes, path: str, act: _Act) -> Route:
        """Return a route for `act` on the terminal that the request names."""

        async def answer(identity: Identity, body: Fields, source: Source) -> Answer:
            grant = await find_grant(self._flow, identity, body, source)
            if isinstance(grant, Denial):
                return grant
            name = check_terminal_name(str(body.get("terminal", "")))
            return name if isinstance(name, Denial) else await act(grant, name, body, source)

        return posts.make_route(path, answer)

    async def _list_terminals(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Return the terminals of the shell, if it runs, and the sessions at them.

        If the app requires a fresh proof of presence and there is none, the answer does not reveal whether
        the shell runs.
        """
        granted = await find_grant(self._flow, identity, body, source)
        if isinstance(granted, Denial):
            return granted
        grant = await self._flow.check_step_up(identity, granted)
        if isinstance(grant, Denial):
            return self._flow.record_denial(
                grant, make_web_login_origin(source), identity, granted.target
            )
        state = await self._flow.observe(grant.target)
        terminals: list[list[str]] = []
        if state not in _NOT_RUNNING:
            listed = await run_remote(self._access, source, grant, ["list"])
            if isinstance(listed, Denial):
                return listed
            terminals = [line.split("\t") for line in listed.splitlines() if line]
        present = await self._presence.list_present()
        if isinstance(present, Denial):
            return present
        return {
            "state": state.value,
            "terminals": [
                {
                    "name": name,
                    "locked": "locked" in marks,
                    "attached": list_at_terminal(present, grant.target, name),
                }
                for name, *marks in terminals
            ],
        }

    async def _list_attached(self, identity: Identity, body: Fields, source: Source) -> Answer:
        """Return the sessions at one terminal, without asking the shell."""
        grant = await find_grant(self._flow, identity, body, source)
        if isinstance(grant, Denial):
            return grant
        present = await self._presence.list_present()
        if isinstance(present, Denial):
            return present
        return {"attached": list_at_terminal(present, grant.target, str(body.get("terminal", "")))}

    async def _end_terminal(self, grant: Grant, name: str, _: Fields, source: Source) -> Answer:
        output = await run_remote(self._access, source, grant, ["end", name])
        return output if isinstance(output, Denial) else {"ended": name}

    async def _read_history(self, grant: Grant, name: str, _: Fields, source: Source) -> Answer:
        """Return the last lines of the tmux that a terminal shows; empty if it shows none."""
        output = await run_remote(self._access, source, grant, ["history", name], _MAX_HISTORY)
        return output if isinstance(output, Denial) else {"history": output}

    # Shares.

    async def _share_terminal(
        self, grant: Grant, name: str, body: Fields, source: Source
    ) -> Answer:
        identity = grant.identity
        # Otherwise a stolen cookie could share a terminal that the cookie alone does not open.
        proof = await self._flow.check_step_up(identity, grant)
        if isinstance(proof, Denial):
            return self._flow.record_denial(
                proof, make_web_login_origin(source), identity, grant.target
            )
        minutes = body.get("minutes", 60)
        if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not minutes > 0:
            return Denial(Reason.BAD_REQUEST, "a share lasts a number of minutes")
        most = self._share_s
        if minutes * MINUTE_S > most:
            why = "terminals may not be shared here"
            if most:
                why = f"terminals may be shared {most / MINUTE_S:g} minutes at most"
            return self._flow.record_denial(
                Denial.with_fix(
                    Reason.NO_GRANT,
                    why,
                    "an administrator sets web.share_s",
                    "choose a shorter time" if most else "ask an administrator",
                ),
                make_web_login_origin(source),
                identity,
                grant.target,
            )
        created = await self._presence.share(
            identity, grant.target, name, minutes * MINUTE_S, typing=body.get("typing") is True
        )
        if isinstance(created, Denial):
            return created
        share, secret = created
        return {**describe_share(share), "fragment": secret}

    async def _list_shares(self, identity: Identity, body: Fields, source: Source) -> Answer:
        return {"shares": [describe_share(share) for share in self._presence.list_shares(identity)]}

    async def _end_share(self, identity: Identity, body: Fields, source: Source) -> Answer:
        share_id = str(body.get("id", ""))[:MAX_SECRET_CHARS]
        denial = await self._presence.end_share(identity, share_id)
        return {"ended": share_id} if denial is None else denial


async def find_grant(
    flow: Flow, identity: Identity, body: Fields, source: Source
) -> Grant | Denial:
    """Return the user's grant for the app in `target`. A refusal is audited."""
    target = read_target(body)
    if isinstance(target, Denial):
        return flow.record_denial(target, make_web_login_origin(source), identity)
    grant = await flow.authorise(identity, target)
    return (
        flow.record_denial(grant, make_web_login_origin(source), identity, target)
        if isinstance(grant, Denial)
        else grant
    )


async def run_remote(
    access: ShellAccess,
    source: Source,
    grant: Grant,
    arguments: Sequence[str],
    limit_bytes: int = MAX_ANSWER,
) -> str | Denial:
    """Run the holder with `arguments`. Return its output, or why it failed or was refused.

    More output than `limit_bytes` is a failure.
    """
    target = grant.target
    entered = await access.flow.enter(
        grant.identity, target, make_web_login_origin(source), lambda step: None, start=False
    )
    if isinstance(entered, Denial):
        return entered
    holder_command = access.find_holder_command(target)
    if holder_command is None:
        missing = make_no_holder_denial(target.shell_name)
        entered.give_up(missing.message)
        return missing
    name = target.shell_name
    try:
        async with open_shell_session(entered, access.upstream) as session:
            request = ChannelRequest("exec", shlex.join(["terminal", *arguments]))
            with session.audit_only_channel(request) as channel:
                async with asyncio.timeout(COMMAND_S):
                    command = shlex.join([*holder_command, *arguments])
                    result = await run_command(session.shell, command, limit_bytes)
                channel.record_end(result.exit_status, 0, 0)
            return _read_output(result, name, limit_bytes)
    except SessionEndedError as error:
        return Denial(Reason.NO_GRANT, str(error))
    except ShellLoginError as error:
        return replace(error.denial, reason=Reason.SHELL_UNAVAILABLE)
    except TimeoutError:
        why = f"the shell {name} did not finish the command within {COMMAND_S:g} s"
        return Denial(Reason.SHELL_UNAVAILABLE, why)
    except (asyncssh.Error, OSError) as error:
        return Denial(Reason.SHELL_UNAVAILABLE, explain_hang_up(name, error))


def _read_output(result: CommandResult, name: str, limit_bytes: int) -> str | Denial:
    """Return the command's output in the shell `name`, or how it failed."""
    if result.too_long:
        return Denial(
            Reason.SHELL_UNAVAILABLE,
            f"the shell {name} printed more than {limit_bytes // 1024} KiB where its terminals' holder "
            "answers with less, and was cut off; look at what runs there",
        )
    if result.exit_status == 0:
        return result.output.decode("utf-8", "replace")
    errors = result.errors.decode("utf-8", "replace").strip().splitlines()
    why = errors[-1].removeprefix("stagedoor: ") if errors else f"the shell {name} runs no holder"
    return Denial(Reason.BAD_REQUEST, to_one_line(why, MAX_MESSAGE_CHARS))
