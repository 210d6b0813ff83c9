"""The states of a direct login's channel, as a table. It has two ends: the developer's and the shell's."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Phase(Enum):
    """The phases of a channel."""

    NEW = "not opened yet"
    ASKING = "the developer says what to run, and in which terminal"
    OPENING = "the shell is asked to run it; what comes meanwhile waits"
    RUNNING = "bytes go both ways"
    DRAINING = "the shell's end is closed; the developer has not taken all of what it said"
    LEAVING = "the developer is shown how it ended"
    GONE = "the developer's end is closed"


class Step(Enum):
    """The events that change a channel's phase."""

    MADE = "the developer opened the channel"
    STARTED = "the developer asked for a program, and said all about it"
    REACHED = "the shell runs it"
    REFUSED = "nothing is run: the person, the gateway or the shell does not let it"
    SHELL_CLOSED = "the shell's end is closed"
    DRAINED = "the developer has taken all that the shell said"
    LOST = "the developer's end is closed, by either side or with the connection"


_SHELL = (Step.REACHED, Step.REFUSED, Step.SHELL_CLOSED)
"""The events from the shell, which come at any time: its end can close while it is still being opened, and
all of them can follow after the developer's end is closed."""

TRANSITIONS: Mapping[tuple[Phase, Step], Phase] = MappingProxyType(
    {
        (Phase.NEW, Step.MADE): Phase.ASKING,
        (Phase.ASKING, Step.STARTED): Phase.OPENING,
        (Phase.OPENING, Step.REACHED): Phase.RUNNING,
        (Phase.OPENING, Step.REFUSED): Phase.LEAVING,
        (Phase.OPENING, Step.SHELL_CLOSED): Phase.DRAINING,
        (Phase.RUNNING, Step.REFUSED): Phase.LEAVING,  # a bug in Stagedoor, as it begins
        (Phase.RUNNING, Step.SHELL_CLOSED): Phase.DRAINING,
        (Phase.DRAINING, Step.REACHED): Phase.DRAINING,
        (Phase.DRAINING, Step.REFUSED): Phase.LEAVING,
        (Phase.DRAINING, Step.DRAINED): Phase.LEAVING,
        **{(Phase.LEAVING, step): Phase.LEAVING for step in _SHELL},
        **{(Phase.GONE, step): Phase.GONE for step in (*_SHELL, Step.DRAINED)},
        **{
            (phase, Step.LOST): Phase.GONE
            for phase in Phase
            if phase not in (Phase.NEW, Phase.GONE)
        },
    }
)
"""Other transitions cannot happen: looking one up is a KeyError, and a bug in Stagedoor."""
