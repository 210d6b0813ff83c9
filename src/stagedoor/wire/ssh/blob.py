"""The data types of SSH (RFC 4251 §5), read from bytes."""

import hashlib
import struct
from base64 import b64encode


class TruncatedError(ValueError):
    """The data ends too early, or continues after its end."""


class Reader:
    """Reads values one after another. All methods raise TruncatedError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        """The number of bytes that have been read."""

    def __bool__(self) -> bool:
        return self.at < len(self._data)

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        end = self.at + size
        if end > len(self._data):
            raise TruncatedError("it ends too early")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def read_byte(self) -> int:
        """Read a `byte`."""
        return self.take(1)[0]

    def read_uint32(self) -> int:
        """Read a `uint32`."""
        return int.from_bytes(self.take(4), "big")

    def read_uint64(self) -> int:
        """Read a `uint64`."""
        return int.from_bytes(self.take(8), "big")

    def read_string(self) -> bytes:
        """Read a `string`."""
        return self.take(self.read_uint32())

    def end(self) -> None:
        """Check that all bytes have been read."""
        if self:
            raise TruncatedError("something follows its end")


def encode_string(data: bytes) -> bytes:
    """Encode a `string`."""
    return struct.pack("!I", len(data)) + data


def format_fingerprint(key: bytes) -> str:
    """Return the `SHA256:…` of a public key's blob, as `ssh-keygen -l` prints it."""
    return "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")
