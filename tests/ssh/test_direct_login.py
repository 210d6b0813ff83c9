"""The decisions of a direct login, as stories: each event, and the effects that it must have. Pure."""

import pytest

from stagedoor.listeners.ssh.direct.effects import (
    AnswerRequest,
    CloseChannel,
    CloseConnection,
    ConnectChannel,
    DrainChannel,
    Effect,
    EndSession,
    EnterShell,
    ReleaseChannel,
    SendLine,
    StartChannel,
    StopAgent,
    StopEntry,
)
from stagedoor.listeners.ssh.direct.events import (
    AgentRequest,
    ChannelClosed,
    ChannelStarted,
    ChannelStartFailed,
    ConnectionClosed,
    Drained,
    EndNotice,
    EntryEnded,
    Event,
    ForwardRequest,
    GatewayDrains,
    Interrupted,
    PermissionChange,
    ProgramRequest,
    SessionEnded,
    SessionStarted,
    ShellChannelClosed,
    StartReport,
    WaitTimeout,
)
from stagedoor.listeners.ssh.direct.login import DirectLogin
from stagedoor.model.certificate import ALL_EXTENSIONS, PTY
from stagedoor.model.permission import Permission, make_permission_denial
from stagedoor.model.session import CONNECT_AGAIN, HUNG_UP, STOPPING, EndReason
from stagedoor.model.shell import ProgressStep
from stagedoor.model.target import Target
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.session.person_wait import STEP_UP

APP01 = Target("app01")
BOTH = frozenset({Permission.FORWARD, Permission.AGENT})
NONE: frozenset[Permission] = frozenset()
COMMAND, SHELL = ChannelRequest("exec", "make"), ChannelRequest("shell", "", "xterm", 80, 24)
Story = list[tuple[Event, list[Effect]]]


def program(channel: int, request: ChannelRequest = COMMAND) -> ProgramRequest:
    return ProgramRequest(channel, request)


def forward(channel: int, host: str = "localhost") -> ForwardRequest:
    return ForwardRequest(channel, host, 8080)


def began(session: int = 1, granted: frozenset[Permission] = BOTH) -> SessionStarted:
    return SessionStarted(session, granted, granted)


def denied(permission: Permission) -> str:
    return make_permission_denial(permission, "dev", APP01).line


def refused(channel: int, why: str) -> list[Effect]:
    return [SendLine(channel, f"stagedoor: {why}"), CloseChannel(channel, 255)]


def running(request: ChannelRequest = COMMAND) -> Story:
    """A program on channel 1 that runs in session 1."""
    return [
        (program(1, request), [EnterShell(1)]),
        (began(), [StartChannel(1, program(1, request), True)]),
        (ChannelStarted(1), [ConnectChannel(1)]),
    ]


def forwarding() -> Story:
    """A forward on channel 2, beside a program in a terminal on channel 1."""
    return [
        *running(SHELL),
        (forward(2), [StartChannel(1, forward(2), True)]),
        (ChannelStarted(2), [ConnectChannel(2), AnswerRequest(2)]),
    ]


REVOKED = SessionEnded(None, EndReason.REVOKED, "no user", by_gateway=True)
NO_MORE = f"stagedoor: port forwarding into {APP01} is no longer granted"
NO_AGENT = f"stagedoor: agent forwarding into {APP01} is no longer granted"


def shown(*channels: int) -> list[Effect]:
    """Return the lines of a step-up."""
    return [SendLine(number, f"stagedoor: {APP01}: {STEP_UP}: x") for number in channels]


STORIES: dict[str, Story] = {
    "a command runs, and its exit status follows its last byte": [
        *running(),
        (ShellChannelClosed(1, 7), [DrainChannel(1)]),
        (Drained(1), [CloseChannel(1, 7)]),
        (ChannelClosed(1), [ReleaseChannel(1)]),
        (ConnectionClosed(), [EndSession(1, EndReason.CLOSED)]),
    ],
    "channels share a session, and those that wait begin with it in their order": [
        (program(1), [EnterShell(1)]),
        (forward(2), []),
        (AgentRequest(3), []),
        (
            began(),
            [
                StartChannel(1, program(1), True),
                StartChannel(1, forward(2), True),
                AnswerRequest(3),
            ],
        ),
        (program(4), [StartChannel(1, program(4), True)]),
    ],
    "a login that is refused refuses all that wait, and the next request tries again": [
        (program(1), [EnterShell(1)]),
        (forward(2), []),
        (AgentRequest(3), []),
        (
            EntryEnded(1, "no grant"),
            [
                *refused(1, "no grant"),
                AnswerRequest(2, "no grant"),
                ReleaseChannel(2),
                AnswerRequest(3, "no grant"),
                ReleaseChannel(3),
            ],
        ),
        (program(4), [EnterShell(2)]),
        (EntryEnded(1, "late"), []),
        (began(2), [StartChannel(2, program(4), True)]),
    ],
    "the client closes a channel before its program runs": [
        (program(1), [EnterShell(1)]),
        (ChannelClosed(1), [ReleaseChannel(1)]),
        (began(), []),
        (program(2), [StartChannel(1, program(2), True)]),
        (ChannelClosed(2), [ReleaseChannel(2)]),
        (ChannelStarted(2), []),
        (ShellChannelClosed(2, 0), []),
        (Drained(2), []),
    ],
    "the client hangs up while the login enters": [
        (program(1), [EnterShell(1)]),
        (forward(2), []),
        (ChannelClosed(1, is_lost=True), [ReleaseChannel(1)]),
        (ConnectionClosed(), [AnswerRequest(2, HUNG_UP), ReleaseChannel(2)]),
        (EntryEnded(1, ""), []),
        (program(3), refused(3, HUNG_UP)),
    ],
    "a connection that is lost says so in the audit": [
        *running(),
        (ChannelClosed(1, is_lost=True), [ReleaseChannel(1)]),
        (ConnectionClosed(), [EndSession(1, EndReason.DOWNSTREAM_LOST)]),
    ],
    "the shell refuses a program, and others go on": [
        (program(1), [EnterShell(1)]),
        (began(), [StartChannel(1, program(1), True)]),
        (ChannelStartFailed(1, "no terminal"), refused(1, "no terminal")),
        (ShellChannelClosed(1), []),
        (ChannelClosed(1), [ReleaseChannel(1)]),
        (program(2), [StartChannel(1, program(2), True)]),
    ],
    "a program ends before asyncssh reports that it runs": [
        (program(1), [EnterShell(1)]),
        (began(), [StartChannel(1, program(1), True)]),
        (ShellChannelClosed(1, 0), [DrainChannel(1)]),
        (ChannelStarted(1), [ConnectChannel(1)]),
        (Drained(1), [CloseChannel(1, 0)]),
    ],
    "the shell hangs up: its channels end with a reason, and the next request enters again": [
        *running(),
        (
            ShellChannelClosed(1, None, "the shell app01-ssh hung up"),
            [SendLine(1, "stagedoor: the shell app01-ssh hung up"), DrainChannel(1)],
        ),
        (
            SessionEnded(1, EndReason.UPSTREAM_LOST, "hung up", by_gateway=False),
            [EndSession(1, EndReason.UPSTREAM_LOST, "hung up")],
        ),
        (Drained(1), [CloseChannel(1, None)]),
        (program(2), [EnterShell(2)]),
        (SessionEnded(1, EndReason.UPSTREAM_LOST, "again", by_gateway=False), []),
    ],
    "an administrator closes the session, which the terminal shows": [
        *forwarding(),
        (
            SessionEnded(1, EndReason.EVICTED, "closed by root", by_gateway=True),
            [
                SendLine(1, "stagedoor: closed by root"),
                EndSession(1, EndReason.EVICTED, "closed by root"),
                CloseConnection("closed by root"),
            ],
        ),
    ],
    "an end without a detail is named": [
        *running(),
        (
            SessionEnded(1, EndReason.EXPIRED, "", by_gateway=True),
            [
                SendLine(1, f"stagedoor: {EndReason.EXPIRED.value}"),
                EndSession(1, EndReason.EXPIRED),
                CloseConnection(f"this session is {EndReason.EXPIRED.value}"),
            ],
        ),
    ],
    "a login that is revoked while it enters stops entering": [
        (program(1), [EnterShell(1)]),
        (forward(2), []),
        (
            REVOKED,
            [
                SendLine(1, "stagedoor: no user"),
                StopEntry(1, "no user"),
                CloseConnection("no user"),
            ],
        ),
        (REVOKED, []),
        (EntryEnded(1, "no user"), []),
        (program(3), refused(3, "no user")),
    ],
    "a revoked login ends its session once, and begins no other": [
        *running(),
        (
            REVOKED,
            [
                SendLine(1, "stagedoor: no user"),
                EndSession(1, EndReason.REVOKED, "no user"),
                CloseConnection("no user"),
            ],
        ),
        (REVOKED, []),
        (program(2), refused(2, "no user")),
        (ConnectionClosed(), [ReleaseChannel(1), ReleaseChannel(2)]),
    ],
    "forwards and the agent stop when they are not granted any more; programs go on": [
        *forwarding(),
        (
            PermissionChange(1, NONE),
            [
                AnswerRequest(2, NO_MORE.removeprefix("stagedoor: ")),
                ReleaseChannel(2),
                SendLine(1, NO_MORE),
                StopAgent(1),
                SendLine(1, NO_AGENT),
            ],
        ),
        (ChannelClosed(2), [ReleaseChannel(2)]),
        (PermissionChange(1, NONE), []),
        (
            forward(3),
            [
                AnswerRequest(3, denied(Permission.FORWARD), lacks=Permission.FORWARD),
                ReleaseChannel(3),
            ],
        ),
        (program(4), [StartChannel(1, program(4), False)]),
    ],
    "a forward that is revoked while the shell connects never opens": [
        *running(),
        (forward(2), [StartChannel(1, forward(2), True)]),
        (
            PermissionChange(1, frozenset({Permission.AGENT})),
            [
                AnswerRequest(2, NO_MORE.removeprefix("stagedoor: ")),
                ReleaseChannel(2),
                SendLine(1, NO_MORE),
            ],
        ),
        (ChannelStarted(2), []),
    ],
    "a permission that is granted later waits for the next session": [
        (program(1), [EnterShell(1)]),
        (began(granted=NONE), [StartChannel(1, program(1), False)]),
        (PermissionChange(1, BOTH), []),
        (
            forward(2),
            [
                AnswerRequest(2, denied(Permission.FORWARD), lacks=Permission.FORWARD),
                ReleaseChannel(2),
            ],
        ),
    ],
    "a forward closes at either end": [
        *forwarding(),
        (ShellChannelClosed(2), [DrainChannel(2)]),
        (Drained(2), [CloseChannel(2, None)]),
        (ChannelClosed(2), [ReleaseChannel(2)]),
        (forward(3), [StartChannel(1, forward(3), True)]),
        (ChannelStartFailed(3, "refused", 2), [AnswerRequest(3, "refused", 2), ReleaseChannel(3)]),
    ],
    "a forward out of the shell is refused without entering": [
        (
            forward(1, "10.0.0.1"),
            [
                AnswerRequest(
                    1, f"{APP01} forwards to its own loopback only (localhost), not to '10.0.0.1'"
                ),
                ReleaseChannel(1),
            ],
        ),
    ],
    "a forward does not wait for a person, since it shows nothing": [
        (forward(1), [EnterShell(1, may_wait=False)]),
    ],
    "an agent that is not granted is refused, and the terminal shows why": [
        (AgentRequest(1), [EnterShell(1, may_wait=False)]),
        (program(2, SHELL), []),
        (
            began(granted=NONE),
            [
                AnswerRequest(1, denied(Permission.AGENT)),
                SendLine(2, f"stagedoor: {denied(Permission.AGENT)}"),
                StartChannel(1, program(2, SHELL), False),
            ],
        ),
    ],
    "terminals are warned of a stop, and new channels refused": [
        *running(SHELL),
        (program(2), [StartChannel(1, program(2), True)]),
        (GatewayDrains("finish"), [SendLine(1, "finish")]),
        (program(3), refused(3, CONNECT_AGAIN)),
        (forward(4), [AnswerRequest(4, CONNECT_AGAIN), ReleaseChannel(4)]),
    ],
    "a terminal that waits is shown the reason, later steps at once": [
        (program(1, SHELL), [EnterShell(1)]),
        (program(2), []),
        (StartReport(ProgressStep("scheduling")), []),
        (WaitTimeout(1), [SendLine(1, f"stagedoor: {APP01}: scheduling")]),
        (
            StartReport(ProgressStep("pulling image", "app:1")),
            [SendLine(1, f"stagedoor: {APP01}: pulling image: app:1")],
        ),
        (EntryEnded(1, "no"), [*refused(1, "no"), *refused(2, "no")]),
        (program(3, SHELL), [EnterShell(2)]),
        (StartReport(ProgressStep("scheduling")), []),
        (WaitTimeout(1), []),
    ],
    "a step-up is shown at once and once, by scp too": [
        (program(1), [EnterShell(1)]),
        (
            StartReport(ProgressStep(STEP_UP, "open https://gw")),
            [SendLine(1, f"stagedoor: {APP01}: {STEP_UP}: open https://gw")],
        ),
        (StartReport(ProgressStep(STEP_UP, "open https://gw")), []),
        (WaitTimeout(1), []),
    ],
    "a wait for a person ends when the last program has left": [
        (program(1), [EnterShell(1)]),
        (program(2, SHELL), []),
        (StartReport(ProgressStep(STEP_UP, "x")), shown(1, 2)),
        (ChannelClosed(1), [ReleaseChannel(1)]),
        (Interrupted(2), [CloseChannel(2, 130), StopEntry(1, HUNG_UP)]),
        (ChannelClosed(2), [ReleaseChannel(2)]),
        (EntryEnded(1, "no"), []),
        (program(3), [EnterShell(2)]),
        (StartReport(ProgressStep(STEP_UP, "x")), shown(3)),
        (ConnectionClosed(), [ReleaseChannel(3), StopEntry(2, HUNG_UP)]),
    ],
    "a gateway that stops ends a wait for a person with that reason": [
        (program(1), [EnterShell(1)]),
        (StartReport(ProgressStep(STEP_UP, "x")), shown(1)),
        (ConnectionClosed(STOPPING), [ReleaseChannel(1), StopEntry(1, STOPPING)]),
    ],
    "the interrupt key of a program that runs is the shell's": [
        *running(SHELL),
        (Interrupted(1), []),
    ],
    "terminals are shown that access ends soon": [
        *running(SHELL),
        (program(2), [StartChannel(1, program(2), True)]),
        (EndNotice(1, "ends"), [SendLine(1, "ends")]),
        (EndNotice(7, "ends"), []),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_a_story(story: Story) -> None:
    login = DirectLogin("dev", APP01, ALL_EXTENSIONS)
    for event, effects in story:
        assert login.handle_event(event) == effects, event


def test_a_certificate_restricts_its_key_whatever_is_granted() -> None:
    login = DirectLogin("dev", APP01, frozenset({PTY}))
    assert login.handle_event(forward(1)) == [
        AnswerRequest(1, "your certificate permits no port forwarding"),
        ReleaseChannel(1),
    ]
    assert isinstance(login.handle_event(AgentRequest(2))[0], AnswerRequest)
    assert login.entering_number is None


@pytest.mark.parametrize("request_", [COMMAND, SHELL, ChannelRequest("subsystem", "sftp")])
def test_a_forced_command_runs_in_place_of_every_request(request_: ChannelRequest) -> None:
    login = DirectLogin("dev", APP01, ALL_EXTENSIONS, "only this")
    login.handle_event(program(1, request_))
    (start,) = login.handle_event(began())
    assert isinstance(start, StartChannel)
    assert isinstance(start.request, ProgramRequest)
    forced = start.request.program
    assert (forced.kind, forced.what, forced.original) == ("exec", "only this", request_.what)
    assert forced.terminal == request_.terminal


def test_a_drain_waits_for_a_login_that_enters() -> None:
    login = DirectLogin("dev", APP01, ALL_EXTENSIONS)
    assert login.entering_number is None
    login.handle_event(program(1))
    assert login.entering_number is not None
    login.handle_event(began())
    assert login.entering_number is None
