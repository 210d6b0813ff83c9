"""The relay's settings."""

from dataclasses import dataclass

from stagedoor.model.units import KIB, MIB


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """The bounds of one process's relay.

    `idle_timeout_s`: a tunnel over which no byte moved for so long is closed (`End.IDLE`), within
    a quarter of it or 30 s; None, the default: never, because a shell left open overnight is what
    people expect, and dead peers are found by TCP itself.

    `pipe_bytes`: the size asked for each pooled pipe, and so the most that one direction of a
    spliced tunnel can hold between its ends. 1 MiB is what a user without privileges may ask for
    (`fs.pipe-max-size`).

    `pipes`: the most pipes open at once. A tunnel needs one for each direction only while bytes
    are in flight; where none is left its bytes are copied instead. 64 of 1 MiB is what
    `fs.pipe-user-pages-soft` gives one user by default.

    `chunk_bytes`: the most that is copied at once; below it splicing costs more than copying.

    `turn_bytes`: the most that one direction moves before the others get their turn.
    """

    idle_timeout_s: float | None = None
    pipe_bytes: int = MIB
    pipes: int = 64
    chunk_bytes: int = 16 * KIB
    turn_bytes: int = MIB
