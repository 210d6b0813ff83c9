"""The flow as transcripts: what each stage was asked, in order, and the message that the developer read."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from stagedoor.model.denial import POLICY_UNAVAILABLE, Denial, Reason
from stagedoor.model.grant import Guest
from stagedoor.model.identity import Identity
from stagedoor.model.session import (
    AccessMethod,
    Counts,
    EndReason,
    LoginOrigin,
    ResumedSession,
    SessionResult,
)
from stagedoor.model.shell import ProgressStep
from stagedoor.session.entered import EnteredSession
from stagedoor.session.flow import Flow
from tests.virtual_time import in_virtual_time

from .stages import DEV, GRANT, ORIGIN, SOURCE, TRACE, Listener, Running, Script, flow_of, serve

WRONG = Denial(Reason.CREDENTIAL_WRONG, "name or password is wrong")
NO_GRANT = Denial(Reason.NO_GRANT, "dev has no grant for app01")
NEEDS_PROOF = Denial(Reason.STEP_UP_NEEDED, "prove that you are there")
FRESH_FROM = LoginOrigin(AccessMethod.DIRECT, SOURCE)

LET_IN = [
    "authenticate",
    "authorise",
    "ensure",
    "authorise",  # again: the start may have taken long
    "audit.open",
    "touch",
    "resolve app01-ssh.apps.svc",
    "dial 10.0.0.9:22",
    "hand over",
]


async def test_a_developer_with_a_grant_is_let_in_step_by_step() -> None:
    script = Script()
    flow, listener = await serve(script)
    assert script.asked == LET_IN
    assert len(flow.registry) == 1
    assert listener.running is not None
    listener.running.on_end(SessionResult(EndReason.CLOSED))
    assert script.asked[len(LET_IN) :] == ["audit.close closed", "release"]
    assert len(flow.registry) == 0


async def test_a_shell_that_is_ready_is_entered_without_a_start() -> None:
    script = Script(ready=True)
    await serve(script)
    assert script.asked == [step for step in LET_IN if step != "ensure"]


async def test_a_session_that_is_never_handed_over_ends() -> None:
    script = Script()
    flow = flow_of(script)
    entered = await flow.enter(DEV, GRANT.target, FRESH_FROM, lambda step: None)
    assert isinstance(entered, EnteredSession)
    with pytest.raises(AssertionError, match="hands the session over"), entered.transfer():
        pass
    assert script.asked[-2:] == ["audit.close fault", "release"]
    assert len(flow.registry) == 0


async def test_a_session_ends_once_whatever_its_block_raises() -> None:
    script = Script()
    flow = flow_of(script)
    entered = await flow.enter(DEV, GRANT.target, FRESH_FROM, lambda step: None)
    assert isinstance(entered, EnteredSession)
    link = Running(script, entered)
    with (
        pytest.raises(ZeroDivisionError),
        entered.carry(
            link, lambda error: SessionResult(EndReason.FAULT, detail=type(error).__name__)
        ),
    ):
        raise ZeroDivisionError
    assert [asked for asked in script.asked if "audit.close" in asked] == ["audit.close fault"]
    assert script.lines[-1]["detail"] == "ZeroDivisionError"


async def test_each_step_of_an_attempt_is_in_its_trace() -> None:
    """With those of the shell's start; the client's trace goes on."""
    names = ("scheduling", "pulling image", "pulling image")
    script = Script(hold=asyncio.Event(), steps=tuple(ProgressStep(name) for name in names))
    assert script.hold is not None
    script.hold.set()
    _, listener = await serve(script)
    assert listener.running is not None
    [trace] = script.traces
    assert (trace.context, trace.outcome) == (TRACE, "opened")
    assert (trace.identity, trace.target, trace.session) == ("dev", "app01.ssh", "s1")
    assert [(step.name, step.of) for step in trace.steps] == [
        ("authenticate", ""),
        ("authorise", ""),
        ("shell", ""),
        ("scheduling", "shell"),
        ("pulling image", "shell"),
        ("audit", ""),
        ("connect", ""),
    ]
    assert all(trace.began <= step.began <= step.ended <= trace.ended for step in trace.steps)
    listener.running.request_end(EndReason.EVICTED, "an administrator closed it")
    assert script.lines[-1]["trace"] == TRACE.trace_id


async def test_an_attempt_that_is_denied_or_given_up_has_a_trace_too() -> None:
    denied = Script(identity=WRONG)
    await serve(denied)
    [trace] = denied.traces
    assert (trace.outcome, trace.identity) == ("credential_wrong", "")
    assert [step.name for step in trace.steps] == ["authenticate"]
    assert denied.lines[-1]["trace"] == TRACE.trace_id

    left = Script(hold=asyncio.Event())
    leaving = asyncio.create_task(serve(left))
    while "ensure" not in left.asked:
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    [trace] = left.traces
    assert trace.outcome == "cancelled"
    assert trace.steps[-1].of == "shell"


async def test_a_client_that_names_no_trace_begins_one() -> None:
    script = Script()
    flow = flow_of(script)
    for _ in range(2):
        await flow.enter(
            DEV, GRANT.target, LoginOrigin(AccessMethod.JUMP, SOURCE), lambda step: None
        )
    ids = {trace.context.trace_id for trace in script.traces}
    assert len(ids) == 2
    assert {len(trace_id) for trace_id in ids} == {32}


async def test_one_line_has_all_of_a_session() -> None:
    script = Script()
    _, listener = await serve(script)
    assert listener.running is not None
    listener.running.request_end(EndReason.EVICTED, "an administrator closed it")
    assert script.lines == [
        {
            "event": "session",
            "outcome": "evicted",
            "session": "s1",
            "trace": TRACE.trace_id,
            "way": "connect",
            "identity": "dev",
            "method": "password",
            "credential": None,
            "target": "app01.ssh",
            "source": "127.0.0.1:40000",
            "grant": 1,
            "sent": 1,
            "received": 2,
            "duration_s": 10.0,
            "detail": "an administrator closed it",
        }
    ]


@pytest.mark.line(15)
@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "app01.ssh\n", "2130706433", ""])
async def test_a_name_outside_the_grammar_gets_no_further_than_its_parsing(host: str) -> None:
    script = Script()
    await serve(script, host)
    assert [a for a in script.asked if not a.startswith(("audit.deny", "refuse"))] == []
    assert script.asked[-1].startswith("refuse ")


DENIED = Denial(Reason.NO_GRANT, "no grant")
STEP_UP = Denial(Reason.STEP_UP_NEEDED, "open https://gateway/step-up")


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        (
            Script(identity=Denial(Reason.CREDENTIAL_WRONG, "wrong")),
            ["authenticate", "audit.deny credential_wrong", "refuse credential_wrong"],
        ),
        (
            Script(grants=[DENIED]),
            ["authenticate", "authorise", "audit.deny no_grant", "refuse no_grant"],
        ),
        (
            Script(step_ups=[STEP_UP]),
            ["authenticate", "authorise", "audit.deny step_up_needed", "refuse step_up_needed"],
        ),
        (
            Script(shell=Denial(Reason.NO_APP, "no app")),
            [*LET_IN[:3], "audit.deny no_app", "refuse no_app"],
        ),
        (
            Script(grants=[GRANT, DENIED]),
            [*LET_IN[:4], "audit.deny no_grant", "refuse no_grant"],
        ),
        (
            Script(audit=Denial(Reason.AUDIT_UNAVAILABLE, "disk full")),
            [*LET_IN[:5], "audit.deny audit_unavailable", "refuse audit_unavailable"],
        ),
    ],
    ids=["credential", "grant", "step-up", "app", "grant removed during the start", "audit"],
)
async def test_a_denied_step_is_the_last_and_nothing_is_dialled(
    script: Script, asked: list[str]
) -> None:
    flow, _ = await serve(script)
    assert script.asked == asked
    assert len(flow.registry) == 0
    assert [line["outcome"] for line in script.lines] == ["denied"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(dial_error=ConnectionRefusedError(111, "Connection refused")), "upstream_refused"),
        (Script(dial_error=TimeoutError()), "upstream_timeout"),
        (Script(resolve_error=OSError(-2, "Name or service not known")), "shell_unavailable"),
        (Script(addresses=("127.0.0.1",)), "address_not_allowed"),
        (Script(addresses=("169.254.169.254", "::1")), "address_not_allowed"),
        (Script(gateway="10.0.0.9"), "address_not_allowed"),
    ],
)
async def test_a_shell_that_cannot_be_reached_closes_the_audit_and_says_why(
    script: Script, reason: str
) -> None:
    flow, _ = await serve(script)
    assert script.asked[-3:] == ["audit.close unreached", "release", f"refuse {reason}"]
    assert "app01-ssh" in script.refusal
    assert len(flow.registry) == 0


@pytest.mark.line(20)
async def test_one_look_up_and_only_what_it_gave_and_passed_is_dialled() -> None:
    script = Script(addresses=("127.0.0.1", "10.0.0.9", "169.254.169.254", "10.0.0.10"))
    await serve(script)
    assert script.asked.count("resolve app01-ssh.apps.svc") == 1
    assert "dial 10.0.0.9,10.0.0.10:22" in script.asked


@pytest.mark.line(34)
async def test_a_developer_who_hung_up_leaves_nothing_open() -> None:
    script = Script(open_error=BrokenPipeError())
    listener = Listener(script, flow_of(script))
    with pytest.raises(BrokenPipeError):
        await listener.serve("app01.ssh", "22")
    assert script.asked[len(LET_IN) :] == ["upstream.abort", "audit.close unreached", "release"]
    assert len(listener.flow.registry) == 0


@pytest.mark.line(34)
async def test_a_login_that_is_cancelled_while_it_connects_leaves_nothing_open() -> None:
    script = Script(dial_error=asyncio.CancelledError())
    listener = Listener(script, flow_of(script))
    with pytest.raises(asyncio.CancelledError):
        await listener.serve("app01.ssh", "22")
    assert script.asked[-2:] == ["audit.close unreached", "release"]
    assert len(listener.flow.registry) == 0


@pytest.mark.line(34)
@pytest.mark.parametrize(
    ("error", "end"), [(asyncio.CancelledError(), "unreached"), (RuntimeError("a bug"), "fault")]
)
async def test_whatever_breaks_closes_the_audit_exactly_once(
    error: BaseException, end: str
) -> None:
    script = Script(open_error=error)
    with pytest.raises(type(error)):
        await serve(script)
    assert script.asked[len(LET_IN) :] == ["upstream.abort", f"audit.close {end}", "release"]


EARLIER = ResumedSession("s0", Counts(3, 4), 1.0)


@dataclass
class Unreachable:
    """A `ResumableConnector` that does not reach the endpoint."""

    earlier: ResumedSession | None = EARLIER
    error: BaseException | None = None
    end: SessionResult | None = None

    async def find_earlier(self, _: object) -> ResumedSession | None:
        return self.earlier

    async def connect(self, *_: object) -> Denial:
        if self.error is not None:
            raise self.error
        return Denial(Reason.SHELL_UNAVAILABLE, "the endpoint is out of reach")

    def find_earlier_end(self, before: Counts) -> SessionResult | None:
        return self.end and SessionResult(self.end.end, before, self.end.detail)


async def enter(flow: Flow, resumable: Unreachable) -> None:
    denial = await flow.enter_by_name(
        "app01.ssh", "22", None, ORIGIN, lambda _: None, resumable=resumable
    )
    assert isinstance(denial, Denial)


@pytest.mark.continuity(19)
@pytest.mark.parametrize(
    "error", [None, asyncio.CancelledError("the gateway stopped")], ids=["denied", "cancelled"]
)
async def test_a_login_that_does_not_reach_an_earlier_session_leaves_it_open(
    error: BaseException | None,
) -> None:
    script = Script()
    flow = flow_of(script)
    with suppress(asyncio.CancelledError):
        await enter(flow, Unreachable(error=error))
    why = "the endpoint is out of reach" if error is None else str(error)
    left = ["audit.resume s0", "touch", f"audit.return {why}", "release"]
    if error is None:
        left.append("audit.wait")
    assert script.asked[-len(left) :] == left
    assert len(flow.registry) == 0
    assert [line["outcome"] for line in script.lines] == ["resumed", "not_resumed"]
    assert script.lines[-1]["detail"] == why


async def test_an_earlier_session_that_ended_before_its_login_was_connected_is_closed() -> None:
    script = Script()
    end = SessionResult(EndReason.UPSTREAM_LOST, detail="the endpoint has ended")
    await enter(flow_of(script), Unreachable(end=end))
    assert script.asked[-3:] == ["audit.close upstream_lost", "release", "audit.wait"]
    line = script.lines[-1]
    assert (line["sent"], line["received"], line["detail"]) == (3, 4, "the endpoint has ended")


async def test_an_error_of_the_connector_is_not_recorded_as_a_hang_up() -> None:
    script = Script()
    with pytest.raises(OSError, match="Too many open files"):
        await enter(
            flow_of(script), Unreachable(earlier=None, error=OSError(24, "Too many open files"))
        )
    assert "audit.close fault" in script.asked
    assert script.lines[-1]["detail"] == Denial.of_fault().message


@pytest.mark.line(37)
async def test_a_start_that_takes_too_long_says_how_far_it_came() -> None:
    script = Script(hold=asyncio.Event())
    await serve(script, start_timeout_s=0.01)
    assert script.asked[-1] == "refuse start_timeout"
    assert "pulling image: 3 of 5" in script.refusal


@in_virtual_time
async def test_a_start_whose_step_needs_longer_is_given_so_much_more_and_no_more() -> None:
    loop = asyncio.get_running_loop()
    slow = ProgressStep("scheduling", "the cluster is adding a node", patience_s=600)
    script = Script(hold=asyncio.Event(), steps=(slow, slow, ProgressStep("pulling image")))
    await serve(script, start_timeout_s=60)
    assert script.asked[-1] == "refuse start_timeout"
    assert "was not ready after 660 s (last step: pulling image)" in script.refusal
    assert 660 <= loop.time() < 661


async def test_a_session_whose_grant_goes_as_it_opens_is_closed_at_once() -> None:
    script = Script(grants=[GRANT, GRANT, DENIED])
    flow, _ = await serve(script)
    assert script.asked[len(LET_IN) :] == [
        "relay.close revoked",
        "audit.close revoked",
        "release",
    ]
    assert len(flow.registry) == 0


async def test_a_refusal_looks_at_the_store_before_it_is_final() -> None:
    """A token and a grant that were made a moment ago let in, at the first try."""
    script = Script(identity=WRONG, grants=[NO_GRANT])

    def token_made() -> None:
        script.identity = DEV

    def grant_made() -> None:
        script.grants = [GRANT]

    script.new_policies = [token_made, grant_made]
    _, listener = await serve(script)
    assert listener.running is not None, script.refusal
    assert script.asked == ["authenticate", *LET_IN[:2], *LET_IN[1:]]
    assert script.lines == [], "nobody was refused, so nothing is written down"


@pytest.mark.parametrize("identity", [WRONG, DEV])
async def test_where_nothing_has_changed_one_look_is_all_that_a_refusal_costs(
    identity: Identity | Denial,
) -> None:
    script = Script(identity=identity, grants=[NO_GRANT])
    _, listener = await serve(script)
    assert listener.running is None
    assert script.looks == 1
    assert script.asked.count("authenticate") == 1


@pytest.mark.parametrize("identity", [WRONG, DEV])
@pytest.mark.parametrize(
    "is_unavailable", [(False, True), (True, False)], ids=["from now", "until now"]
)
async def test_a_policy_that_is_not_read_says_nothing_of_who_it_refuses(
    identity: Identity | Denial, is_unavailable: tuple[bool, bool]
) -> None:
    """It becomes so at some moment, also between authentication and authorisation."""
    script = Script(identity=identity, grants=[NO_GRANT], is_unavailable=deque(is_unavailable))
    _, listener = await serve(script)
    assert listener.running is None
    assert script.refusal == POLICY_UNAVAILABLE.message
    assert script.asked[-1] == "refuse audit_unavailable"


async def test_what_no_policy_decides_looks_at_nothing() -> None:
    script = Script(identity=Denial(Reason.THROTTLED, "too many"))
    await serve(script)
    assert script.looks == 0


async def test_a_guest_is_asked_for_a_proof_as_every_user_is() -> None:
    guest = replace(GRANT, guest=Guest("main", "host", "s1"))
    script = Script(step_ups=[NEEDS_PROOF])
    assert await flow_of(script).check_step_up(DEV, guest) is NEEDS_PROOF
    assert await flow_of(script).check_step_up(DEV, guest) is guest
