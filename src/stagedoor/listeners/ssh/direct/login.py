"""Direct login: SSH ends here, and goes on to the shell over a second SSH connection.

For tools that know no jump: `ssh app01@gateway`. All channels of a developer's connection share one
session in the flow and one connection to the shell. What they carry is seen here, which is what
makes recordings possible; a jump stays end to end and cannot be seen.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncssh

from stagedoor.listeners.shell_session import SessionEndedError, ShellLogin, shell_session
from stagedoor.listeners.ssh.direct.channel import DirectSession
from stagedoor.listeners.ssh.direct.forward import Forward
from stagedoor.listeners.ssh.direct.rights import RightsOf, certificate_extensions, is_loopback
from stagedoor.listeners.ssh.direct.session import RefusedError, ShellWatch, Stay
from stagedoor.listeners.ssh.seam import AGENT_FORWARDING, PORT_FORWARDING, Login
from stagedoor.model.denial import Denial
from stagedoor.model.session import End, Origin, Way
from stagedoor.model.shell import StartStep
from stagedoor.recording.plan import RecordingPlan
from stagedoor.recording.recorder import Recording, RecordingError
from stagedoor.recording.witness import Asked, Note, Witness, header
from stagedoor.session.flow import Entered
from stagedoor.upstream.login import UnreachedError, Upstream

PATIENT_S = 2.0
"""A terminal that waits longer than this is told what for."""
HUNG_UP = "the developer's side hung up"


@dataclass(eq=False, slots=True)
class _Visit:
    """One connection of a developer. Several stays may follow each other in it."""

    login: Login
    stay: Stay | None = None
    entering: asyncio.Future[Stay] | None = None
    sessions: set[DirectSession] = field(default_factory=set)
    agent_refused: bool = False
    gone: bool = False


class Direct:
    """Satisfies `seam.DirectLogin` and `direct_session.House`. Belongs to one event loop.

    `plan` is None where nothing can be recorded. `environment_patterns` are names of variables that
    are carried on, as in sshd's AcceptEnv. A session that moves no byte for `idle_timeout_s` is
    closed; None: never. `now` is seconds since the epoch.
    """

    def __init__(
        self,
        upstream: Upstream,
        rights_of: RightsOf,
        note: Note,
        *,
        plan: RecordingPlan | None = None,
        environment_patterns: tuple[str, ...] = ("LANG", "LC_*", "COLORTERM"),
        idle_timeout_s: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.environment_patterns = environment_patterns
        self._upstream = upstream
        self._rights_of = rights_of
        self._note = note
        self._plan = plan
        self._idle_timeout_s = idle_timeout_s
        self._now = now
        self._visits: dict[Login, _Visit] = {}
        self._serving: set[asyncio.Task[None]] = set()

    # What the listener asks for (`seam.DirectLogin`).

    def session(self, login: Login) -> DirectSession:
        session = DirectSession(self, login)
        self._visit(login).sessions.add(session)
        return session

    async def forward(self, login: Login, host: str, port: int) -> asyncssh.SSHTCPSession[bytes]:
        if not is_loopback(host):
            raise _prohibited(
                f"{login.target} forwards to its own loopback only (localhost), not to {host[:100]!r}"
            )
        if PORT_FORWARDING not in login.permits:
            raise _prohibited("your certificate permits no port forwarding")
        if login.draining:
            raise _prohibited("the gateway is stopping; try again in a moment")
        try:
            stay = await self._enter(self._visit(login))
        except RefusedError as error:
            raise _prohibited(str(error)) from None
        if not stay.rights.local_forward:
            raise _prohibited(
                f"port forwarding into {login.target} is not granted (ssh.local_forward in the "
                "gateway's settings)"
            )
        asked = Asked("forward", f"{host}:{port}")
        forward = Forward(stay, stay.session.audit_channel(asked))
        await forward.open(host, port)
        return forward.near

    async def agent(self, login: Login) -> bool:
        if AGENT_FORWARDING not in login.permits:
            return False
        visit = self._visit(login)
        try:
            stay = await self._enter(visit)
        except RefusedError:
            return False  # the session that is asked for next says why
        visit.agent_refused = not stay.rights.agent_forward
        return stay.rights.agent_forward

    def entering(self, login: Login) -> int:
        visit = self._visits.get(login)
        return int(visit is not None and visit.entering is not None)

    def warn(self, login: Login, line: str) -> None:
        visit = self._visits.get(login)
        for session in tuple(visit.sessions) if visit else ():
            if session.has_terminal:
                session.say(line)

    def leave(self, login: Login, detail: str) -> None:
        visit = self._visits.get(login)
        if visit is not None and visit.stay is not None:
            visit.stay.put_out(End.REVOKED, detail)

    def ended(self, login: Login) -> None:
        visit = self._visits.pop(login, None)
        if visit is None:
            return
        visit.gone = True
        if visit.stay is not None:
            lost = visit.stay.downstream_lost
            visit.stay.finish(End.DOWNSTREAM_LOST if lost else End.CLOSED)

    # What a session asks for (`direct_session.House`).

    async def enter(self, login: Login, session: DirectSession) -> Stay:
        return await self._enter(self._visit(login))

    async def witness(self, stay: Stay, asked: Asked, session: DirectSession) -> Witness:
        number = stay.session.next_channel()
        recording = None
        if asked.is_watched and stay.rights.recorded:
            recording = await self._recording(stay, number, asked, session)
        record_input = self._plan is not None and self._plan.record_input
        return stay.session.audit_channel(asked, number, recording, record_input=record_input)

    def agent_refused(self, login: Login) -> bool:
        return self._visit(login).agent_refused

    def left(self, login: Login, session: DirectSession) -> None:
        visit = self._visits.get(login)
        if visit is not None:
            visit.sessions.discard(session)

    async def _recording(
        self, stay: Stay, number: int, asked: Asked, session: DirectSession
    ) -> Recording | None:
        plan = self._plan
        assert plan is not None, "nobody has to be recorded where nothing can be"

        def on_failure(why: str) -> None:
            # The recorder has written it to the audit and the log.
            session.recording_has_room()
            if not plan.go_on:
                detail = f"this session cannot be recorded any more ({why})"
                stay.session.close_soon(End.UNRECORDED, detail)

        try:
            recording = await plan.recorder.begin(
                stay.session.opened,
                number,
                header(stay.session.opened, number, asked, self._now()),
                on_room=session.recording_has_room,
                on_failure=on_failure,
            )
        except RecordingError as error:
            if plan.go_on:
                return None
            raise RefusedError(
                f"this session has to be recorded and cannot be ({error}); tell an administrator"
            ) from None
        if plan.notice:
            session.say("stagedoor: this session is recorded")
        return recording

    # One session in the flow for each connection.

    def _visit(self, login: Login) -> _Visit:
        visit = self._visits.get(login)
        if visit is None:
            visit = _Visit(login)
            if login.connection.is_closed():
                visit.gone = True  # what it asked for is served after it went: `ended` came before
            else:
                self._visits[login] = visit
        return visit

    async def _enter(self, visit: _Visit) -> Stay:
        if visit.gone:
            raise RefusedError(HUNG_UP)
        if visit.stay is not None and not visit.stay.over:
            return visit.stay
        if visit.entering is None:
            visit.entering = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._serve(visit, visit.entering))
            self._serving.add(task)
            task.add_done_callback(self._served)
        # Shielded: a channel that is closed meanwhile leaves the entering to the others.
        return await asyncio.shield(visit.entering)

    async def _serve(self, visit: _Visit, entering: "asyncio.Future[Stay]") -> None:
        """The whole of one session; `entering` has it, or why there is none."""
        try:
            await self._enter_and_stay(visit, entering)
        except (UnreachedError, RefusedError, ConnectionResetError) as error:
            _refuse(entering, str(error))
        except SessionEndedError:
            _refuse(entering, "the session was ended before it began")
        except BaseException:
            _refuse(entering, "a fault in the gateway; its log has more")
            raise
        finally:
            if visit.entering is entering:
                visit.entering = None

    async def _enter_and_stay(self, visit: _Visit, entering: "asyncio.Future[Stay]") -> None:
        login = visit.login
        assert login.target is not None, "the listener hands over logins with a target only"
        progress = _Progress(lambda line: self.warn(login, f"stagedoor: {login.target}: {line}"))
        try:
            entered = await login.flow.enter(
                login.identity, login.target, Origin(Way.DIRECT, login.source), progress.step
            )
            if isinstance(entered, Denial):
                raise RefusedError(entered.message)
            await self._stay(visit, entered, entering, progress)
        finally:
            progress.stop()

    async def _stay(
        self,
        visit: _Visit,
        entered: Entered,
        entering: "asyncio.Future[Stay]",
        progress: "_Progress",
    ) -> None:
        login = visit.login
        with entered.handing_over():
            if visit.gone:
                raise ConnectionResetError(HUNG_UP)
            rights = self._rights_of(entered.grant)
        watch = ShellWatch()
        shell_login = ShellLogin(
            self._upstream,
            self._note,
            certificate_extensions(rights, login.permits),
            lambda: watch,
        )
        async with shell_session(entered, shell_login) as session:
            if visit.gone:
                session.end_as(End.UNREACHED, HUNG_UP)
                raise RefusedError(HUNG_UP)
            visit.stay = stay = Stay(login, session, rights)
            watch.tell(stay.shell_lost)
            if self._idle_timeout_s is not None:
                stay.watch_idle(self._idle_timeout_s)
            visit.entering = None
            progress.stop()
            entering.set_result(stay)
            await stay.until_over()

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._serving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a login was dropped by a fault of ours", "exception": error}
            )


def _refuse(entering: "asyncio.Future[Stay]", why: str) -> None:
    if not entering.done():
        entering.set_exception(RefusedError(why))
        entering.exception()  # a refusal that nobody waits for any more is no fault to log


class _Progress:
    """Tells `tell` of a start's steps, once somebody has waited for PATIENT_S."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._last = StartStep("starting")
        self._loop = asyncio.get_running_loop()
        self._patient_until = self._loop.time() + PATIENT_S
        self._waiting = self._loop.call_at(self._patient_until, self._say)

    def step(self, step: StartStep) -> None:
        self._last = step
        if self._loop.time() >= self._patient_until:
            self._say()

    def stop(self) -> None:
        self._waiting.cancel()

    def _say(self) -> None:
        step = self._last
        self._tell(f"{step.name}{': ' if step.detail else ''}{step.detail}")


def _prohibited(why: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, why)
