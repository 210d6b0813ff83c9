"""The choice of a resumable tunnel's endpoint: beside the shell's sshd, else on the gateway's machine."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import Opened
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.requests import EndpointTunnel, Watcher
from stagedoor.upstream.shell_endpoint import ShellEndpoints
from stagedoor.wire.http.connect import ResumeRequest

Dial = Callable[[Opened], Awaitable[Stream | Denial]]


@dataclass(frozen=True, slots=True)
class ResumeEndpoints:
    """The endpoints that a worker can reach: that on its machine, and those in shells (None: there are none).

    The one in a shell survives this gateway; the other one is for a shell that has none.
    """

    here: EndpointControl
    in_shells: ShellEndpoints | None

    async def enter(
        self, opened: Opened, dial: Dial, request: ResumeRequest, watcher: Watcher
    ) -> EndpointTunnel | Stream | Denial:
        """Open a tunnel, or return to one.

        Return a stream to the shell where a new tunnel must be a plain one. `dial` connects to the shell's
        sshd. Raises OSError.
        """
        grant = opened.ready.grant
        owner = f"{grant.identity.name} {grant.target.host_name}"
        if self.in_shells is not None:
            tunnel = await self.in_shells.enter(
                opened, dial, request.key, request.attempt, owner, watcher
            )
            if isinstance(tunnel, Denial) and tunnel.reason is not Reason.SESSION_OVER:
                return tunnel
            if isinstance(tunnel, EndpointTunnel):
                return tunnel
        if request.attempt:
            result = await self.here.resume(request.key, request.attempt, owner, watcher)
            return result if isinstance(result, Denial) else EndpointTunnel(self.here, *result)
        shell = await dial(opened)
        if isinstance(shell, Denial):
            return shell
        assert isinstance(shell, TcpStream), "shells are reached by plain TCP"
        try:
            result = await self.here.open(request.key, owner, shell, watcher)
        except OSError:
            return shell
        shell.close()
        return result if isinstance(result, Denial) else EndpointTunnel(self.here, *result)
