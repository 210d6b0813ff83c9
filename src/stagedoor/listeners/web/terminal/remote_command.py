"""A short command of the holder, run in a shell for a user in an audited session.

A shell that does not run is not started for it.
"""

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import replace

import asyncssh

from stagedoor.listeners.web.guard import web
from stagedoor.listeners.web.shell_access import ShellAccess, deny_without_holder
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.source import Source
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.upstream.command import CommandResult, run_command
from stagedoor.upstream.connection import SAID_CHARS, explain_hang_up
from stagedoor.upstream.login import UnreachedError
from stagedoor.upstream.session import SessionEndedError, open_shell_session
from stagedoor.wire.oneline import to_one_line

COMMAND_S = 20.0
"""The bound on one command, seconds: longer than ending a terminal takes that ignores the hangup."""
MAX_ANSWER = 64 * 1024


async def run_remote(
    access: ShellAccess,
    source: Source,
    grant: Grant,
    arguments: Sequence[str],
    limit_bytes: int = MAX_ANSWER,
) -> str | Denial:
    """Run the holder with `arguments`. Return its output, or why it was refused or failed.

    More output than `limit_bytes` is a failure.
    """
    target = grant.target
    entered = await access.flow.enter(
        grant.identity, target, web(source), lambda step: None, start=False
    )
    if isinstance(entered, Denial):
        return entered
    holder = access.holder(target)
    if holder is None:
        missing = deny_without_holder(target.shell_name)
        entered.give_up(missing.message)
        return missing
    name = target.shell_name
    try:
        async with open_shell_session(entered, access.upstream) as session:
            request = ChannelRequest("exec", shlex.join(["terminal", *arguments]))
            with session.channel(request) as channel:
                async with asyncio.timeout(COMMAND_S):
                    command = shlex.join([*holder, *arguments])
                    result = await run_command(session.shell, command, limit_bytes)
                channel.ended(result.exit_status, 0, 0)
            return _answer(result, name, limit_bytes)
    except SessionEndedError as error:
        return Denial(Reason.NO_GRANT, str(error))
    except UnreachedError as error:
        return replace(error.denial, reason=Reason.SHELL_UNAVAILABLE)
    except TimeoutError:
        why = f"the shell {name} did not do it within {COMMAND_S:g} s"
        return Denial(Reason.SHELL_UNAVAILABLE, why)
    except (asyncssh.Error, OSError) as error:
        return Denial(Reason.SHELL_UNAVAILABLE, explain_hang_up(name, error))


def _answer(result: CommandResult, name: str, limit_bytes: int) -> str | Denial:
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
    return Denial(Reason.BAD_REQUEST, to_one_line(why, SAID_CHARS))
