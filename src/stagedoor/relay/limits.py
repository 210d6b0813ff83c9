"""The bounds of the relay."""

from dataclasses import dataclass

from stagedoor.model.units import KIB, MIB


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds of one process's relay."""

    idle_timeout_s: float | None = None
    """A tunnel that has moved no bytes for this long is closed (`EndReason.IDLE`), at most a quarter of it or
    30 s later.

    By default there is no limit: people leave shells open overnight, and TCP detects dead peers.
    """
    pipe_bytes: int = MIB
    """The size of each pipe, and so the most bytes in flight in one direction of a spliced tunnel.

    1 MiB is what a user without privileges may request (`fs.pipe-max-size`).
    """
    pipes: int = 64
    """The most pipes open at once. A direction has one only while bytes are in flight; without a pipe, bytes
    are copied. By default `fs.pipe-user-pages-soft` allows one user 64 pipes of 1 MiB."""
    chunk_bytes: int = 16 * KIB
    """The most bytes copied at once. Below this, splicing costs more than copying."""
    turn_bytes: int = MIB
    """The most bytes that one direction moves before the others get their turn."""
