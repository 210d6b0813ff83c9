"""The state of a direct login, which takes events and decides what to do. Pure.

A direct login is one connection of a developer (`ssh app01@gateway`). Its channels share one session in the
flow and one connection to the shell, which begin with the first request. If the shell hangs up, the next
request begins another session. `DirectLogin.handle_event` returns effects, which `driver.DirectDriver`
performs in order:

    a request: program, forward, agent    EnterShell; in a session StartChannel, or AnswerRequest
    SessionStarted                        StartChannel or AnswerRequest for the requests that wait
    StartReport; WaitTimeout              SendLine for the programs that wait
    EntryEnded                            a refusal for each of the requests that wait
    ChannelStarted                        ConnectChannel, and AnswerRequest for a forward
    ChannelStartFailed                    a refusal
    ShellChannelClosed                    DrainChannel
    Drained                               CloseChannel with the exit status
    ChannelClosed                         ReleaseChannel
    EndNotice; GatewayDrains              SendLine in the terminals
    PermissionChange                      refuse what is no longer granted, StopAgent, SendLine
    SessionEnded                          EndSession; by the gateway also SendLine, StopEntry, CloseConnection
    Interrupted                           CloseChannel, if its request waits
    Interrupted; ChannelClosed            StopEntry, if the last one that waits for a person has left
    ConnectionClosed                      EndSession, and ReleaseChannel for what is left

A program's channel is already open, so its refusal is SendLine and CloseChannel; for all others it is
AnswerRequest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stagedoor.listeners.ssh.direct import effects, events
from stagedoor.listeners.ssh.direct.phases import TRANSITIONS, ChannelPhase, ChannelStep
from stagedoor.model.certificate import AGENT_FORWARDING, PORT_FORWARDING
from stagedoor.model.permission import Permission, Permissions, make_permission_denial
from stagedoor.model.session import CONNECT_AGAIN, HUNG_UP, EndReason
from stagedoor.model.shell import ProgressStep
from stagedoor.model.source import is_loopback
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import ProgramExit
from stagedoor.session.person_wait import PERSON_STEPS, SHOWN_STEPS

INTERRUPTED_STATUS = 130
"""The exit status of a program that Ctrl-C ends, as a shell reports it: 128 and SIGINT's number."""
REFUSED_STATUS = 255
"""The exit status of a refused program, the same as ssh's own for errors."""


@dataclass(slots=True, eq=False)
class _Channel:
    request: events.Request
    phase: ChannelPhase = ChannelPhase.ENTERING
    session_number: int | None = None
    exit: ProgramExit = None

    @property
    def is_program(self) -> bool:
        return isinstance(self.request, events.ProgramRequest)

    @property
    def has_terminal(self) -> bool:
        request = self.request
        return isinstance(request, events.ProgramRequest) and request.program.terminal is not None

    def step(self, step: ChannelStep) -> ChannelPhase:
        """Move to the next phase by `step`, and return it."""
        self.phase = TRANSITIONS[self.phase, step]
        return self.phase


class DirectLogin:
    """The state of one direct login of the user `name` to `target`.

    `permitted_extensions` are those of the credential. `force_command` is the certificate's critical option
    (OpenSSH's PROTOCOL.certkeys): the command that runs whatever the client requests.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        permitted_extensions: frozenset[str],
        force_command: str | None = None,
    ) -> None:
        self.end_line: str | None = None
        """Why the login accepts nothing more: it was ended, or its connection is closed. Else None."""
        self._name = name
        self._target = target
        self._permitted_extensions = permitted_extensions
        self._force_command = force_command
        self._channels: dict[int, _Channel] = {}
        self.entering_number: int | None = None
        """The number of the session that the login is entering, or None."""
        self._session_number: int | None = None
        self._last_number = 0
        self._granted: Permissions = frozenset()
        """The permissions in the certificate for the shell. Permissions granted later apply to the next
        session."""
        self._allowed: Permissions = frozenset()
        """The permissions in the certificate that the policy still grants."""
        self._is_agent_refused = False
        self._is_draining = False
        self._is_lost = False
        self._progress = ProgressStep("starting")
        self._shows_progress = False

    def handle_event(self, event: events.Event) -> list[effects.Effect]:
        """Process an event, and return the effects to perform, in order."""
        match event:
            case events.ProgramRequest() | events.ForwardRequest() | events.AgentRequest():
                return self._on_request(event)
            case events.SessionStarted():
                return self._on_started(event)
            case events.EntryEnded():
                return self._on_entry_ended(event)
            case events.StartReport(step):
                return self._on_progress(step)
            case events.WaitTimeout(session_number):
                self._shows_progress = session_number == self.entering_number
                is_due = self._shows_progress and self._progress.name not in SHOWN_STEPS
                return self._show_progress() if is_due else []
            case events.PermissionChange(session_number, current):
                is_current = session_number == self._session_number
                return self._on_permissions(current) if is_current else []
            case events.EndNotice(session_number, line):
                is_current = session_number == self._session_number
                return self._send_line(line, lambda channel: is_current and channel.has_terminal)
            case events.SessionEnded():
                return self._on_ended(event)
            case events.GatewayDrains(line):
                self._is_draining = True
                return self._send_line(line, lambda channel: channel.has_terminal)
            case events.ConnectionClosed(why):
                return self._on_connection_closed(why)
        return self._on_channel(event)

    # Requests, and the session that they need.

    def _on_request(self, request: events.Request) -> list[effects.Effect]:
        self._channels[request.channel_number] = channel = _Channel(request)
        refusal = self._find_refusal(request)
        if refusal is not None:
            return self._refuse_request(request.channel_number, refusal)
        if self._session_number is not None:
            return self._start_request(channel, self._session_number)
        if self.entering_number is not None:
            return []
        self._last_number += 1
        self.entering_number = self._last_number
        self._progress, self._shows_progress = ProgressStep("starting"), False
        # A client sends the program's request only after the answer for its agent.
        is_program = isinstance(request, events.ProgramRequest)
        return [effects.EnterShell(self.entering_number, may_wait=is_program)]

    def _find_refusal(self, request: events.Request) -> str | None:
        """Return why a request is refused before the flow is asked, or None."""
        if self.end_line is not None:
            return self.end_line
        match request:
            # A host is judged by its text, since the shell resolves the name.
            case events.ForwardRequest(_, host) if not is_loopback(host):
                return f"{self._target} forwards to its own loopback only (localhost), not to {host[:100]!r}"
            case events.ForwardRequest() if PORT_FORWARDING not in self._permitted_extensions:
                return "your certificate permits no port forwarding"
            case events.AgentRequest() if AGENT_FORWARDING not in self._permitted_extensions:
                return "your certificate permits no agent forwarding"
        return CONNECT_AGAIN if self._is_draining else None

    def _start_request(self, channel: _Channel, session_number: int) -> list[effects.Effect]:
        """Return the effects of a request, now that there is a session for it."""
        channel.session_number = session_number
        channel.step(ChannelStep.ENTERED)
        may_use_agent = Permission.AGENT in self._allowed
        request = channel.request
        match request:
            case events.AgentRequest(number):
                self._is_agent_refused = not may_use_agent
                # A program that follows shows the reason for a refusal.
                del self._channels[number]
                refusal = None if may_use_agent else self._explain_denial(Permission.AGENT)
                return [effects.AnswerRequest(number, refusal)]
            case events.ForwardRequest(number) if Permission.FORWARD not in self._allowed:
                del self._channels[number]
                refusal, lacks = self._explain_denial(Permission.FORWARD), Permission.FORWARD
                answer = effects.AnswerRequest(number, refusal, lacks=lacks)
                return [answer, effects.ReleaseChannel(number)]
            case events.ForwardRequest():
                return [effects.StartChannel(session_number, request, may_use_agent)]
            case events.ProgramRequest(number, program):
                if (forced := self._force_command) is not None:
                    program = replace(program, kind="exec", what=forced, original=program.what)
                start = effects.StartChannel(
                    session_number, replace(request, program=program), may_use_agent
                )
                if self._is_agent_refused and channel.has_terminal:
                    return [
                        effects.SendLine(
                            number, f"stagedoor: {self._explain_denial(Permission.AGENT)}"
                        ),
                        start,
                    ]
                return [start]

    def _explain_denial(self, permission: Permission) -> str:
        return make_permission_denial(permission, self._name, self._target).line

    def _refuse_request(
        self, number: int, why: str, code: int = events.PROHIBITED
    ) -> list[effects.Effect]:
        channel = self._channels[number]
        if channel.is_program:
            channel.step(ChannelStep.REFUSED)
            return [
                effects.SendLine(number, f"stagedoor: {why}"),
                effects.CloseChannel(number, REFUSED_STATUS),
            ]
        del self._channels[number]
        return [effects.AnswerRequest(number, why, code), effects.ReleaseChannel(number)]

    def _on_started(self, event: events.SessionStarted) -> list[effects.Effect]:
        self._session_number, self.entering_number = event.session_number, None
        self._granted, self._allowed = event.granted, event.granted & event.current
        waiting = self._list_waiting()
        return [
            effect
            for channel in waiting
            for effect in self._start_request(channel, event.session_number)
        ]

    def _on_entry_ended(self, event: events.EntryEnded) -> list[effects.Effect]:
        """Refuse the requests that still wait, since the attempt to enter the shell has failed."""
        if event.session_number != self.entering_number:  # it has begun, or was given up
            return []
        self.entering_number = None
        waiting = [channel.request.channel_number for channel in self._list_waiting()]
        return [effect for number in waiting for effect in self._refuse_request(number, event.why)]

    def _list_waiting(self) -> list[_Channel]:
        return [
            channel for channel in self._channels.values() if channel.phase is ChannelPhase.ENTERING
        ]

    def _on_progress(self, step: ProgressStep) -> list[effects.Effect]:
        is_new, self._progress = step != self._progress, step
        # Instructions for a person are shown at once, and only once.
        is_shown = is_new if step.name in SHOWN_STEPS else self._shows_progress
        return self._show_progress() if is_shown else []

    def _stop_waiting(self) -> list[effects.Effect]:
        """Stop the wait for a person if no program is left that needs it."""
        is_waiting = self._progress.name in PERSON_STEPS
        if not is_waiting or self._list_waiting():
            return []
        return self._stop_entry(self.end_line or HUNG_UP)

    def _stop_entry(self, why: str) -> list[effects.Effect]:
        number, self.entering_number = self.entering_number, None
        return [] if number is None else [effects.StopEntry(number, why)]

    def _show_progress(self) -> list[effects.Effect]:
        """Show the step in terminals. Instructions for a person go to scp and rsync too, on stderr."""
        step = self._progress
        return self._send_line(
            f"stagedoor: {self._target}: {step.line}",
            lambda channel: (
                channel.phase is ChannelPhase.ENTERING
                and (channel.has_terminal or (step.name in SHOWN_STEPS and channel.is_program))
            ),
        )

    # A session, until its end.

    def _on_permissions(self, current: Permissions) -> list[effects.Effect]:
        """Stop forwards and the agent if they are no longer granted. Programs continue."""
        allowed = self._granted & current
        lost, self._allowed = self._allowed - allowed, allowed
        effect_list: list[effects.Effect] = []
        if Permission.FORWARD in lost:
            line = f"port forwarding into {self._target} is no longer granted"
            for number, channel in tuple(self._channels.items()):
                if isinstance(channel.request, events.ForwardRequest):
                    effect_list += self._refuse_request(number, line)
            effect_list += self._send_in_session(line)
        if Permission.AGENT in lost:
            assert self._session_number is not None, "permissions are a session's"
            effect_list.append(effects.StopAgent(self._session_number))
            effect_list += self._send_in_session(
                f"agent forwarding into {self._target} is no longer granted"
            )
        return effect_list

    def _send_in_session(self, line: str) -> list[effects.Effect]:
        return self._send_line(
            f"stagedoor: {line}",
            lambda channel: channel.is_program and channel.session_number == self._session_number,
        )

    def _send_line(self, line: str, to: Callable[[_Channel], bool]) -> list[effects.Effect]:
        return [
            effects.SendLine(number, line)
            for number, channel in self._channels.items()
            if to(channel)
        ]

    def _on_ended(self, event: events.SessionEnded) -> list[effects.Effect]:
        is_current = event.session_number in (None, self._session_number)
        if not is_current or self.end_line is not None:
            return []
        if not event.by_gateway:  # the developer may enter again
            return self._end_session(event.end, event.detail)
        # Without a session, the lines are for the programs that wait.
        lines = self._send_in_session(event.detail or event.end.value)
        self.end_line = line = event.detail or f"this session is {event.end.value}"
        ended = self._end_session(event.end, event.detail)
        return [*lines, *ended, *self._stop_entry(line), effects.CloseConnection(line)]

    def _end_session(self, end: EndReason, detail: str = "") -> list[effects.Effect]:
        number, self._session_number = self._session_number, None
        return [] if number is None else [effects.EndSession(number, end, detail)]

    def _on_connection_closed(self, why: str) -> list[effects.Effect]:
        self.end_line = line = self.end_line or why
        effect_list = self._end_session(
            EndReason.DOWNSTREAM_LOST if self._is_lost else EndReason.CLOSED
        )
        for number, channel in self._channels.items():
            if not channel.is_program:
                effect_list.append(effects.AnswerRequest(number, line))
            effect_list.append(effects.ReleaseChannel(number))
        self._channels.clear()
        return [*effect_list, *self._stop_waiting()]

    # A channel, until its end.

    def _on_channel(self, event: events.ChannelEvent) -> list[effects.Effect]:
        number, channel = event.channel_number, self._channels.get(event.channel_number)
        if isinstance(event, events.ChannelClosed):
            self._is_lost |= event.is_lost
            self._channels.pop(number, None)
            return [effects.ReleaseChannel(number), *self._stop_waiting()]
        if channel is None:  # the developer closed it meanwhile
            return []
        match event:
            case events.ChannelStarted():
                channel.step(ChannelStep.STARTED)
                answer = [] if channel.is_program else [effects.AnswerRequest(number)]
                return [effects.ConnectChannel(number), *answer]
            case events.Interrupted() if channel.phase is ChannelPhase.ENTERING:
                channel.step(ChannelStep.REFUSED)
                left = effects.CloseChannel(number, INTERRUPTED_STATUS)
                return [left, *self._stop_waiting()]
            case events.Interrupted():
                return []
            case events.ChannelStartFailed(_, why, code):
                return self._refuse_request(number, why, code)
            case events.ShellChannelClosed(_, how, why):
                channel.exit = how
                if channel.step(ChannelStep.SHELL_CLOSED) is not ChannelPhase.DRAINING:
                    return []
                drain = effects.DrainChannel(number)
                if why is None or not channel.is_program:
                    return [drain]
                return [effects.SendLine(number, f"stagedoor: {why}"), drain]
            case events.Drained():
                is_first = channel.phase is ChannelPhase.DRAINING
                channel.step(ChannelStep.DRAINED)
                return [effects.CloseChannel(number, channel.exit)] if is_first else []
