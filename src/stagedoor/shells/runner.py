"""The interface that everything which executes runs implements."""

from collections.abc import Collection
from typing import Protocol

from stagedoor.model.run import Output, RunEnd, RunOrder, RunState
from stagedoor.model.target import Target

PIECE_BYTES = 64 * 1024
"""The number of bytes of output that are read at once."""


class Runner(Protocol):
    """Executes runs and keeps their logs, by their ids. Runs outlive the gateway.

    All methods but `start` may block for as long as a small read from the disk takes, so call them in a
    thread. They raise FileNotFoundError for an unknown id, and another OSError if the runner fails.
    """

    def has(self, target: Target) -> bool:
        """Return whether runs of this app execute here. Never blocks."""
        ...

    def has_input_stream(self, target: Target) -> bool:
        """Return whether input can be sent to a run of this app while it runs. Never blocks.

        Otherwise a run gets its whole input when it starts, at most MAX_WHOLE_INPUT_BYTES.
        """
        ...

    def find_limit(self, target: Target) -> str | None:
        """Return the runner's limit that keeps runs of this app from starting now, or None. Never blocks."""
        ...

    def list_sizes(self, target: Target) -> Collection[str]:
        """Return the names of the sizes that runs of this app may have. Never blocks."""
        ...

    async def start(self, run_id: str, order: RunOrder, whole_input: bytes = b"") -> str | None:
        """Start a task, once for each id. Return None once it runs, or else why it does not; then cancel it.

        `whole_input` is its input, if this is not sent with `feed`.
        """
        ...

    def list_ids(self) -> set[str]:
        """Return the runs that this runner has, including those that have ended."""
        ...

    def observe(self, run_id: str) -> RunState | RunEnd:
        """Return how a run has ended, or `STARTING` or `RUNNING`."""
        ...

    def read(self, run_id: str, start: int, most: int) -> list[Output]:
        """Return at most `most` bytes of output from offset `start` on, or from the first kept one after it.

        The result is empty if there is no more output at the moment.
        """
        ...

    def measure(self, run_id: str) -> tuple[int, int]:
        """Return the offset of the first kept byte of output, and the number of bytes so far."""
        ...

    def feed(self, run_id: str, at: int, data: bytes) -> int:
        """Send input, whose first byte has the offset `at`, and return the offset up to which it was taken.

        Not all of it is taken while the task does not read. Input that is sent again is not taken twice.
        """
        ...

    def end_input(self, run_id: str, size: int | None) -> bool:
        """Report that the input is complete with `size` bytes or, with None, that the client was lost.

        Return False if this has to be reported again, because the task is not reading at the moment.
        """
        ...

    def keep_input(self, run_id: str) -> None:
        """Report that the client is still there, though it sends no input."""
        ...

    def cancel(self, run_id: str) -> None:
        """Ask a task to end, and kill it if it does not. Do nothing if it has ended."""
        ...

    def remove_excess(self, ended: Collection[str]) -> None:
        """Remove output if the logs of all runs together are too large.

        The logs of `ended` runs are removed first, beginning with the oldest; then the beginnings of the
        largest logs.
        """
        ...

    def remove(self, run_id: str) -> None:
        """Remove a run that has ended, with its log."""
        ...
