"""The bounds of the relay."""

from dataclasses import dataclass

from stagedoor.model.units import KIB, MIB


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds of one process's relay."""

    idle_timeout_s: float | None = None
    """A tunnel that moved no byte for this long is closed (`End.IDLE`), within a quarter of it or 30 s.

    By default none is: people leave a shell open overnight, and TCP finds dead peers.
    """
    pipe_bytes: int = MIB
    """The size of each pipe, and so the most that one direction of a spliced tunnel holds between its ends.

    1 MiB is what a user without privileges may request (`fs.pipe-max-size`).
    """
    pipes: int = 64
    """The most pipes open at once. A direction has one only while bytes are in flight; without one they are
    copied. 64 of 1 MiB is what `fs.pipe-user-pages-soft` gives one user by default."""
    chunk_bytes: int = 16 * KIB
    """The most that is copied at once. Below it splicing costs more than copying."""
    turn_bytes: int = MIB
    """The most that one direction moves before the others get their turn."""
