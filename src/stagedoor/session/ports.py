"""The interfaces between the flow and other packages."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from stagedoor.model.access_request import AccessRequest, Offer
from stagedoor.model.denial import Denial
from stagedoor.model.event import EventKind
from stagedoor.model.grant import Grant
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission, Permissions
from stagedoor.model.run import Run, RunEnd, RunLog, RunOrder
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    EndReason,
    LoginOrigin,
    OpenedSession,
    ReadyShell,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import Shell
from stagedoor.model.source import Source
from stagedoor.model.target import Target
from stagedoor.relay.ports import Stream


class StepUps(Protocol):
    """Requests for a fresh proof by users who are not on one of our pages."""

    async def begin(self, identity: Identity, target: Target | str, source: Source) -> str | None:
        """Return how to give the proof, or None if the user cannot. The line must not be logged.

        `target` is what the proof is for, as an app or as text.
        """
        ...

    def count_waiting(self, identity: Identity) -> AbstractContextManager[bool]:
        """Count a wait for the proof for the length of a block. Yield False if too many are waiting."""
        ...


class AccessOffers(Protocol):
    """Access requests by the policy in memory."""

    def find_offer(self, identity: Identity, target: Target, needs: Permission) -> Offer | None:
        """Return what the user may ask for, by the policy in memory, or None."""
        ...

    def find(self, number: int) -> AccessRequest | None:
        """Return a request that is pending or approved, by the policy in memory, or None."""
        ...


class AccessRequests(Protocol):
    """Access requests by users who have no grant for a target."""

    @property
    def offers(self) -> AccessOffers:
        """Return what users may ask for."""
        ...

    async def make(
        self, identity: Identity, targets: Sequence[Target], reason: str, *, needs: Permissions
    ) -> AccessRequest | Denial:
        """Make a request for the permissions in `needs`, or join a pending request for the same."""
        ...

    async def begin(self, identity: Identity, number: int) -> Denial | None:
        """Start the clock of an approved request at the first entry. A denial refuses the entry."""
        ...

    async def explain_end(self, number: int) -> Denial:
        """Return why a request that was pending now gives no access."""
        ...

    def count_waiting(self, identity: Identity) -> AbstractContextManager[bool]:
        """Count a wait for the length of a block. Yield False if too many are waiting."""
        ...


class PolicyReader(Protocol):
    """The policy in memory, which may be older than that in the store."""

    @property
    def version(self) -> int:
        """Return the version of the policy in memory."""
        ...

    @property
    def is_unavailable(self) -> bool:
        """Return whether logins are refused because the store has been out of reach for too long."""
        ...

    def find_language(self, name: str) -> str | None:
        """Return the language that the user `name` has chosen, or None."""
        ...

    async def read_newer_than(self, version: int) -> bool:
        """Read the store, and return whether the policy in memory is now newer than `version`."""
        ...

    async def wait_for_change(self, version: int, within_s: float) -> bool:
        """Return True once the policy in memory is newer than `version`, False after `within_s` seconds.

        Meanwhile the store is read so often that a person notices no delay.
        """
        ...


class Ledger(Protocol):
    """The audit stage. All but `open` may be called from any thread and never block."""

    async def open(
        self,
        ready: ReadyShell,
        access_method: AccessMethod,
        source: Source,
        earlier: ResumedSession | None = None,
    ) -> OpenedSession | Denial:
        """Open a session in the audit, or continue an `earlier` one. It is durable when this returns."""
        ...

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        """Note that a session continues elsewhere, where the audit of it continues."""
        ...

    def return_session(self, opened: OpenedSession, why: str) -> None:
        """Return a session to the process that had it, after a login that failed to resume it for `why`."""
        ...

    async def wait_for_writes(self) -> None:
        """Wait, but not for long, until everything so far is in the audit."""
        ...

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        """End a session in the audit."""
        ...

    def record_denial(
        self,
        denial: Denial,
        access_method: AccessMethod,
        source: Source,
        *,
        identity: str | None = None,
        target: Target | None = None,
    ) -> None:
        """Record a refused login in the audit."""
        ...


class Connector(Protocol):
    """The connector to shells."""

    async def connect(self, ready: ReadyShell) -> Stream | Denial:
        """Connect to the shell of a session, or return why it could not be reached."""
        ...

    async def is_answering(self, shell: Shell) -> bool:
        """Return whether the shell accepts connections now, or did some seconds ago."""
        ...


class ResumableConnector(Protocol):
    """Connects sessions so that clients can resume them, in place of the `Connector`."""

    async def find_earlier(self, ready: ReadyShell) -> ResumedSession | Denial | None:
        """Return the session that the client resumes, or None if it opens a new one."""
        ...

    async def connect(
        self, opened: OpenedSession, dial: Callable[[ReadyShell], Awaitable[Stream | Denial]]
    ) -> Stream | Denial:
        """Return a stream to the shell, or why there is none. `dial` connects to the shell."""
        ...

    def find_earlier_end(self, before: Counts) -> SessionResult | None:
        """Return the end of the earlier session if it is known to have ended, or None.

        `before` are the bytes that it is known to have moved.
        """
        ...


class RunRecords(Protocol):
    """The durable records of runs. When a method returns, its change is in the audit."""

    async def add(
        self,
        run_id: str,
        order: RunOrder,
        starter: str,
        origin: LoginOrigin,
        *,
        awaits_input: bool = False,
        is_recorded: bool = False,
    ) -> Run | Denial:
        """Record a run that starts now, or refuse it because of a limit or its lock.

        If `awaits_input`, the run starts with `take_input`.
        """
        ...

    async def add_input(self, run_id: str, at: int, data: bytes) -> int | Denial | None:
        """Add input, whose first byte has the offset `at`, to a run that waits for it. Return its size.

        Return None if the run does not wait. Input that is too long or leaves a gap is not added.
        """
        ...

    async def take_input(self, run_id: str, size: int) -> tuple[Run, bytes] | Denial | None:
        """Start a run whose input is complete with `size` bytes, and return both; None if it is not."""
        ...

    async def mark_running(self, run_id: str) -> bool | Denial:
        """Record that a task runs. Return False if its run is recorded as ended."""
        ...

    async def end(self, run_id: str, end: RunEnd, log: RunLog) -> Run | Denial | None:
        """Record the end of a run, and return the run; None if it had ended."""
        ...

    async def note(
        self, kind: EventKind, run: Run, name: str, origin: LoginOrigin
    ) -> Denial | None:
        """Record that the user `name` cancels or views a run."""
        ...

    async def find(self, prefix: str) -> Sequence[Run] | Denial:
        """Return the runs whose id begins with `prefix`, two at most."""
        ...

    async def list_runs(self, is_shown: Callable[[Target], bool]) -> Sequence[Run] | Denial:
        """Return the runs of the apps that are shown, the newest first. `is_shown` is called in a thread."""
        ...

    async def read_log(self, run_id: str) -> RunLog | Denial:
        """Return the kept part of the log of a run that has ended."""
        ...

    async def find_lost(self) -> Sequence[tuple[Run, RunEnd]] | Denial:
        """Return the runs that are lost by now, each with its end."""
        ...

    async def forget_old(self) -> set[str] | Denial:
        """Remove old runs, and return the ids of the remaining ones."""
        ...


class RelayHandle(Protocol):
    """A running relay, as the registry sees it. All methods may be called from any thread."""

    def read_counts(self) -> Counts:
        """Return the bytes relayed so far."""
        ...

    def change_grant(self, grant: Grant) -> None:
        """Apply `grant`, whose permissions, end or limits differ from the earlier ones."""
        ...

    def request_end(self, end: EndReason, detail: str = "") -> None:
        """Ask the relay to end, with this end."""
        ...


class SessionOwner(Protocol):
    """The part of the flow that an open session needs. Any thread may call the methods; none blocks."""

    def attach(self, opened: OpenedSession, handle: RelayHandle) -> None:
        """Ask `handle` to end when the session must end, which may be at once."""
        ...

    def close_session(self, opened: OpenedSession, ended: SessionResult) -> None:
        """End the session in the audit. Called exactly once, unless `release` is."""
        ...

    def release(self, opened: OpenedSession, counts: Counts) -> None:
        """Stop carrying the session here: it continues over another connection or in another process."""
        ...
