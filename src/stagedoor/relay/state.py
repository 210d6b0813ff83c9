"""The stages of a tunnel's directions, and the names of the ends by which a tunnel fails.

A tunnel is two directions. Each ends separately (half-close); the tunnel is over when both have.
Everything else (a reset, a lost peer, a revocation) ends both at once.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from errno import EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ETIMEDOUT
from types import MappingProxyType

from stagedoor.model.session import End


class Side(Enum):
    """An end of a tunnel: the developer's, or the shell's."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"


class Stage(IntEnum):
    """The stages of one direction, in their order."""

    OPEN = 0
    """Its source may still send."""
    SHUT = 1
    """Its source's end was read, and so everything before it was handed on (see `Direction`), and the
    sink was half-closed; the sink may still hold something back (TLS: the close_notify)."""
    ENDED = 2
    """Nothing is left to do."""


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
