"""The table of a direct login's channel. Pure."""

from collections.abc import Iterable

import pytest

from stagedoor.listeners.ssh.direct.state import TRANSITIONS, Phase, Step

ORDER = list(Phase)


def after(*steps: Step, phase: Phase = Phase.NEW) -> Phase:
    for step in steps:
        phase = TRANSITIONS[phase, step]
    return phase


BEGUN = (Step.MADE, Step.STARTED)


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        (BEGUN, Phase.OPENING),
        ((*BEGUN, Step.REACHED), Phase.RUNNING),
        ((*BEGUN, Step.REACHED, Step.SHELL_CLOSED, Step.DRAINED, Step.LOST), Phase.GONE),
        ((*BEGUN, Step.REFUSED, Step.SHELL_CLOSED, Step.LOST), Phase.GONE),
        ((*BEGUN, Step.REACHED, Step.REFUSED, Step.SHELL_CLOSED), Phase.LEAVING),
        # A program that ends before asyncssh has said that it runs.
        ((*BEGUN, Step.SHELL_CLOSED, Step.REACHED, Step.DRAINED), Phase.LEAVING),
        ((*BEGUN, Step.SHELL_CLOSED, Step.REFUSED), Phase.LEAVING),
        # The developer goes at once; what the shell says of it later changes nothing.
        ((Step.MADE, Step.LOST), Phase.GONE),
        ((*BEGUN, Step.LOST, Step.REACHED, Step.SHELL_CLOSED, Step.DRAINED), Phase.GONE),
        ((*BEGUN, Step.LOST, Step.REFUSED), Phase.GONE),
    ],
)
def test_a_life(steps: Iterable[Step], phase: Phase) -> None:
    assert after(*steps) is phase


def test_nothing_goes_back() -> None:
    assert all(ORDER.index(to) >= ORDER.index(at) for (at, _), to in TRANSITIONS.items())


def test_every_phase_is_reached_and_left_by_the_loss_of_the_channel() -> None:
    assert set(TRANSITIONS.values()) == set(Phase) - {Phase.NEW}
    for phase in set(Phase) - {Phase.NEW, Phase.GONE}:
        assert after(Step.LOST, phase=phase) is Phase.GONE


def test_a_program_is_begun_once_and_only_in_order() -> None:
    assert {at for at, step in TRANSITIONS if step is Step.STARTED} == {Phase.ASKING}
    assert {at for (at, _), to in TRANSITIONS.items() if to is Phase.RUNNING} == {Phase.OPENING}
    with pytest.raises(KeyError):
        after(Step.REACHED, phase=Phase.RUNNING)


@pytest.mark.parametrize("step", [Step.REACHED, Step.REFUSED, Step.SHELL_CLOSED])
@pytest.mark.parametrize("phase", [Phase.LEAVING, Phase.GONE])
def test_the_shell_may_say_anything_once_it_is_over(phase: Phase, step: Step) -> None:
    assert after(step, phase=phase) is phase
