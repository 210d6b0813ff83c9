"""The relay of frames between a terminal's client and the holder in the shell.

The gateway parses the frames to count and record them. Offsets, windows and the contents of the screen are
left to the two ends.
"""

import asyncio
import shlex
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncssh

from stagedoor.holder.folder import NOT_KNOWN, NOT_THERE
from stagedoor.listeners.web.errors import ClientClosedError
from stagedoor.listeners.web.terminal.socket import TerminalSocket
from stagedoor.listeners.web.websocket import MIN_BYTES
from stagedoor.model.session import EndReason
from stagedoor.recording.channel_audit import ChannelAudit
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS, ShellProcess, explain_hang_up
from stagedoor.upstream.session import ShellSession
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode_framed
from stagedoor.wire.terminal.frames import (
    Ack,
    Detach,
    Exit,
    Hello,
    HolderFrame,
    In,
    InAck,
    Lock,
    Notice,
    NoticeKind,
    Out,
    People,
    Remove,
    Resize,
    Snapshot,
    TerminalError,
    describe_misplaced,
)

SLOW_S = 0.05
"""The slow connection's time to acknowledge, seconds.

With a window of 128 KiB that is at most 2.6 MB/s, and compressing it takes at most 7 % of a core.
"""
SLOW_FOR_S = 10.0
"""How long a connection counts as slow after a slow acknowledgement, since compression speeds it up."""
MAX_MESSAGES = 128
"""The number of remembered messages, as many large ones as fit into a window."""


class LineRate:
    """The rate of one client's connection. `now` is seconds of a monotonic clock.

    Until its rate is known, a connection counts as slow, since the first message is a whole screen.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[int, float]] = deque(maxlen=MAX_MESSAGES)
        self._slow_until: float | None = None
        self.is_slow = True

    def note_sent(self, to: int, size: int, now: float) -> None:
        """Note that output up to the offset `to` was sent, in a message of `size` bytes."""
        if size >= MIN_BYTES:
            self._sent.append((to, now))

    def note_acknowledged(self, to: int, now: float) -> None:
        """Note that the client has processed output up to the offset `to`."""
        took = None
        while self._sent and self._sent[0][0] <= to:
            took = now - self._sent.popleft()[1]
        if took is None:
            return
        if took > SLOW_S:
            self._slow_until = now + SLOW_FOR_S
        self.is_slow = self._slow_until is not None and now < self._slow_until


_CHUNK = 64 * 1024
LAST_WORDS_S = 2.0
"""How long sending the reason for a session's end may take, seconds."""
LEAVE_S = 10.0
"""How long the holder may take to end the connection of a client that detaches, seconds."""
HOLDER_S = 20.0
"""How long the holder may take until its first frame, seconds."""
_SAID_BYTES = 4096
"""How much of the end of the holder's errors is kept, to explain a failure."""
_ERRORS_BYTES = 64 * 1024
"""A program that prints more errors than this is not a holder."""
_START_FILES = (
    "the shell's start-up files (~/.bashrc and the like) must {} where there is no terminal"
)
_SILENT = f"the shell's holder did not answer within {HOLDER_S:g} s: " + _START_FILES.format("end")


@dataclass(slots=True)
class TerminalRelay:
    """The relay of one terminal session. Belongs to one event loop.

    `hello` is the first frame as the holder gets it. With `joins_only`, no terminal is started; if
    `is_watching`, no input reaches the shell. `room` is set when the recording has room again; `on_people` is
    called with the holder's reports of who is connected; `exit` is the shell's EXIT frame, None while the
    shell runs.
    """

    client: TerminalSocket
    hello: Hello
    session: ShellSession
    channel: ChannelAudit
    room: asyncio.Event
    joins_only: bool
    is_watching: bool
    on_people: Callable[[People], None]
    exit: Exit | None = None
    _rate: LineRate = field(default_factory=LineRate)
    _errors: bytes = b""
    _first: bytes = b""
    _errors_over: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, holder_command: Sequence[str]) -> tuple[EndReason, str]:
        """Relay until either side is gone. Return the session's end, and a line for the user.

        `holder_command` is the command that runs the holder in the shell. May be cancelled.
        """
        verb = "join" if self.joins_only else "attach"
        command = shlex.join([*holder_command, verb, self.hello.terminal])
        try:
            async with asyncio.timeout(HOLDER_S):
                process = await ShellProcess.start(self.session.shell, command)
        except TimeoutError:
            return await self._fail(_SILENT)
        except asyncssh.Error as error:
            said = to_one_line(error.reason, MAX_MESSAGE_CHARS)
            return await self._fail(f"the shell runs no holder for terminals: {said}")
        try:
            with suppress(OSError):  # a holder that has already exited has printed why
                process.stdin.write(encode_framed(self.hello))
            input_task = asyncio.create_task(self._relay_input(process))
            output_task = asyncio.create_task(self._relay_output(process))
            errors_task = asyncio.create_task(self._read_errors(process))
            tasks = (input_task, output_task, errors_task)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                ended = next(task for task in tasks if task.done())
                if ended is input_task and input_task.result()[0] is EndReason.UPSTREAM_LOST:
                    # The holder is gone; its last frames and errors explain why.
                    await asyncio.wait((output_task,), timeout=LAST_WORDS_S)
                    ended = output_task if output_task.done() else input_task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            return ended.result()
        finally:
            process.release()

    async def _relay_input(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Pass the client's frames to the holder, at the holder's pace."""
        try:
            return await self._relay_client_frames(process)
        except ClientClosedError:
            return EndReason.CLOSED, ""

    async def _relay_client_frames(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Pass on frames until either side is gone. Raises ClientClosedError."""
        while True:
            try:
                frame, data = await self.client.read()
                # HELLO is allowed once; its ticket never reaches the holder.
                if isinstance(frame, Hello) or (
                    self.joins_only and isinstance(frame, Remove | Lock)
                ):
                    raise TerminalError(describe_misplaced(frame))
            except TerminalError as error:
                await self.client.send(Notice(NoticeKind.FAULT, str(error)))
                return (
                    EndReason.DOWNSTREAM_RESET,
                    f"the developer's side broke the protocol: {error}",
                )
            if self.is_watching and isinstance(frame, In | Resize):
                if isinstance(frame, In):
                    # Acknowledge the dropped input as the holder would, so that the client does not wait.
                    await self.client.send(InAck(frame.at + len(frame.data)))
                continue
            match frame:
                case In(_, data_in):
                    self.session.sent += len(data_in)
                    self.channel.take_input(data_in)
                case Ack(to):
                    self._rate.note_acknowledged(to, asyncio.get_running_loop().time())
                    self.client.compress(self._rate.is_slow)
                case Resize(size):
                    self.channel.record_size(size.columns, size.rows)
                case _:
                    pass
            try:
                process.stdin.write(FrameBuffer.HEAD.pack(len(data)) + data)
                await process.stdin.drain()
            except (OSError, asyncssh.Error):
                return EndReason.UPSTREAM_LOST, "the shell hung up"
            if isinstance(frame, Detach):
                # Wait until the holder hangs up. If the connection ended before DETACH arrived, the holder
                # would keep the place as for a client whose connection was lost.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_S):
                        await process.wait_closed()
                return EndReason.CLOSED, ""

    async def _relay_output(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Pass the holder's frames to the client, at the client's pace; unread output waits in the shell.

        Once the client has gone, frames are read and dropped, so that the holder is not blocked and reads the
        client's last frame. `_relay_input` then ends the relay.
        """
        try:
            return await self._relay_frames(process)
        except TimeoutError:
            return await self._fail(_SILENT)
        except (asyncssh.Error, OSError) as error:
            return await self._fail(
                explain_hang_up(self.session.opened.ready.grant.target.shell_name, error)
            )
        except TerminalError as error:
            if self._first:
                said = to_one_line(self._first.decode(errors="replace").strip(), MAX_MESSAGE_CHARS)
                return await self._fail(
                    f"it printed {said!r} before the holder began: "
                    + _START_FILES.format("print nothing")
                )
            said = to_one_line(str(error), MAX_MESSAGE_CHARS)
            return await self._fail(f"the shell's holder breaks the terminals' protocol: {said}")

    async def _relay_frames(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Pass on frames until the holder exits.

        Raises TerminalError, and TimeoutError if the first frame is not there within HOLDER_S.
        """
        frames = FrameBuffer()
        gone = has_begun = False
        deadline = asyncio.get_running_loop().time() + HOLDER_S
        while data := await _read(process, None if has_begun else deadline):
            if not has_begun:
                self._first = (self._first + data)[:_SAID_BYTES]
            for encoded in () if gone else frames.feed(data):
                frame = decode(encoded)
                if not isinstance(frame, HolderFrame):
                    raise TerminalError(describe_misplaced(frame))
                has_begun = True
                self._first = b""
                match frame:
                    case Out(at, shown):
                        now = asyncio.get_running_loop().time()
                        self._rate.note_sent(at + len(shown), len(shown), now)
                        self.session.received += len(shown)
                        await self._record(shown)
                    case Snapshot(shown):
                        await self._record(shown)
                    case Exit():
                        self.exit = frame
                    case People():
                        self.on_people(frame)
                        continue
                    case _:
                        pass
                try:
                    if isinstance(frame, Notice):
                        await self.client.send(frame)  # in the language of the client's user
                    else:
                        await self.client.send_bytes(encoded)
                except ClientClosedError:
                    gone = True
                    break
        await process.wait_closed()
        if gone or self.exit or process.exit_status == 0:
            return EndReason.CLOSED, ""
        return await self._explain_exit(process)

    async def _explain_exit(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Send the client why the holder has failed, and return the session's end."""
        if process.exit_status == NOT_THERE:
            why = f"the terminal {self.hello.terminal} no longer exists"
            with suppress(ClientClosedError):
                await self.client.send(Notice(NoticeKind.DENIED, why))
            return EndReason.UNREACHED, why
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._errors_over.wait()
        said = self._errors.decode(errors="replace").strip()
        why = to_one_line(said.splitlines()[-1], MAX_MESSAGE_CHARS) if said else "the shell hung up"
        if process.exit_status == NOT_KNOWN:
            why = "this shell's version cannot be watched; its owner must restart it"
        return await self._fail(why)

    async def _fail(self, why: str) -> tuple[EndReason, str]:
        """Send the client the reason that the session fails, and return its end."""
        with suppress(ClientClosedError):
            await self.client.send(Notice(NoticeKind.FAULT, why))
        return EndReason.UPSTREAM_LOST, why

    async def _read_errors(self, process: ShellProcess) -> tuple[EndReason, str]:
        """Collect what the holder prints to stderr. Return only if that is too much."""
        size = 0
        with suppress(asyncssh.Error, OSError):  # `_relay_output` gets the same error
            while data := await process.stderr.read(_CHUNK):
                self._errors = (self._errors + data)[-_SAID_BYTES:]
                size += len(data)
                if size > _ERRORS_BYTES:
                    return await self._fail("the shell's holder prints errors without end")
        self._errors_over.set()
        await asyncio.Event().wait()  # until `carry` cancels this task
        raise AssertionError

    async def _record(self, shown: bytes) -> None:
        """Record output before the client gets it. So a slow disk slows the terminal down."""
        self.room.clear()
        if shown and not self.channel.take_output(shown):
            await self.room.wait()


async def _read(process: ShellProcess, deadline: float | None) -> bytes:
    """Read output until `deadline`, by the loop's clock. Raises TimeoutError."""
    if deadline is None:
        return await process.stdout.read(_CHUNK)
    async with asyncio.timeout_at(deadline):
        return await process.stdout.read(_CHUNK)
