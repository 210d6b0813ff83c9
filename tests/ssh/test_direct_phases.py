"""The table of a direct login's channel. Pure."""

from collections.abc import Iterable

import pytest

from stagedoor.listeners.ssh.direct.phases import TRANSITIONS, ChannelPhase, ChannelStep

ORDER = list(ChannelPhase)
ENTERED, STARTED, REFUSED, SHELL_CLOSED, DRAINED = ChannelStep


def after(*steps: ChannelStep, phase: ChannelPhase = ChannelPhase.ENTERING) -> ChannelPhase:
    for step in steps:
        phase = TRANSITIONS[phase, step]
    return phase


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        ((ENTERED,), ChannelPhase.OPENING),
        ((ENTERED, STARTED), ChannelPhase.RUNNING),
        ((ENTERED, STARTED, SHELL_CLOSED, DRAINED), ChannelPhase.LEAVING),
        ((REFUSED,), ChannelPhase.LEAVING),
        ((ENTERED, REFUSED, SHELL_CLOSED), ChannelPhase.LEAVING),
        ((ENTERED, STARTED, REFUSED, SHELL_CLOSED), ChannelPhase.LEAVING),
        # A program that ends before asyncssh has reported that it runs.
        ((ENTERED, SHELL_CLOSED, STARTED, DRAINED), ChannelPhase.LEAVING),
        ((ENTERED, SHELL_CLOSED, REFUSED, DRAINED), ChannelPhase.LEAVING),
    ],
)
def test_a_life(steps: Iterable[ChannelStep], phase: ChannelPhase) -> None:
    assert after(*steps) is phase


def test_nothing_goes_back() -> None:
    assert all(ORDER.index(to) >= ORDER.index(at) for (at, _), to in TRANSITIONS.items())


def test_every_phase_is_reached() -> None:
    assert set(TRANSITIONS.values()) == set(ChannelPhase) - {ChannelPhase.ENTERING}


def test_a_program_is_started_once_and_only_in_order() -> None:
    assert {at for at, step in TRANSITIONS if step is ENTERED} == {ChannelPhase.ENTERING}
    running = {at for (at, _), to in TRANSITIONS.items() if to is ChannelPhase.RUNNING}
    assert running == {ChannelPhase.OPENING}
    with pytest.raises(KeyError):
        after(STARTED, phase=ChannelPhase.RUNNING)


@pytest.mark.parametrize("step", [STARTED, REFUSED, SHELL_CLOSED, DRAINED])
def test_the_shell_may_report_anything_once_it_is_over(step: ChannelStep) -> None:
    assert after(step, phase=ChannelPhase.LEAVING) is ChannelPhase.LEAVING
