"""The choice of a resumable tunnel's endpoint: beside the shell's sshd, else on the gateway's machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.session import OpenedSession, ReadyShell
from stagedoor.model.source import Source
from stagedoor.net.tcp import TcpStream
from stagedoor.relay.ports import Stream
from stagedoor.resume.control import EndpointControl
from stagedoor.resume.requests import SessionRequest, StreamTicket, Watcher
from stagedoor.upstream.shell_endpoint import DialShell, ShellEndpoints
from stagedoor.wire.http.connect import ResumeRequest


@dataclass(frozen=True, slots=True)
class ResumeEndpoints:
    """The endpoints that a worker can reach: `local` on its machine, and those in shells.

    An endpoint in a shell outlives the gateway. `local` serves shells that have none; `in_shells` is None if
    all are such shells. `pack_identity` returns an identity as one word, by which another worker can judge
    it.
    """

    local: EndpointControl
    pack_identity: Callable[[Identity], str]
    in_shells: ShellEndpoints | None = None

    async def resume(
        self, ready: ReadyShell, request: ResumeRequest, watcher: Watcher
    ) -> StreamTicket | Denial:
        """Return a ticket for the session that a client resumes, or why there is none. Raises OSError."""
        key, attempt, owner = request.key, request.attempt, identify_owner(ready.grant)
        unavailable = None
        if self.in_shells is not None:
            ticket = await self.in_shells.resume(ready, key, attempt, owner, watcher)
            if isinstance(ticket, StreamTicket):
                return ticket
            if ticket is not None and ticket.reason is not Reason.SESSION_OVER:
                unavailable = ticket  # the session may be there, or local
        ticket = await self.local.resume(key, attempt, owner, watcher)
        return ticket if isinstance(ticket, StreamTicket) or unavailable is None else unavailable

    async def open(
        self, opened: OpenedSession, dial: DialShell, request: ResumeRequest, watcher: Watcher
    ) -> StreamTicket | Stream | Denial:
        """Open a session. Return a stream to the shell if only a plain tunnel is possible.

        `dial` connects to the shell's sshd.
        """
        grant = opened.ready.grant
        session = SessionRequest(opened.id, identify_owner(grant), "-", self.find_away_limit(grant))
        if self.in_shells is not None:
            ticket = await self.in_shells.open(opened, request.key, session, watcher)
            if isinstance(ticket, StreamTicket):
                return ticket
            if ticket is not None and ticket.reason is not Reason.SESSION_OVER:
                return ticket
        shell = await dial(opened.ready)
        if isinstance(shell, Denial):
            return shell
        assert isinstance(shell, TcpStream), "shells are reached by plain TCP"
        session = replace(session, note=self._note_of(opened))
        try:
            ticket = await self.local.open(request.key, session, shell, watcher)
        except TimeoutError:  # a slow endpoint may still read from this connection
            shell.close()
            return await dial(opened.ready)
        except OSError:
            return shell
        except BaseException:
            shell.close()
            raise
        shell.close()
        return ticket

    def find_away_limit(self, grant: Grant) -> float:
        """Return how many seconds a session of `grant` waits for its client; 0 if it cannot be resumed."""
        limit_s = self.local.away_limit_s
        return limit_s if grant.resume_s is None else min(limit_s, grant.resume_s)

    def _note_of(self, opened: OpenedSession) -> str:
        """Return what a worker needs to adopt the session, as one word."""
        source = opened.source
        return f"{source.address}/{source.port};{self.pack_identity(opened.ready.grant.identity)}"


def identify_owner(grant: Grant) -> str:
    """Return the words by which an endpoint recognises the user who may resume a session."""
    return f"{grant.identity.name} {grant.target.host_name}"


def read_note(note: str) -> tuple[Source, str] | None:
    """Return a session's source and its packed identity; None if another version wrote the note."""
    source, _, identity = note.partition(";")
    host, _, port = source.rpartition("/")
    try:
        return Source.of(host, int(port)), identity
    except ValueError:
        return None
