"""One command of the holder's, run in a shell for somebody: by the flow, written down, and short.

A shell that does not run is not started for it.
"""

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress

import asyncssh

from stagedoor.listeners.web.backstage import Backstage
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, End, Ended, Opened, Way
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.recording.witness import Asked, Witness
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, OnEnd
from stagedoor.upstream.command import CommandResult, run_command
from stagedoor.upstream.connection import SAID_CHARS, hung_up
from stagedoor.upstream.login import UnreachedError
from stagedoor.wire.oneline import one_line

ERRAND_S = 20.0
"""Longer than a terminal takes that does not want to end."""
MAX_ANSWER = 64 * 1024
"""Bytes that are read of what a command prints, and as many of its errors."""


class Errand:
    """Satisfies `session.ports.Door` and `session.ports.Link`. Belongs to one event loop."""

    way = Way.WEB

    def __init__(self, backstage: Backstage, source: Source, arguments: Sequence[str]) -> None:
        self.source = source
        self._backstage = backstage
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._end = (End.DRAINED, "the gateway is stopping")
        self._running: asyncio.Task[None] | None = None
        self._answer: str | Denial = Denial(Reason.INTERNAL, "the shell did not answer")

    async def run(self, grant: Grant) -> str | Denial:
        """What the command has printed; or why it was not run, or failed."""
        await self._backstage.flow.enter_by(grant, self, start=False)
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        return self._answer

    # What the flow asks for: a door, and a link.

    async def refuse(self, denial: Denial) -> None:
        self._answer = denial

    def progress(self, step: StartStep) -> None:
        pass  # nothing is started

    async def open(self, opened: Opened, upstream: Stream, on_end: OnEnd) -> Link:
        grant = opened.ready.grant
        holder = self._backstage.holder(grant.target)
        if holder is None:
            upstream.abort()
            return self._not_run(f"the shell {grant.target.shell_name} holds no terminals", on_end)
        try:
            shell = await self._backstage.log_in(grant, upstream)
        except UnreachedError as error:
            return self._not_run(str(error), on_end)
        asked = Asked("exec", shlex.join(["terminal", *self._arguments]))
        witness = Witness(self._backstage.note, opened, 1, asked, None)
        name = grant.target.shell_name
        self._running = asyncio.create_task(self._run(shell, name, holder, witness, on_end))
        return self

    def counts(self) -> Counts:
        return Counts()

    def close(self, end: End, detail: str = "") -> None:
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    def _close(self, end: End, detail: str) -> None:
        self._end = (end, detail)
        if self._running is not None:
            self._running.cancel()

    def _not_run(self, why: str, on_end: OnEnd) -> Link:
        self._answer = Denial(Reason.SHELL_UNAVAILABLE, why)
        on_end(Ended(End.UNREACHED, detail=why))
        return self

    async def _run(
        self,
        shell: asyncssh.SSHClientConnection,
        name: str,
        holder: Sequence[str],
        witness: Witness,
        on_end: OnEnd,
    ) -> None:
        code, end, detail = None, End.FAULT, "a fault in the gateway; its log has more"
        try:
            async with asyncio.timeout(ERRAND_S):
                command = shlex.join([*holder, *self._arguments])
                done = await run_command(shell, command, MAX_ANSWER)
            code, end, detail = done.exit_status, End.CLOSED, ""
            self._answer = _answer(done, name)
        except asyncio.CancelledError:
            end, detail = self._end
            self._answer = Denial(Reason.NO_GRANT, detail)
        except TimeoutError:
            end, detail = End.UPSTREAM_LOST, f"the shell {name} did not do it within {ERRAND_S:g} s"
            self._answer = Denial(Reason.SHELL_UNAVAILABLE, detail)
        except (asyncssh.Error, OSError) as error:
            end, detail = End.UPSTREAM_LOST, hung_up(name, error)
            self._answer = Denial(Reason.SHELL_UNAVAILABLE, detail)
        finally:
            shell.close()
            witness.ended(code, 0, 0)
            on_end(Ended(end, detail=detail))


def _answer(done: CommandResult, name: str) -> str | Denial:
    """What the command has printed in the shell `name`; or how it failed."""
    if done.too_long:
        return Denial(
            Reason.SHELL_UNAVAILABLE,
            f"the shell {name} printed more than {MAX_ANSWER // 1024} KiB where its terminals' holder "
            "answers in a line, and was cut off; look at what runs there",
        )
    if done.exit_status == 0:
        return done.output.decode("utf-8", "replace")
    said = done.errors.decode("utf-8", "replace").strip().splitlines()
    why = said[-1].removeprefix("stagedoor: ") if said else f"the shell {name} runs no holder"
    return Denial(Reason.BAD_REQUEST, one_line(why, SAID_CHARS))
