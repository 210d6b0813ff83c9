"""What the relay needs from outside: two ends that carry bytes."""

from typing import Protocol


class Preface(Protocol):
    """What the upstream says first, which may be a refusal in words that the downstream would not show."""

    def hear(self, data: bytes) -> bool:
        """Take the next bytes; False once no more need be heard."""
        ...

    def refusal(self) -> str | None:
        """Why the upstream let nobody in, where it hung up now; asked only if `hear` was always True."""
        ...

    def farewell(self, why: str) -> bytes:
        """What the downstream gets after those bytes, so that it shows `why`."""
        ...


class Stream(Protocol):
    """One non-blocking end of a relay.

    `spliceable` says that the kernel may move the bytes (plain TCP); otherwise they are pumped
    through `recv` and `send`, which see them (TLS).
    """

    @property
    def spliceable(self) -> bool: ...

    def fileno(self) -> int: ...

    def recv(self, limit: int) -> bytes | None:
        """Up to `limit` bytes; b"" at the end of the stream; None if nothing is there yet.

        Having given less than `limit`, it may still have more: only None says that it is empty.
        Raises OSError (ConnectionResetError for an RST, or for an end that could be a forged one).
        """
        ...

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes were taken, 0 if none can be now. Raises OSError."""
        ...

    def flush(self) -> bool:
        """Whether all that `send` and `shutdown_write` took is out (TLS may hold a record).

        Tries to write what is left first. Raises OSError.
        """
        ...

    def shutdown_write(self) -> None:
        """Half-close: no more will be sent (FIN, or close_notify then FIN). Raises OSError.

        What it holds then goes out with `flush`.
        """
        ...

    def error(self) -> int:
        """The errno that the kernel holds for this end (SO_ERROR), 0 if none; it is then cleared."""
        ...

    def abort(self) -> None:
        """Close with RST (SO_LINGER 0)."""
        ...

    def close(self) -> None: ...
