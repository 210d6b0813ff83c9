"""A shell: the separate container with the app's image and environment, and its sshd."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.source import Network
from stagedoor.model.target import Target


class ShellState(StrEnum):
    """What is observed of a shell."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody has looked."""
    UNREACHABLE = "unreachable"
    """It is not ours to start, and did not answer."""


@dataclass(frozen=True, slots=True)
class Shell:
    """Where a target's sshd listens: a name or address to resolve, and a port.

    `started_by_us` is True only when the adapter itself started the listener and learned its
    address from it: then `host` is an IP literal and may be a loopback address. `networks` are
    addresses that this shell may have besides those that anybody may (see `shells.address`).
    """

    target: Target
    host: str
    port: int
    started_by_us: bool = False
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class StartStep:
    """One step of a start, for the person who waits: `scheduling`, `pulling image`, …

    `patience_s`: so much longer than any other the start may take that has come to this step.
    """

    name: str
    detail: str = ""
    patience_s: float = field(default=0.0, compare=False)


Progress = Callable[[StartStep], None]
"""Called by an adapter as a start moves on; must not block."""
