"""Frames on their way between the developer's side of a terminal and the holder in the shell.

The gateway reads along what it carries (it counts, and can record), but decides nothing of the
terminal: offsets, windows and what is drawn are between the two ends.
"""

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncssh

from stagedoor.holder.folder import NOT_KNOWN, NOT_THERE
from stagedoor.listeners.shell_session import ShellSession
from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.terminal.guests import passed_over
from stagedoor.listeners.web.terminal.people import PresenceNotifier
from stagedoor.listeners.web.terminal.rate import LineRate
from stagedoor.listeners.web.terminal.socket import TerminalSocket
from stagedoor.model.session import End
from stagedoor.recording.channel_audit import ChannelAudit
from stagedoor.upstream.connection import SAID_CHARS, hung_up
from stagedoor.wire.frames import FrameBuffer, decode, framed
from stagedoor.wire.oneline import one_line
from stagedoor.wire.terminal import (
    Ack,
    Detach,
    Exit,
    Hello,
    In,
    Lock,
    Notice,
    NoticeKind,
    Out,
    People,
    Remove,
    Resize,
    Snapshot,
    TerminalError,
    foreign,
)

_CHUNK = 64 * 1024
LAST_WORDS_S = 2.0
"""So long may it take to say why a session ends."""
LEAVE_S = 10.0
"""So long may the holder take to let go of one who has detached."""
HOLDER_S = 20.0
"""So long may it take until the holder has said its first word."""
_SAID_BYTES = 4096
"""Of the end of its errors, which are kept to say what went wrong."""
_ERRORS_BYTES = 64 * 1024
"""A holder that prints more errors than this is none."""
_START_FILES = (
    "the shell's start-up files (~/.bashrc and the like) must {} where there is no terminal"
)
_SILENT = f"the shell's holder said nothing within {HOLDER_S:g} s: " + _START_FILES.format("end")


@dataclass(slots=True)
class TerminalRelay:
    """Of one terminal session. Belongs to one event loop.

    `hello` is the first frame as the holder gets it. With `joins` no terminal is started; with `looks`
    nothing that is typed reaches the shell. `room` is set once the recording takes more again; `exit`
    is how the shell ended, None as long as it has not.
    """

    wire: TerminalSocket
    hello: Hello
    session: ShellSession
    channel: ChannelAudit
    room: asyncio.Event
    joins: bool
    looks: bool
    people: PresenceNotifier
    exit: Exit | None = None
    _rate: LineRate = field(default_factory=LineRate)
    _errors: bytes = b""
    _first: bytes = b""
    _errors_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, holder: Sequence[str]) -> tuple[End, str]:
        """Until one side is gone: how it ended, and a line for the person. May be cancelled.

        `holder` is the command that runs it in the shell.
        """
        verb = "join" if self.joins else "attach"
        command = shlex.join([*holder, verb, self.hello.terminal])
        try:
            async with asyncio.timeout(HOLDER_S):
                process = await self.session.shell.create_process(command, encoding=None)
        except TimeoutError:
            return await self._faulty(_SILENT)
        except asyncssh.Error as error:
            said = one_line(error.reason, SAID_CHARS)
            return await self._faulty(f"the shell runs no holder for terminals: {said}")
        try:
            with suppress(OSError):  # it has ended already, and will say why
                process.stdin.write(framed(self.hello))
            down = asyncio.create_task(self._upward(process))
            up = asyncio.create_task(self._downward(process))
            errors = asyncio.create_task(self._read_errors(process))
            try:
                await asyncio.wait((down, up, errors), return_when=asyncio.FIRST_COMPLETED)
                ended = next(task for task in (down, up, errors) if task.done())
                if ended is down and down.result()[0] is End.UPSTREAM_LOST:
                    # The holder is gone; its last words tell why.
                    await asyncio.wait((up,), timeout=LAST_WORDS_S)
                    ended = up if up.done() else down
            finally:
                for task in (down, up, errors):
                    task.cancel()
                await asyncio.gather(down, up, errors, return_exceptions=True)
            return ended.result()
        finally:
            process.close()

    async def _upward(self, process: "asyncssh.SSHClientProcess[bytes]") -> tuple[End, str]:
        """From the developer to the holder, at the holder's pace."""
        while True:
            try:
                frame, data = await self.wire.read()
                # HELLO was said once already, and its ticket goes no further.
                if isinstance(frame, Hello) or (self.joins and isinstance(frame, Remove | Lock)):
                    raise TerminalError(foreign(frame))
            except ClientClosedError:
                return End.CLOSED, ""
            except TerminalError as error:
                await self.wire.say(Notice(NoticeKind.FAULT, str(error)))
                return End.DOWNSTREAM_RESET, f"the developer's side broke the protocol: {error}"
            if self.looks:
                stays, answer = passed_over(frame)
                if answer is not None:
                    await self.wire.say(answer)
                if stays:
                    continue
            match frame:
                case In(_, data_in):
                    self.session.sent += len(data_in)
                    self.channel.typed(data_in)
                case Ack(to):
                    self._rate.acknowledged(to, asyncio.get_running_loop().time())
                    self.wire.compress(self._rate.is_slow)
                case Resize(size):
                    self.channel.resized(size.columns, size.rows)
                case _:
                    pass
            try:
                process.stdin.write(FrameBuffer.HEAD.pack(len(data)) + data)
                await process.stdin.drain()
            except (OSError, asyncssh.Error):
                return End.UPSTREAM_LOST, "the shell hung up"
            if isinstance(frame, Detach):
                # Until the holder hangs up: the connection must stay until it has arrived, or the client
                # would wait for one whose line was cut.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await process.wait_closed()
                return End.CLOSED, ""

    async def _downward(self, process: "asyncssh.SSHClientProcess[bytes]") -> tuple[End, str]:
        """From the holder to the developer, at their pace: what is not read here waits in the shell.

        For a client that has gone it is read and dropped: its last frame is still on its way to the holder,
        whom only one who reads can hear. `_upward` ends it then.
        """
        try:
            async with asyncio.timeout(HOLDER_S) as begun:
                return await self._passed_on(process, begun)
        except TimeoutError:
            return await self._faulty(_SILENT)
        except (asyncssh.Error, OSError) as error:
            return await self._faulty(
                hung_up(self.session.opened.ready.grant.target.shell_name, error)
            )
        except TerminalError as error:
            if self._first:
                said = one_line(self._first.decode(errors="replace").strip(), SAID_CHARS)
                return await self._faulty(
                    f"it printed {said!r} before the holder began: "
                    + _START_FILES.format("print nothing")
                )
            said = one_line(str(error), SAID_CHARS)
            return await self._faulty(f"the shell's holder breaks the terminals' protocol: {said}")

    async def _passed_on(
        self, process: "asyncssh.SSHClientProcess[bytes]", begun: asyncio.Timeout
    ) -> tuple[End, str]:
        """`begun` ends the wait for the first frame. Raises TerminalError."""
        frames = FrameBuffer()
        gone = False
        while data := await process.stdout.read(_CHUNK):
            if begun.when() is not None:
                self._first = (self._first + data)[:_SAID_BYTES]
            for each in () if gone else frames.feed(data):
                frame = decode(each)
                begun.reschedule(None)
                self._first = b""
                match frame:
                    case Out(at, shown):
                        now = asyncio.get_running_loop().time()
                        self._rate.sent(at + len(shown), len(shown), now)
                        self.session.received += len(shown)
                        await self._witnessed(shown)
                    case Snapshot(shown):
                        await self._witnessed(shown)
                    case Exit():
                        self.exit = frame
                    case People():
                        self.people.heard(frame)
                        continue
                    case _:
                        pass
                try:
                    await self.wire.pass_on(each)
                except ClientClosedError:
                    gone = True
                    break
        begun.reschedule(None)
        await process.wait_closed()
        if gone or self.exit or process.exit_status == 0:
            return End.CLOSED, ""
        if process.exit_status == NOT_THERE:
            why = f"the terminal {self.hello.terminal} is not there any more"
            with suppress(ClientClosedError):
                await self.wire.say(Notice(NoticeKind.DENIED, why))
            return End.UNREACHED, why
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._errors_over.wait()
        said = self._errors.decode(errors="replace").strip()
        why = one_line(said.splitlines()[-1], SAID_CHARS) if said else "the shell hung up"
        if process.exit_status == NOT_KNOWN:
            why = (
                "this shell is of a version that nobody can watch; its owner has to start it again"
            )
        return await self._faulty(why)

    async def _faulty(self, why: str) -> tuple[End, str]:
        """Say what is wrong with the shell."""
        with suppress(ClientClosedError):
            await self.wire.say(Notice(NoticeKind.FAULT, why))
        return End.UPSTREAM_LOST, why

    async def _read_errors(self, process: "asyncssh.SSHClientProcess[bytes]") -> tuple[End, str]:
        """What the holder prints beside its frames. Returns only if that is without end."""
        size = 0
        with suppress(asyncssh.Error, OSError):  # of which `_downward` hears as well
            while data := await process.stderr.read(_CHUNK):
                self._errors = (self._errors + data)[-_SAID_BYTES:]
                size += len(data)
                if size > _ERRORS_BYTES:
                    return await self._faulty("the shell's holder prints errors without end")
        self._errors_over.set()
        await asyncio.Event().wait()  # it is cancelled with the others
        raise AssertionError

    async def _witnessed(self, shown: bytes) -> None:
        """Write down what is shown, before it is shown; a slow disk holds the terminal back."""
        self.room.clear()
        if shown and not self.channel.shown(shown):
            await self.room.wait()
