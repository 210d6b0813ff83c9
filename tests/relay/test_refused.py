"""An upstream that refuses in words: the downstream stays until it has read why, or its time is over."""

import threading
from collections.abc import Callable

from stagedoor.model.farewell import FAREWELL_S
from stagedoor.model.session import EndReason
from stagedoor.model.target import Target
from stagedoor.wire.ssh.preface import SshPreface
from tests.net.peers import PATIENCE_S, Peer
from tests.relay.harness import RelayHarness, Run

LINE = b"Not allowed at this time\r\n"
ADVICE = b"try again later, or ask an administrator"
FIX = "PerSourcePenaltyExemptList"


def refused(harness: RelayHarness, hang_up: Callable[[Peer], None]) -> Run:
    """Return a tunnel whose downstream has read why its upstream refused the login."""
    run = harness.open(preface=SshPreface(Target("app01")))
    run.upstream.send(LINE)
    hang_up(run.upstream)
    heard = run.downstream.read()
    while ADVICE not in heard or b"SSH-2.0-Stagedoor" not in heard:
        heard += run.downstream.read()
    assert heard.startswith(LINE)
    return run


def test_what_it_still_sends_is_taken_until_it_hangs_up(harness: RelayHarness) -> None:
    run = refused(harness, Peer.half_close)
    for _ in range(64):
        run.downstream.send(bytes(65536))
    assert run.ends.empty()
    run.downstream.half_close()
    run.downstream.read_to_end()
    ended = run.ended()
    assert ended.end is EndReason.UNREACHED
    assert FIX in ended.detail


def test_an_upstream_that_resets_is_no_other(harness: RelayHarness) -> None:
    run = harness.open(preface=SshPreface(Target("app01")))
    run.upstream.send(LINE)
    assert run.downstream.read_exactly(len(LINE)) == LINE
    run.upstream.reset()
    heard = b""
    while b"SSH-2.0-Stagedoor" not in heard:
        heard += run.downstream.read()
    assert ADVICE in heard
    run.downstream.send(b"its next message")
    run.downstream.half_close()
    run.downstream.read_to_end()
    assert run.ended().end is EndReason.UNREACHED


def test_one_that_had_sent_its_end_already_ends_at_once(harness: RelayHarness) -> None:
    run = harness.open(preface=SshPreface(Target("app01")))
    run.downstream.half_close()
    assert run.upstream.read_to_end() == b""
    run.upstream.send(LINE)
    run.upstream.half_close()
    assert ADVICE in run.downstream.read_to_end()
    assert run.ended().end is EndReason.UNREACHED


def test_one_that_stays_is_closed_in_the_end(make_harness: Callable[..., RelayHarness]) -> None:
    now = [0.0]
    harness = make_harness(clock=lambda: now[0])
    run = refused(harness, Peer.half_close)
    harness.check_idle()  # it has looked at the clock
    now[0] += FAREWELL_S - 0.1
    harness.check_idle()
    assert run.ends.empty()
    now[0] += 0.2
    harness.check_idle()
    assert run.ended().end is EndReason.UNREACHED
    assert run.downstream.read_to_end() == b""


def test_a_gateway_that_stops_does_not_wait_for_it(
    make_harness: Callable[..., RelayHarness],
) -> None:
    harness = make_harness()
    run = refused(harness, Peer.half_close)
    closing = threading.Thread(target=harness.relay.stop)
    closing.start()
    closing.join(PATIENCE_S)
    assert run.ended().end is EndReason.UNREACHED
