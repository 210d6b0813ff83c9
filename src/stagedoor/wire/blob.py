"""The data types of SSH (RFC 4251 §5), read from bytes."""

import hashlib
import struct
from base64 import b64encode


class TruncatedError(ValueError):
    """There is less than was announced, or more than there should be."""


class Reader:
    """Reads one value after the other. Raises TruncatedError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        """How many bytes have been read."""

    def __bool__(self) -> bool:
        return self.at < len(self._data)

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise TruncatedError("it ends too early")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def end(self) -> None:
        if self:
            raise TruncatedError("something follows its end")


def string(data: bytes) -> bytes:
    """The bytes of a `string`."""
    return struct.pack("!I", len(data)) + data


def fingerprint(key: bytes) -> str:
    """`SHA256:…` of a public key's blob, as `ssh-keygen -l` prints it."""
    return "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")
