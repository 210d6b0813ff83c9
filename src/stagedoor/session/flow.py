"""The one story that every way in tells.

    parse → authenticate → authorise → ensure → audit.open → connect → relay → audit.close

Each step takes what the step before it proved. A listener brings the words of its protocol in (the
name, the credential) and carries the outcome back (a `Door`); it cannot start in the middle, since
only this file makes the proofs.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from stagedoor.model.credential import Credential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.session import End, Ended, Opened, Ready
from stagedoor.model.shell import StartStep
from stagedoor.model.target import Target
from stagedoor.relay.ports import Stream
from stagedoor.session.connect import Connector
from stagedoor.session.line import Line, denied_line, ended_line
from stagedoor.session.ports import Authenticator, Authoriser, Comer, Door, Ledger
from stagedoor.session.registry import Registry
from stagedoor.shells.ports import Shells
from stagedoor.wire.target import parse_target

ASKED = StartStep("asked for")


@dataclass(frozen=True, slots=True)
class Flow:
    """The stages, and the two halves of the story: `enter` and, when the relay is over, `leave`.

    `now` gives seconds since the epoch; `write_line` writes a log line from any thread.
    """

    authenticator: Authenticator
    authoriser: Authoriser
    shells: Shells
    ledger: Ledger
    connector: Connector
    registry: Registry
    now: Callable[[], float]
    write_line: Callable[[Line], None]
    start_timeout_s: float

    async def enter(self, host: str, port: str, credential: Credential | None, door: Door) -> None:
        """Let somebody in, or tell them why not. Returns once the relay runs or the door is shut."""
        target = parse_target(host, port)
        if isinstance(target, Denial):
            return await self.refuse(target, door)
        identity = await self.authenticator.authenticate(credential, door.source)
        if isinstance(identity, Denial):
            return await self.refuse(identity, door, target=target)
        return await self.enter_as(identity, target, door)

    async def enter_as(self, identity: Identity, target: Target, door: Door) -> None:
        """The same for a listener whose downstream has authenticated already (SSH, the web)."""
        grant = self.authoriser.authorise(identity, target)
        if isinstance(grant, Denial):
            return await self.refuse(grant, door, identity, target)
        return await self.enter_by(grant, door)

    async def enter_by(self, grant: Grant, door: Door, *, start: bool = True) -> None:
        """The same for who has his grant already. With `start` False, and for guests, a shell that
        does not run is not started."""
        identity, target = grant.identity, grant.target
        if start and grant.guest is None:
            ready = await self._ensure(grant, door)
        else:
            ready = await self._find(grant, door)
        if isinstance(ready, Denial):
            return await self.refuse(ready, door, identity, target)
        opened = await self.ledger.open(ready, door.way, door.source)
        if isinstance(opened, Denial):
            return await self.refuse(opened, door, identity, target)
        return await self._relay(opened, door)

    async def _ensure(self, grant: Grant, door: Door) -> Ready | Denial:
        """The shell, held for while it starts; and the grant again, which may be gone by then."""
        last = ASKED

        def progress(step: StartStep) -> None:
            nonlocal last
            last = step
            door.progress(step)

        try:
            async with asyncio.timeout(self.start_timeout_s):
                shell = await self.shells.ensure(grant, progress)
        except TimeoutError:
            return Denial(
                Reason.START_TIMEOUT,
                f"the shell {grant.target.shell_name} was not ready after {self.start_timeout_s:g} s "
                f"(last step: {last.name}{': ' if last.detail else ''}{last.detail})",
                retry_after_s=5,
            )
        if isinstance(shell, Denial):
            return shell
        still = self.authoriser.again(grant)
        return still if isinstance(still, Denial) else Ready(still, shell)

    async def _find(self, grant: Grant, door: Door) -> Ready | Denial:
        """The shell as it runs. Who only looks is let to it by his host's right to be there."""
        found = await self.shells.resolve(grant.target)
        if found is None:
            return Denial(
                Reason.SHELL_UNAVAILABLE, f"the shell {grant.target.shell_name} does not run now"
            )
        if grant.guest is not None and not grant.guest.may_type:
            still = self.authoriser.again(grant)
            return still if isinstance(still, Denial) else Ready(still, found)
        return await self._ensure(grant, door)

    async def _relay(self, opened: Opened, door: Door) -> None:
        """From the durable record to the running relay; every way out of here closes the record."""
        leave = _Exit(self, opened)
        self.shells.touch(opened.ready.grant.target)
        self.registry.take_seat(opened)
        reached: Stream | Denial | None = None
        try:
            reached = await self.connector.connect(opened)
            if not isinstance(reached, Denial):
                link = await door.open(opened, reached, leave)
        except BaseException as error:
            if reached is not None and not isinstance(reached, Denial):
                reached.abort()
            if isinstance(error, asyncio.CancelledError):
                leave(Ended(End.UNREACHED, detail="the gateway stopped"))
                raise
            if not isinstance(error, OSError):
                leave(Ended(End.FAULT, detail="a fault in the gateway; its log has more"))
                raise
            return leave(Ended(End.UNREACHED, detail="the developer's side hung up"))
        if isinstance(reached, Denial):
            leave(Ended(End.UNREACHED, detail=reached.message))
            return await door.refuse(reached)
        return self.registry.seat(opened, link)

    def leave(self, opened: Opened, ended: Ended) -> None:
        """The relay is over, in whatever thread it ran."""
        try:
            self.ledger.close(opened, ended)
            self.shells.release(opened.ready.grant.target)
            self.write_line(ended_line(opened, ended, self.now()))
        finally:
            # Last: a gateway that stops waits until nobody is in, and then closes what records.
            self.registry.leave(opened)

    async def refuse(
        self,
        denial: Denial,
        door: Door,
        identity: Identity | None = None,
        target: Target | None = None,
    ) -> None:
        """Write a denial down and tell it; by itself for what a listener could not even read."""
        self.write_down(denial, door, identity, target)
        await door.refuse(denial)

    def write_down(
        self,
        denial: Denial,
        comer: Comer,
        identity: Identity | None = None,
        target: Target | None = None,
    ) -> None:
        """Only write it down: for a downstream that is not to be waited for, or is answered by its
        listener."""
        name = identity.name if identity else None
        self.ledger.deny(denial, comer.way, comer.source, identity=name, target=target)
        self.write_line(denied_line(denial, comer.way, comer.source, name, target))


class _Exit:
    """What the relay calls when it is over: `leave` of this session.

    Thousands of idle sessions hold one each; a `functools.partial` would be five times as large.
    """

    __slots__ = ("_flow", "_opened")

    def __init__(self, flow: Flow, opened: Opened) -> None:
        self._flow = flow
        self._opened = opened

    def __call__(self, ended: Ended) -> None:
        self._flow.leave(self._opened, ended)
