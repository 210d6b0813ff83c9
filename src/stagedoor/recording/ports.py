"""What recordings need from outside: a place to keep them, and a seal if they are encrypted."""

from typing import Protocol


class RecordingWriter(Protocol):
    """One recording while it is written. Used by one thread at a time."""

    def append(self, piece: bytes) -> None:
        """Returns once `piece` survives a power cut. Blocks.

        Raises OSError (disk full, gone, read-only); then nothing of `piece` is left.
        """
        ...

    def close(self) -> None: ...


class RecordingStore(Protocol):
    """Where recordings lie."""

    def create(self, name: str) -> RecordingWriter:
        """A new tape. Raises OSError, also when one of this name is there. Blocks."""
        ...


class RetentionTask(Protocol):
    """Removes what has been kept for long enough, beside the recorder, while it runs."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Seal(Protocol):
    """Encryption of pieces, each by itself, so that what was written last can always be read.

    `suffix` ends the names of sealed recordings.
    """

    suffix: str

    def seal(self, plain: bytes) -> bytes: ...
