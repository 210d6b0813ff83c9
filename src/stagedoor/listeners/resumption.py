"""A CONNECT that may be resumed: its session goes on while its client is away.

`Resumption` takes the place of the connection to the shell: the endpoint keeps that, and the relay gets a
stream to the endpoint. The session is open in the audit, and in the registry, until the client comes back
over another connection, which is another session, or until the tunnel has ended.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from stagedoor.listeners.resume_endpoints import Dial, ResumeEndpoints
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.session import Counts, End, Ended, Opened
from stagedoor.relay.ports import Stream
from stagedoor.relay.tunnel import Tunnel
from stagedoor.resume.messages import AWAY, CLOSED, IDLE
from stagedoor.resume.requests import Control, EndpointTunnel
from stagedoor.session.entered import Entered
from stagedoor.wire.http.connect import ResumeRequest


class Resumption:
    """One connection of a resumable tunnel, as `session.ports.Link`.

    It belongs to one event loop, but for the methods of `Link`, which any thread may call.
    """

    def __init__(self, endpoints: ResumeEndpoints, request: ResumeRequest) -> None:
        self.is_resumable = False
        """Whether the client gets frames. If there is no endpoint, a new tunnel is a plain one."""
        self._endpoints = endpoints
        self._control: Control | None = None
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._entered: Entered | None = None
        self._tunnel: Tunnel | None = None
        self._counts = Counts()
        self._end: tuple[End, str] | None = None
        """How the session must end, for a reason of the gateway's."""
        self._is_over = False

    async def reach(self, opened: Opened, dial: Dial) -> Stream | Denial:
        """Return a stream to the endpoint, or as a plain tunnel to the shell, or why there is none.

        `dial` connects to the shell.
        """
        try:
            tunnel = await self._endpoints.enter(opened, dial, self._request, self)
        except OSError as error:
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the session cannot be resumed now: {error.strerror or error}",
            )
        if not isinstance(tunnel, EndpointTunnel):
            return tunnel
        self._control, self._number = tunnel.control, tunnel.number
        self.is_resumable = True
        return tunnel.stream

    def carry(self, entered: Entered, start: Callable[[Callable[[Ended], None]], Tunnel]) -> None:
        """Take the session over. `start` starts the relay, and is given what to call at its end."""
        self._tunnel = start(self._relay_ended)
        self._entered = entered
        if self._is_over:  # meanwhile
            self._leave()

    # For the flow (`session.ports.Link`).

    def counts(self) -> Counts:
        """Return the bytes relayed so far, frames included."""
        return self._tunnel.counts() if self._tunnel is not None else self._counts

    def change_grant(self, grant: Grant) -> None:
        """Do nothing: SSH goes end to end."""

    def close_session(self, end: End, detail: str = "") -> None:
        """End the session. If only this gateway stops, the tunnel goes on by another one."""
        with suppress(RuntimeError):  # the loop is closed, and everything with it
            self._loop.call_soon_threadsafe(self._close, end, detail)

    # In the event loop.

    def _close(self, end: End, detail: str) -> None:
        self._end = self._end or (end, detail)
        if end is End.DRAINED:
            self._finish(end, detail)
        elif self._control is not None:
            self._control.end(self._number, detail or end.value)

    def _relay_ended(self, ended: Ended) -> None:
        """Record that this connection of the client has ended. Called in the relay's thread."""
        self._counts = ended.counts
        if ended.end is End.DRAINED:
            self.close_session(ended.end, ended.detail)

    def moved(self) -> None:
        """End this session, which another one continues."""
        self._finish(End.RESUMED, "")

    def over(self, code: int, why: str) -> None:
        """End this session with the tunnel."""
        ends = {CLOSED: End.CLOSED, AWAY: End.DOWNSTREAM_LOST, IDLE: End.IDLE}
        end = ends.get(code, End.UPSTREAM_LOST)
        self._finish(end, why)

    def _finish(self, end: End, detail: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._end = self._end or (end, detail)
            if self._control is not None:
                self._control.forget(self._number)
            if self._entered is not None:
                self._leave()

    def _leave(self) -> None:
        assert self._entered is not None
        assert self._tunnel is not None
        assert self._end is not None
        counts = self.counts()
        self._tunnel.close_session(*self._end)
        self._entered.leave(Ended(self._end[0], counts, self._end[1]))
