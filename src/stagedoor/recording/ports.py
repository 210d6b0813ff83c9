"""The interfaces that recordings need: a place to keep them, and a seal if they are encrypted."""

from typing import Protocol


class RecordingWriter(Protocol):
    """One recording while it is written. Used by one thread at a time."""

    def append(self, piece: bytes) -> None:
        """Write `piece`, and return once it survives a power cut. Blocks.

        Raises OSError (disk full, gone, read-only); then nothing of `piece` is left.
        """
        ...

    def close(self) -> None:
        """Close the file."""


class RecordingStore(Protocol):
    """A place that keeps recordings."""

    def create(self, name: str) -> RecordingWriter:
        """Create a recording. Raises OSError, also if there is one of this name. Blocks."""
        ...


class RetentionTask(Protocol):
    """Removes what has been kept for long enough, beside the recorder, while it runs."""

    def start(self) -> None:
        """Start removing old recordings."""

    def stop(self) -> None:
        """Stop, and wait until nothing is being removed."""


class Seal(Protocol):
    """Encryption of pieces, each separately, so that what was written last can always be read.

    `suffix` ends the names of sealed recordings.
    """

    suffix: str

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` encrypted, as a piece that can be opened alone."""
        ...
