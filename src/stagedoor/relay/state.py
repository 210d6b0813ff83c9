"""The stages of a tunnel's directions, and the ends of failed tunnels.

A tunnel has two directions. Each ends separately (half-close), and the tunnel ends with the second one.
Everything else (a reset, a lost peer, a revocation) ends both at once.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from errno import EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ETIMEDOUT
from types import MappingProxyType

from stagedoor.model.session import EndReason


class Side(Enum):
    """A side of a tunnel: the developer's or the shell's."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"


class Stage(IntEnum):
    """The stages of one direction, in order."""

    OPEN = 0
    """Its source may still send."""
    SHUT = 1
    """The source's end was read, everything before it was passed on (see `Direction`), and the sink was
    half-closed. The sink may still hold bytes back (TLS: the close_notify)."""
    ENDED = 2
    """Nothing is left to do."""


_VANISHED = frozenset({ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN})
"""The errors of a peer that no longer answers: tcp(7) on TCP_USER_TIMEOUT, and ICMP's (ip(7))."""

_ENDS: Mapping[tuple[Side, bool], EndReason] = MappingProxyType(
    {
        (Side.DOWNSTREAM, False): EndReason.DOWNSTREAM_RESET,
        (Side.DOWNSTREAM, True): EndReason.DOWNSTREAM_LOST,
        (Side.UPSTREAM, False): EndReason.UPSTREAM_RESET,
        (Side.UPSTREAM, True): EndReason.UPSTREAM_LOST,
    }
)


def judge_failure(side: Side, errno: int | None) -> EndReason:
    """Return the end of a tunnel whose `side` failed with `errno` (None: an error without a number)."""
    return _ENDS[side, errno in _VANISHED]
