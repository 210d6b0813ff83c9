"""Frames on their way between the developer's side of a terminal and the holder in the shell.

The gateway reads along what it carries (it counts, and can record), but decides nothing of the
terminal: offsets, windows and what is drawn are between the two ends.
"""

import asyncio
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncssh

from stagedoor.holder.place import NOT_KNOWN, NOT_THERE
from stagedoor.listeners.web.guests import passed_over
from stagedoor.listeners.web.wire import GoneError, Wire
from stagedoor.model.session import End
from stagedoor.recording.witness import Witness
from stagedoor.wire.frames import FrameBuffer, decode, framed
from stagedoor.wire.terminal import (
    Detach,
    Exit,
    Hello,
    In,
    Notice,
    Out,
    Resize,
    Snapshot,
    TerminalError,
    Word,
    foreign,
)

_CHUNK = 64 * 1024
LAST_WORDS_S = 2.0
"""So long may it take to say why a session ends."""
LEAVE_S = 10.0
"""So long may the holder take to let go of one who has detached."""


@dataclass(slots=True)
class Carrier:
    """Of one visit. Belongs to one event loop.

    `hello` is the first frame as the holder gets it. Who `joins` starts no terminal, and nothing that is
    typed by one who only `looks` reaches the shell. `room` is set once the recording takes more again. `sent`
    and `received` are bytes; `exit` is how the shell ended, None as long as it has not.
    """

    wire: Wire
    hello: Hello
    witness: Witness
    room: asyncio.Event
    joins: bool
    looks: bool
    sent: int = 0
    received: int = 0
    exit: Exit | None = None

    async def carry(
        self, shell: asyncssh.SSHClientConnection, holder: Sequence[str]
    ) -> tuple[End, str]:
        """Until one side is gone: how it ended, and a line for the person. May be cancelled.

        `holder` is the command that runs it in the shell.
        """
        verb = "join" if self.joins else "attach"
        command = shlex.join([*holder, verb, self.hello.terminal])
        try:
            process = await shell.create_process(command, encoding=None)
        except asyncssh.Error as error:
            why = f"the shell runs no holder for terminals: {error.reason}"
            await self.wire.say(Notice(Word.FAULT, why))
            return End.UPSTREAM_LOST, why
        try:
            with suppress(OSError):  # it has ended already, and will say why
                process.stdin.write(framed(self.hello))
            down = asyncio.create_task(self._upward(process))
            up = asyncio.create_task(self._downward(process))
            try:
                await asyncio.wait((down, up), return_when=asyncio.FIRST_COMPLETED)
                ended = down if down.done() else up
                if ended is down and down.result()[0] is End.UPSTREAM_LOST:
                    # The holder is gone; its last words tell why.
                    await asyncio.wait((up,), timeout=LAST_WORDS_S)
                    ended = up if up.done() else down
            finally:
                for task in (down, up):
                    task.cancel()
                await asyncio.gather(down, up, return_exceptions=True)
            return ended.result()
        finally:
            process.close()

    async def _upward(self, process: "asyncssh.SSHClientProcess[bytes]") -> tuple[End, str]:
        """From the developer to the holder, at the holder's pace."""
        while True:
            try:
                frame, data = await self.wire.read()
                if isinstance(frame, Hello):  # said once already, and its ticket goes no further
                    raise TerminalError(foreign(frame))
            except GoneError:
                return End.CLOSED, ""
            except TerminalError as error:
                await self.wire.say(Notice(Word.FAULT, str(error)))
                return End.DOWNSTREAM_RESET, f"the developer's side broke the protocol: {error}"
            if self.looks:
                stays, answer = passed_over(frame)
                if answer is not None:
                    await self.wire.say(answer)
                if stays:
                    continue
            match frame:
                case In(_, data_in):
                    self.sent += len(data_in)
                    self.witness.typed(data_in)
                case Resize(size):
                    self.witness.resized(size.columns, size.rows)
                case _:
                    pass
            try:
                process.stdin.write(FrameBuffer.HEAD.pack(len(data)) + data)
                await process.stdin.drain()
            except (OSError, asyncssh.Error):
                return End.UPSTREAM_LOST, "the shell hung up"
            if isinstance(frame, Detach):
                # Until the holder hangs up: what carries it to him must not go before it has arrived, or he
                # would wait for one whose line was cut.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await process.wait_closed()
                return End.CLOSED, ""

    async def _downward(self, process: "asyncssh.SSHClientProcess[bytes]") -> tuple[End, str]:
        """From the holder to the developer, at his pace: what is not read here waits in the shell.

        For one who has gone it is read and left: what he has said last is still on its way to the holder,
        whom only one who reads can hear. `_upward` ends it then.
        """
        frames = FrameBuffer()
        gone = False
        while data := await process.stdout.read(_CHUNK):
            for each in () if gone else frames.feed(data):
                frame = decode(each)
                match frame:
                    case Out(_, shown):
                        self.received += len(shown)
                        await self._witnessed(shown)
                    case Snapshot(shown):
                        await self._witnessed(shown)
                    case Exit():
                        self.exit = frame
                    case _:
                        pass
                try:
                    await self.wire.pass_on(each)
                except GoneError:
                    gone = True
                    break
        await process.wait(check=False)
        if gone or self.exit or process.exit_status == 0:
            return End.CLOSED, ""
        if process.exit_status == NOT_THERE:
            why = f"the terminal {self.hello.terminal} is not there any more"
            with suppress(GoneError):
                await self.wire.say(Notice(Word.DENIED, why))
            return End.UNREACHED, why
        said = (await process.stderr.read(400)).decode(errors="replace").strip()
        why = said.splitlines()[-1] if said else "the shell hung up"
        if process.exit_status == NOT_KNOWN:
            why = "this shell is of a version that lets nobody look on; its owner starts it anew"
        with suppress(GoneError):
            await self.wire.say(Notice(Word.FAULT, why))
        return End.UPSTREAM_LOST, why

    async def _witnessed(self, shown: bytes) -> None:
        """Write down what is shown, before it is shown; a slow disk holds the terminal back."""
        self.room.clear()
        if shown and not self.witness.shown(shown):
            await self.room.wait()
