"""Keys for this client and not for the program: `~` after Enter, as in ssh(1)."""

from enum import Enum

TILDE = 0x7E


class Escape(Enum):
    """A command to this client, by the key after the tilde."""

    DETACH = b"."
    SUSPEND = b"\x1a"
    HELP = b"?"


HELP_TEXT = (
    "\r\nEscapes, after Enter:\r\n"
    "  ~.   detach: the terminal stays, and `stagedoor attach` comes back to it\r\n"
    "  ~^Z  suspend this program; `fg` comes back\r\n"
    "  ~~   the tilde itself\r\n"
    "  ~?   this\r\n"
)


class Escapes:
    """A splitter of typed bytes into input for the program and commands to this client."""

    def __init__(self) -> None:
        self._at_start = True
        self._after_tilde = False

    def feed(self, data: bytes) -> list[bytes | Escape]:
        """Return input and commands in order, with adjacent input joined."""
        parts: list[bytes | Escape] = []
        plain = bytearray()
        for byte in data:
            if self._after_tilde:
                self._after_tilde = False
                command = next((escape for escape in Escape if escape.value[0] == byte), None)
                if command is not None:
                    if plain:
                        parts.append(bytes(plain))
                        plain.clear()
                    parts.append(command)
                    # Another command may follow at once, without Enter between.
                    self._at_start = True
                    continue
                if byte != TILDE:
                    plain.append(TILDE)
            elif self._at_start and byte == TILDE:
                self._after_tilde = True
                continue
            plain.append(byte)
            self._at_start = byte in b"\r\n"
        if plain:
            parts.append(bytes(plain))
        return parts
