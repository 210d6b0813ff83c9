"""From an opened session to a TCP connection to its shell, past the filter of addresses."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import Opened
from stagedoor.model.shell import Shell
from stagedoor.model.source import Address
from stagedoor.model.target import Target
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Dialer, Resolver
from stagedoor.shells.address import decide

LOOK_TIMEOUT_S = 1.0
"""A page waits for it."""
LOOK_AGAIN_S = 10.0
"""How long it counts that a shell answered. sshd counts each look as a connection that did not log in, with
one second of its `PerSourcePenalties`: so ten workers that look come to no penalty."""
DIAL_TIMEOUT_S = 5.0
"""The TCP connection to a shell must stand within this time: less than a client waits, and ample for a
cluster's network."""
AGAIN_S = 0.2
"""How soon a shell that we started is looked for again, where it was not at the address it had."""


@dataclass(frozen=True, slots=True)
class Connector:
    """Resolve once, filter every address, dial only what passed: a second look-up could lie.

    `is_gateway` says whether an address and port are this gateway's own listener. `find` says where a
    shell that we started is now (`Shells.resolve`): its pod may be replaced between being ready and
    being dialled. None: where it was is where it is.
    """

    resolver: Resolver
    dialer: Dialer
    is_gateway: Callable[[Address, int], bool]
    dial_timeout_s: float = DIAL_TIMEOUT_S
    find: Callable[[Target], Awaitable[Shell | None]] | None = None
    _looks: dict[Target, tuple[float, asyncio.Future[bool]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    async def answers(self, shell: Shell) -> bool:
        """Return whether the shell accepts a connection, or has accepted one in the last `LOOK_AGAIN_S`.

        Any number of callers cause one connection; it is closed at once. A session that was connected since
        counts as a look, and so does one that was refused.
        """
        now = asyncio.get_running_loop().time()
        at, look = self._looks.get(shell.target, (0.0, None))
        if look is None or now - at >= LOOK_AGAIN_S:
            look = asyncio.create_task(self._look(shell))
            self._looks[shell.target] = (now, look)
        return await asyncio.shield(look)

    def _note(self, shell: Shell, answers: bool) -> None:
        """Record what a session has found out, in place of a look."""
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[bool] = loop.create_future()
        seen.set_result(answers)
        self._looks[shell.target] = (loop.time(), seen)

    async def _look(self, shell: Shell) -> bool:
        stream = await self._try(shell, LOOK_TIMEOUT_S)
        if isinstance(stream, Denial):
            return False
        stream.close()
        return True

    async def connect(self, opened: Opened) -> Stream | Denial:
        """A stream to the shell's sshd, or why there is none after `dial_timeout_s`."""
        shell = opened.ready.shell
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.dial_timeout_s
        while True:
            reached = await self._try(shell, deadline - loop.time())
            self._note(shell, not isinstance(reached, Denial))
            if not isinstance(reached, Denial) or not shell.started_by_us or self.find is None:
                return reached
            if reached.reason is Reason.ADDRESS_NOT_ALLOWED:
                return reached
            await asyncio.sleep(AGAIN_S)
            left_s = deadline - loop.time()
            if left_s <= 0:
                return reached
            try:
                async with asyncio.timeout(left_s):
                    shell = await self.find(shell.target) or shell
            except TimeoutError:
                return reached

    async def _try(self, shell: Shell, timeout_s: float) -> Stream | Denial:
        name = shell.target.shell_name
        try:
            found = (
                (ip_address(shell.host),)
                if shell.started_by_us
                else await self.resolver.resolve(shell.host)
            )
        except OSError as error:
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the host name of the shell {name} has no address: {error.strerror or error}",
                retry_after_s=5,
            )
        allowed, _ = decide(found, shell)
        candidates = tuple(a for a in allowed if not self.is_gateway(a, shell.port))
        if not candidates:
            return Denial.with_mend(
                Reason.ADDRESS_NOT_ALLOWED,
                f"the shell {name} has no address that may be reached",
                "an administrator can allow its network with `networks` in its [[shells.static]] entry",
                "ask an administrator to add its network to the networks that may be reached",
            )
        try:
            return await self.dialer.dial(candidates, shell.port, timeout_s)
        except TimeoutError:
            return Denial(
                Reason.UPSTREAM_TIMEOUT,
                f"the shell {name} did not answer within {self.dial_timeout_s:g} s",
            )
        except OSError as error:
            return Denial(
                Reason.UPSTREAM_REFUSED,
                f"the shell {name} could not be reached: {error.strerror or error}",
            )
