"""One visit to a terminal: let in by the flow, carried to the holder in the shell and back.

The gateway reads along what it carries (it counts, and can record), but decides nothing of the
terminal: offsets, windows and what is drawn are between the two ends.
"""

import asyncio
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import asyncssh

from stagedoor.holder.place import NOT_KNOWN, NOT_THERE
from stagedoor.listeners.web.backstage import Backstage
from stagedoor.listeners.web.guests import held_to, passed_over
from stagedoor.listeners.web.wire import GoneError, Wire
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.session import Counts, End, Ended, Opened, Way
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.recording.recorder import RecordingError
from stagedoor.recording.witness import Asked, Witness, header
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, OnEnd
from stagedoor.upstream.login import UnreachedError
from stagedoor.wire.frames import FrameBuffer, decode, framed
from stagedoor.wire.terminal import (
    Detach,
    Exit,
    Hello,
    In,
    Mode,
    Notice,
    Out,
    Resize,
    Snapshot,
    TerminalError,
    Word,
    foreign,
)

_CHUNK = 64 * 1024
_PTY = "permit-pty"
LAST_WORDS_S = 2.0
"""So long may it take to say why a session ends."""


class Visit:
    """Satisfies `session.ports.Door` and `session.ports.Link`. Belongs to one event loop."""

    way = Way.WEB

    def __init__(
        self,
        backstage: Backstage,
        wire: Wire,
        source: Source,
        hello: Hello,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when somebody is in, or has left."""
        self.source = source
        self._changed = changed
        self._backstage = backstage
        self._wire = wire
        self._hello = hello
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._received = 0
        self._room = asyncio.Event()
        self._exit: Exit | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._end: tuple[End, str] | None = None
        self._guest = self._looks = False
        self._watchers: tuple[str, ...] = ()
        self.place: tuple[str, str, str] | None = None

    async def run(self, identity: Identity, target: Target, grant: Grant | None = None) -> None:
        """From the open door to the last word. Returns once it is over. With a `grant` he is a guest."""
        flow = self._backstage.flow
        if grant is None or grant.guest is None:
            await flow.enter_as(identity, target, self)
        else:
            hello = held_to(self._hello, grant.guest)
            if isinstance(hello, Denial):
                await flow.refuse(hello, self, identity, target)
            else:
                self._guest = True
                self._hello, self._looks = hello, not grant.guest.may_type
                await flow.enter_by(grant, self)
        if self._carrying is not None:
            # Cancelled by a worker that ends at once: then what carries is cancelled as well.
            await asyncio.gather(self._carrying, return_exceptions=True)
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self._wire.close()

    # What the flow asks for: a door.

    async def refuse(self, denial: Denial) -> None:
        with suppress(GoneError):
            await self._wire.say(Notice(Word.DENIED, denial.message))

    def progress(self, step: StartStep) -> None:
        text = f"{step.name}{': ' if step.detail else ''}{step.detail}"
        self._tell(Notice(Word.PROGRESS, text))

    def watched_by(self, names: tuple[str, ...]) -> None:
        """Mark it for whoever is at this terminal, if it has changed."""
        if names != self._watchers:
            self._watchers = names
            self._tell(Notice(Word.WATCHED, ", ".join(names)))

    async def open(self, opened: Opened, upstream: Stream, on_end: OnEnd) -> Link:
        grant = opened.ready.grant
        holder = self._backstage.holder(grant.target)
        if holder is None:
            upstream.abort()
            why = f"no command is known that holds terminals in the shell {grant.target.shell_name}"
            return self._not_carried(
                f"{why}; an administrator names it in `holder` of its [[shells.static]] entry; until "
                "then come by ssh",
                on_end,
            )
        try:
            witness = await self._witness_of(opened)
        except RecordingError as error:
            upstream.abort()
            return self._not_carried(
                f"this terminal has to be recorded and cannot be ({error}); tell an administrator",
                on_end,
            )
        # Whoever works there knows of one who looks on before that one sees a thing.
        looks = self._looks or self._hello.mode is Mode.WATCH
        arriving = asyncio.create_task(
            self._backstage.company.arrive(
                opened.id, grant.target, self._hello.terminal, looks=looks
            )
        )
        try:
            shell = await self._backstage.log_in(grant, upstream, [_PTY])
        except BaseException as error:
            witness.ended(None, 0, 0)
            if isinstance(error, UnreachedError):
                return self._not_carried(str(error), on_end)
            raise
        unseen = await arriving
        if unseen is not None and looks:
            shell.close()
            witness.ended(None, 0, 0)
            return self._not_carried(unseen.message, on_end)
        self.place = (opened.id, str(grant.target), self._hello.terminal)
        self._changed()
        self._carrying = asyncio.create_task(self._carry(shell, holder, witness, on_end))
        if self._end is not None:
            self._carrying.cancel()  # told to end before it had begun
        return self

    # What the flow asks for: a link.

    def counts(self) -> Counts:
        return Counts(self._sent, self._received)

    def close(self, end: End, detail: str = "") -> None:
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    # How.

    async def _witness_of(self, opened: Opened) -> Witness:
        """Raises RecordingError where it must be recorded and cannot be."""
        backstage, hello = self._backstage, self._hello
        asked = Asked("shell", hello.command, hello.term, hello.size.columns, hello.size.rows)
        plan, recording = backstage.plan, None
        if backstage.recorded(opened.ready.grant):
            try:
                recording = await plan.recorder.begin(
                    opened,
                    1,
                    header(opened, 1, asked, backstage.now()),
                    on_room=self._room.set,
                    on_failure=self._unrecorded,
                )
            except RecordingError:
                if not plan.go_on:
                    raise
        if recording is not None and plan.notice:
            self._tell(Notice(Word.RECORDED, "this terminal is recorded"))
        return Witness(backstage.note, opened, 1, asked, recording, record_input=plan.record_input)

    def _unrecorded(self, why: str) -> None:
        self._room.set()
        if not self._backstage.plan.go_on:
            self._close(End.UNRECORDED, f"this terminal cannot be recorded any more ({why})")

    def _not_carried(self, why: str, on_end: OnEnd) -> Link:
        self._tell(Notice(Word.DENIED, why))
        on_end(Ended(End.UNREACHED, detail=why))
        return self

    def _tell(self, notice: Notice) -> None:
        async def say() -> None:
            with suppress(GoneError):
                await self._wire.say(notice)

        task = self._loop.create_task(say())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _close(self, end: End, detail: str) -> None:
        if self._end is not None:
            return
        self._end = (end, detail)
        if self._carrying is not None:
            self._carrying.cancel()

    async def _carry(
        self,
        shell: asyncssh.SSHClientConnection,
        holder: Sequence[str],
        witness: Witness,
        on_end: OnEnd,
    ) -> None:
        """Until one side is gone, or the flow says so; `on_end` is called on every way out."""
        end, detail = End.FAULT, "a fault in the gateway; its log has more"
        try:
            end, detail = await self._carried(shell, holder, witness)
        except asyncio.CancelledError:
            end, detail = self._end or (End.DRAINED, "the gateway is stopping")
            word = Word.DETACHED if end is End.DRAINED else Word.REVOKED
            with suppress(GoneError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._wire.say(Notice(word, detail or end.value))
        finally:
            shell.close()
            code = self._exit.code if self._exit else None
            witness.ended(code, self._sent, self._received)
            on_end(Ended(end, self.counts(), detail))
            self._part()

    def _part(self) -> None:
        if self.place is None:
            return
        leaving = self._loop.create_task(self._backstage.company.leave(self.place[0]))
        self._telling.add(leaving)
        leaving.add_done_callback(self._telling.discard)
        leaving.add_done_callback(lambda _: self._changed())

    async def _carried(
        self, shell: asyncssh.SSHClientConnection, holder: Sequence[str], witness: Witness
    ) -> tuple[End, str]:
        joins = self._guest or self._hello.mode is Mode.WATCH
        verb = "join" if joins else "attach"
        command = shlex.join([*holder, verb, self._hello.terminal])
        try:
            process = await shell.create_process(command, encoding=None)
        except asyncssh.Error as error:
            why = f"the shell runs no holder for terminals: {error.reason}"
            await self._wire.say(Notice(Word.FAULT, why))
            return End.UPSTREAM_LOST, why
        try:
            with suppress(OSError):  # it has ended already, and will say why
                process.stdin.write(framed(replace(self._hello, ticket="")))
            down = asyncio.create_task(self._upward(process, witness))
            up = asyncio.create_task(self._downward(process, witness))
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

    async def _upward(
        self, process: "asyncssh.SSHClientProcess[bytes]", witness: Witness
    ) -> tuple[End, str]:
        """From the developer to the holder, at the holder's pace."""
        while True:
            try:
                frame, data = await self._wire.read()
                if isinstance(frame, Hello):  # said once already, and its ticket goes no further
                    raise TerminalError(foreign(frame))
            except GoneError:
                return End.CLOSED, ""
            except TerminalError as error:
                await self._wire.say(Notice(Word.FAULT, str(error)))
                return End.DOWNSTREAM_RESET, f"the developer's side broke the protocol: {error}"
            if self._looks:
                stays, answer = passed_over(frame)
                if answer is not None:
                    await self._wire.say(answer)
                if stays:
                    continue
            match frame:
                case In(_, data_in):
                    self._sent += len(data_in)
                    witness.typed(data_in)
                case Resize(size):
                    witness.resized(size.columns, size.rows)
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
                    async with asyncio.timeout(LAST_WORDS_S):
                        await process.wait_closed()
                return End.CLOSED, ""

    async def _downward(
        self, process: "asyncssh.SSHClientProcess[bytes]", witness: Witness
    ) -> tuple[End, str]:
        """From the holder to the developer, at his pace: what is not read here waits in the shell."""
        frames = FrameBuffer()
        while data := await process.stdout.read(_CHUNK):
            for each in frames.feed(data):
                frame = decode(each)
                match frame:
                    case Out(_, shown):
                        self._received += len(shown)
                        await self._witnessed(witness, shown)
                    case Snapshot(shown):
                        await self._witnessed(witness, shown)
                    case Exit():
                        self._exit = frame
                    case _:
                        pass
                try:
                    await self._wire.pass_on(each)
                except GoneError:
                    return End.CLOSED, ""
        await process.wait(check=False)
        if self._exit or process.exit_status == 0:
            return End.CLOSED, ""
        if process.exit_status == NOT_THERE:
            why = f"the terminal {self._hello.terminal} is not there any more"
            with suppress(GoneError):
                await self._wire.say(Notice(Word.DENIED, why))
            return End.UNREACHED, why
        said = (await process.stderr.read(400)).decode(errors="replace").strip()
        why = said.splitlines()[-1] if said else "the shell hung up"
        if process.exit_status == NOT_KNOWN:
            why = "this shell is of a version that lets nobody look on; its owner starts it anew"
        with suppress(GoneError):
            await self._wire.say(Notice(Word.FAULT, why))
        return End.UPSTREAM_LOST, why

    async def _witnessed(self, witness: Witness, shown: bytes) -> None:
        """Write down what is shown, before it is shown; a slow disk holds the terminal back."""
        self._room.clear()
        if shown and not witness.shown(shown):
            await self._room.wait()
