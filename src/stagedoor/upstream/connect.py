"""The TCP connection to a shell: look up the host, filter its addresses, dial."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.model.source import Address
from stagedoor.model.target import Target
from stagedoor.relay.ports import Stream
from stagedoor.shells.address import filter_addresses

PROBE_TIMEOUT_S = 1.0
"""Short, because a page waits for the result."""
PROBE_AGAIN_S = 10.0
"""How long a probe's result is reused. sshd counts each probe as a connection that did not log in, with a
`PerSourcePenalties` of one second, so ten workers that probe at this interval incur no penalty."""
DIAL_TIMEOUT_S = 5.0
"""The time limit for the TCP connection to a shell: shorter than clients wait, and ample for a cluster's
network."""
ENDPOINT_TIMEOUT_S = 1.0
"""The time limit for the endpoint of a new tunnel: short, because the login can continue without the
endpoint, and the shell's sshd has just answered."""
FIRST_TRY_S = 0.5
"""The time for the first try of a shell that the gateway started, which may have moved; each further try gets
twice the time of the one before. In between, the gateway looks up the shell's address."""
Resolve = Callable[[str], Awaitable[tuple[Address, ...]]]
"""Returns the addresses of a host name (`net.resolve.Resolver.resolve`). Raises OSError if it has none."""
DialAddresses = Callable[[tuple[Address, ...], int, float], Awaitable[Stream]]
"""Connects to a port of the first address that answers, within a number of seconds (`net.dial.Dialer.dial`).

Raises TimeoutError or another OSError if none does.
"""
RETRY_PAUSE_S = 0.2
"""The pause before a shell that the gateway started is looked up again, after its address did not answer."""


@dataclass(frozen=True, slots=True)
class TcpConnector:
    """The connector of the gateway to shells, as `session.ports.Connector`.

    It resolves a host once, filters the addresses, and dials only those that passed: a second look-up could
    return others. `is_gateway` returns whether an address and port are this gateway's own listener. `find`
    returns the current address of a shell that the gateway started (`Shells.resolve`), whose pod may be
    replaced between being ready and being dialled. Without `find`, only the known address is dialled.
    """

    resolve: Resolve
    dial: DialAddresses
    is_gateway: Callable[[Address, int], bool]
    dial_timeout_s: float = DIAL_TIMEOUT_S
    find: Callable[[Target], Awaitable[Shell | None]] | None = None
    _probes: dict[Target, tuple[float, bool | asyncio.Task[bool]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    async def is_answering(self, shell: Shell) -> bool:
        """Return whether the shell accepts a connection, or has accepted one in the last `PROBE_AGAIN_S`.

        All callers share one connection, which is closed at once. Connecting a session counts as a
        probe, whether it succeeds or fails.
        """
        now = asyncio.get_running_loop().time()
        at, result = self._probes.get(shell.target, (0.0, None))
        if result is None or now - at >= PROBE_AGAIN_S:
            result = asyncio.create_task(self._probe(shell))
            self._probes[shell.target] = (now, result)
        return result if isinstance(result, bool) else await asyncio.shield(result)

    async def _probe(self, shell: Shell) -> bool:
        stream = await self._try(shell, PROBE_TIMEOUT_S)
        if isinstance(stream, Denial):
            return False
        stream.close()
        return True

    async def connect(self, ready: ReadyShell) -> Stream | Denial:
        """Connect to the shell's sshd within `dial_timeout_s`, or return why it could not be reached."""
        shell = ready.shell
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.dial_timeout_s
        find = self.find if shell.started_by_us else None
        try_s = FIRST_TRY_S if find is not None else self.dial_timeout_s
        while True:
            reached = await self._try(shell, min(try_s, deadline - loop.time()), began)
            self._probes[shell.target] = (loop.time(), not isinstance(reached, Denial))
            if not isinstance(reached, Denial) or find is None:
                return reached
            try_s *= 2
            if reached.reason is Reason.ADDRESS_NOT_ALLOWED:
                return reached
            await asyncio.sleep(RETRY_PAUSE_S)
            left_s = deadline - loop.time()
            if left_s <= 0:
                return reached
            try:
                async with asyncio.timeout(left_s):
                    shell = await find(shell.target) or shell
            except TimeoutError:
                return reached

    async def connect_endpoint(self, shell: Shell, *, is_required: bool) -> Stream | Denial:
        """Connect to the endpoint of resumable tunnels beside the shell's sshd, or return why not.

        A tunnel that is resumed requires it, and gets as much time as for a shell.
        """
        assert shell.resume_port is not None, "only a shell with an endpoint is asked for it"
        timeout_s = self.dial_timeout_s if is_required else ENDPOINT_TIMEOUT_S
        return await self._try(replace(shell, port=shell.resume_port), timeout_s)

    async def _try(
        self, shell: Shell, timeout_s: float, began: float | None = None
    ) -> Stream | Denial:
        """Dial for up to `timeout_s` seconds. A timeout names the time since `began`, by default now."""
        loop = asyncio.get_running_loop()
        began = loop.time() if began is None else began
        try:
            addresses = (
                (ip_address(shell.host),) if shell.started_by_us else await self.resolve(shell.host)
            )
        except OSError as error:
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the host name of the shell {shell.target.shell_name} has no address: "
                f"{error.strerror or error}",
                retry_after_s=5,
            )
        candidates = tuple(
            address
            for address in filter_addresses(addresses, shell)
            if not self.is_gateway(address, shell.port)
        )
        if not candidates:
            return Denial.with_fix(
                Reason.ADDRESS_NOT_ALLOWED,
                f"the shell {shell.target.shell_name} has no address that may be reached",
                "an administrator can allow its network with `networks` in its [[shells.static]] entry",
                "ask an administrator to add its network to the networks that may be reached",
            )
        try:
            return await self.dial(candidates, shell.port, timeout_s)
        except TimeoutError:
            return Denial(
                Reason.UPSTREAM_TIMEOUT,
                f"the shell {shell.target.shell_name} did not answer within "
                f"{round(loop.time() - began, 1):g} s",
            )
        except OSError as error:
            return Denial(
                Reason.UPSTREAM_REFUSED,
                f"the shell {shell.target.shell_name} could not be reached: {error.strerror or error}",
            )
