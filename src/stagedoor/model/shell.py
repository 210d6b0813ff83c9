"""A shell: the separate container with the app's image and environment, and its sshd."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from stagedoor.model.source import Network
from stagedoor.model.target import Target


class ShellState(StrEnum):
    """The observed states of a shell."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It has not been observed."""
    UNREACHABLE = "unreachable"
    """Stagedoor does not start this shell, and it did not answer."""


@dataclass(frozen=True, slots=True)
class Shell:
    """The address of a target's sshd: a name or address to resolve, and a port.

    `started_by_us` is True only if the adapter itself started the listener and learned the address from
    it; then `host` is an IP literal and may be a loopback address. `networks` are addresses that this
    shell may have in addition to those allowed for every shell (see `shells.address`). `resume_port` is the
    port of the endpoint of resumable tunnels beside the sshd, None if there is none.
    """

    target: Target
    host: str
    port: int
    started_by_us: bool = False
    networks: tuple[Network, ...] = ()
    resume_port: int | None = None


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """One step of a login, shown to the waiting user: of the shell's start, or of a wait for a person.

    `patience_s` is the extra time that a start may take once it has reached this step.
    """

    name: str
    detail: str = ""
    patience_s: float = field(default=0.0, compare=False)

    @property
    def line(self) -> str:
        """Return the step as one line."""
        return f"{self.name}: {self.detail}" if self.detail else self.name


Progress = Callable[[ProgressStep], None]
"""Called at each step of a login; it must not block."""
