"""The phases of a direct login's channel, as a table. A channel has a developer's end and a shell's end."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class ChannelPhase(Enum):
    """The phases of a channel. A closed channel is dropped."""

    ENTERING = "it waits until the login has entered the shell"
    OPENING = "the shell is asked to start it; bytes that arrive meanwhile wait"
    RUNNING = "bytes go both ways"
    DRAINING = "the shell's end is closed; the developer has not received all of its bytes"
    LEAVING = "the developer is shown how it ended"


class ChannelStep(Enum):
    """The events that change a channel's phase."""

    ENTERED = "the login has entered the shell"
    STARTED = "the shell has started it"
    REFUSED = "the gateway or the shell does not start it"
    SHELL_CLOSED = "the shell's end is closed"
    DRAINED = "the developer has received all of the shell's bytes"


TRANSITIONS: Mapping[tuple[ChannelPhase, ChannelStep], ChannelPhase] = MappingProxyType(
    {
        (ChannelPhase.ENTERING, ChannelStep.ENTERED): ChannelPhase.OPENING,
        (ChannelPhase.ENTERING, ChannelStep.REFUSED): ChannelPhase.LEAVING,
        (ChannelPhase.OPENING, ChannelStep.STARTED): ChannelPhase.RUNNING,
        (ChannelPhase.OPENING, ChannelStep.REFUSED): ChannelPhase.LEAVING,
        # A program may end before asyncssh has reported that it runs, or that it was refused.
        (ChannelPhase.OPENING, ChannelStep.SHELL_CLOSED): ChannelPhase.DRAINING,
        (ChannelPhase.DRAINING, ChannelStep.STARTED): ChannelPhase.DRAINING,
        (ChannelPhase.DRAINING, ChannelStep.REFUSED): ChannelPhase.LEAVING,
        # Only by an internal fault after `ChannelStarted`.
        (ChannelPhase.RUNNING, ChannelStep.REFUSED): ChannelPhase.LEAVING,
        (ChannelPhase.RUNNING, ChannelStep.SHELL_CLOSED): ChannelPhase.DRAINING,
        (ChannelPhase.DRAINING, ChannelStep.DRAINED): ChannelPhase.LEAVING,
        **{
            (ChannelPhase.LEAVING, step): ChannelPhase.LEAVING
            for step in ChannelStep
            if step is not ChannelStep.ENTERED
        },
    }
)
"""Other transitions cannot happen: looking one up is a KeyError, and a bug in Stagedoor."""
