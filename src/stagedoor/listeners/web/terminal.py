"""One visit to a terminal: let in by the flow, recorded if it has to be, and carried until it is over."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import asyncssh

from stagedoor.listeners.web.backstage import Backstage
from stagedoor.listeners.web.carry import LAST_WORDS_S, Carrier
from stagedoor.listeners.web.guests import for_holder, held_to
from stagedoor.listeners.web.wire import GoneError, Wire
from stagedoor.model.denial import Denial, Reason
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
from stagedoor.wire.terminal import Hello, Mode, Notice, Word

_PTY = "permit-pty"


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
        self._room = asyncio.Event()
        self._carrier: Carrier | None = None
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
        arriving = asyncio.create_task(self._arrive(opened))
        if self._guest or self._hello.mode is Mode.WATCH:
            # Whoever works there knows of one who looks on before that one sees a thing.
            unseen = await arriving
            if unseen is not None:
                upstream.abort()
                return self._not_carried(unseen.message, on_end)
        try:
            witness = await self._witness_of(opened)
        except RecordingError as error:
            upstream.abort()
            return self._not_carried(
                f"this terminal has to be recorded and cannot be ({error}); tell an administrator",
                on_end,
            )
        try:
            shell = await self._backstage.log_in(grant, upstream, [_PTY])
        except BaseException as error:
            witness.ended(None, 0, 0)
            if isinstance(error, UnreachedError):
                return self._not_carried(str(error), on_end)
            raise
        unseen = await arriving
        if unseen is not None and unseen.reason is Reason.OVERLOADED:
            shell.close()
            witness.ended(None, 0, 0)
            return self._not_carried(unseen.message, on_end)
        self.place = (opened.id, str(grant.target), self._hello.terminal)
        self._changed()
        self._carrier = Carrier(
            self._wire,
            grant.target.shell_name,
            for_holder(self._hello, grant),
            witness,
            self._room,
            joins=self._guest or self._hello.mode is Mode.WATCH,
            looks=self._looks,
        )
        self._carrying = asyncio.create_task(self._carry(self._carrier, shell, holder, on_end))
        if self._end is not None:
            self._carrying.cancel()  # told to end before it had begun
        return self

    async def _arrive(self, opened: Opened) -> Denial | None:
        grant, hello = opened.ready.grant, self._hello
        return await self._backstage.company.arrive(
            opened.id,
            grant.target,
            hello.terminal,
            looks=hello.mode is Mode.WATCH,
            share=grant.guest.share if grant.guest else None,
        )

    # What the flow asks for: a link.

    def counts(self) -> Counts:
        carrier = self._carrier
        return Counts(carrier.sent, carrier.received) if carrier is not None else Counts()

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
        carrier: Carrier,
        shell: asyncssh.SSHClientConnection,
        holder: Sequence[str],
        on_end: OnEnd,
    ) -> None:
        """Until one side is gone, or the flow says so; `on_end` is called on every way out."""
        end, detail = End.FAULT, "a fault in the gateway; its log has more"
        try:
            end, detail = await carrier.carry(shell, holder)
        except asyncio.CancelledError:
            end, detail = self._end or (End.DRAINED, "the gateway is stopping")
            word = Word.DETACHED if end is End.DRAINED else Word.REVOKED
            with suppress(GoneError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._wire.say(Notice(word, detail or end.value))
        finally:
            shell.close()
            code = carrier.exit.code if carrier.exit else None
            carrier.witness.ended(code, carrier.sent, carrier.received)
            on_end(Ended(end, self.counts(), detail))
            self._part()

    def _part(self) -> None:
        if self.place is None:
            return
        leaving = self._loop.create_task(self._backstage.company.leave(self.place[0]))
        self._telling.add(leaving)
        leaving.add_done_callback(self._telling.discard)
        leaving.add_done_callback(lambda _: self._changed())
