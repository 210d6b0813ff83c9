"""The interfaces that the relay needs: two ends that carry bytes, and a parser of the first of them."""

from typing import Protocol

from stagedoor.model.denial import Denial


class Preface(Protocol):
    """The first bytes from the upstream, which may be a refusal that the downstream would not show."""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes. Return False once no more are needed."""
        ...

    def find_refusal(self) -> Denial | None:
        """Return why the upstream hung up, if its preface says so. Called while `feed` returns True."""
        ...

    def make_farewell(self, why: str) -> bytes:
        """Return what the downstream gets after those bytes, so that it shows `why`."""
        ...


class Stream(Protocol):
    """One non-blocking end of a relay.

    `spliceable` says that the kernel may move the bytes (plain TCP); otherwise they are pumped
    through `recv` and `send`, which see them (TLS).
    """

    @property
    def spliceable(self) -> bool:
        """Return whether the kernel may move the bytes, past this object."""
        ...

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        ...

    def recv(self, limit: int) -> bytes | None:
        """Return up to `limit` bytes; b"" at the end of the stream; None if nothing is there yet.

        After fewer than `limit` bytes there may still be more: only None says that it is empty.
        Raises OSError (ConnectionResetError for an RST, or for an end that could be a forged one).
        """
        ...

    def send(self, data: bytes | memoryview) -> int:
        """Send, and return how many bytes were taken, 0 if none can be now. Raises OSError."""
        ...

    def flush(self) -> bool:
        """Return whether all that `send` and `shutdown_write` took is out (TLS may hold a record).

        Tries to write what is left first. Raises OSError.
        """
        ...

    def shutdown_write(self) -> None:
        """Half-close: no more will be sent (FIN, or close_notify then FIN). Raises OSError.

        What it holds then goes out with `flush`.
        """
        ...

    def error(self) -> int:
        """Return and clear the errno that the kernel holds for this end (SO_ERROR), 0 if none."""
        ...

    def abort(self) -> None:
        """Close with RST (SO_LINGER 0)."""
        ...

    def close(self) -> None:
        """Close in order."""
