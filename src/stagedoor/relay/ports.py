"""The interfaces that the relay needs: streams of bytes, and a parser of a stream's first bytes."""

from typing import Protocol

from stagedoor.model.denial import Denial


class Preface(Protocol):
    """A parser of upstream's first bytes, which may be a refusal that the client would not show."""

    def feed(self, data: bytes) -> bool:
        """Parse the next bytes. Return False once no more are needed."""
        ...

    def find_refusal(self) -> Denial | None:
        """Return why upstream hung up, if its first bytes say so. Called while `feed` returns True."""
        ...

    def make_farewell(self, why: str) -> bytes:
        """Return the bytes that downstream gets after those, so that the client shows `why`."""
        ...


class Stream(Protocol):
    """One non-blocking end of a relay.

    If it is `spliceable` (plain TCP), the kernel may move its bytes; otherwise (TLS) they are pumped with
    `recv` and `send`.
    """

    @property
    def spliceable(self) -> bool:
        """Return whether the kernel may move the bytes, past this object."""
        ...

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        ...

    def recv(self, limit: int) -> bytes | None:
        """Return up to `limit` bytes, b"" at the end of the stream, or None if there are none yet.

        More may follow after fewer than `limit` bytes; only None means that none are left for now.
        Raises OSError (ConnectionResetError for an RST, or for an end that could be a forged one).
        """
        ...

    def send(self, data: bytes | memoryview) -> int:
        """Send `data`, and return how many bytes were accepted, which may be 0. Raises OSError."""
        ...

    def flush(self) -> bool:
        """Return whether all that `send` and `shutdown_write` accepted is sent (TLS may hold a record).

        Tries to send the rest first. Raises OSError.
        """
        ...

    def shutdown_write(self) -> None:
        """Half-close the stream: nothing more will be sent (FIN, or close_notify and FIN). Raises OSError.

        `flush` sends what it still holds.
        """
        ...

    def error(self) -> int:
        """Return and clear the errno that the kernel holds for this end (SO_ERROR), 0 if none."""
        ...

    def abort(self) -> None:
        """Close with RST (SO_LINGER 0)."""
        ...

    def close(self) -> None:
        """Close the stream normally: plain TCP sends FIN."""
