"""The life of one tunnel as tables: how each direction ends, and what the whole end is called.

A tunnel is two directions. Each ends separately (half-close); the tunnel is over when both have.
Everything else (a reset, a lost peer, a word from outside) ends both at once.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from errno import (
    EHOSTDOWN,
    EHOSTUNREACH,
    ENETDOWN,
    ENETUNREACH,
    ETIMEDOUT,
)
from types import MappingProxyType

from stagedoor.model.session import End


class Side(Enum):
    """An end of a tunnel: the developer's, or the shell's."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"


class Stage(IntEnum):
    """The stages of one direction."""

    OPEN = 0
    """Its source may still send."""
    SHUT = 1
    """Its source's end was read, and so everything before it was handed on (see `Direction`), and the
    sink was half-closed; the sink may still hold something back (TLS: the close_notify)."""
    ENDED = 2
    """Nothing is left to do."""


class Step(Enum):
    """The events of one direction."""

    END_READ = "the source's end was read"
    FLUSHED = "the sink holds nothing back"


TRANSITIONS: Mapping[tuple[Stage, Step], Stage] = MappingProxyType(
    {
        (Stage.OPEN, Step.END_READ): Stage.SHUT,
        (Stage.SHUT, Step.FLUSHED): Stage.ENDED,
    }
)
"""Other pairs cannot happen; to look one up is a KeyError, and a bug in Stagedoor."""


def is_over(sent: Stage, received: Stage) -> bool:
    """Return whether the tunnel has ended in order: both directions have."""
    return sent is Stage.ENDED and received is Stage.ENDED


_VANISHED = frozenset({ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN})
"""The errors of a peer that no longer answers: tcp(7) on TCP_USER_TIMEOUT, and ICMP's (ip(7))."""

_ENDS: Mapping[tuple[Side, bool], End] = MappingProxyType(
    {
        (Side.DOWNSTREAM, False): End.DOWNSTREAM_RESET,
        (Side.DOWNSTREAM, True): End.DOWNSTREAM_LOST,
        (Side.UPSTREAM, False): End.UPSTREAM_RESET,
        (Side.UPSTREAM, True): End.UPSTREAM_LOST,
    }
)


def judge_failure(side: Side, errno: int | None) -> End:
    """Return how a tunnel ended whose `side` failed with `errno` (None: an error without a number)."""
    return _ENDS[side, errno in _VANISHED]
