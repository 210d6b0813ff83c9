"""Keys that are for us and not for the program: `~` after Enter, as ssh has it (ssh(1))."""

from enum import Enum

TILDE = 0x7E


class Escape(Enum):
    """What is asked of us, by the key after the tilde."""

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
    """Divides what is typed into what goes on and what is for us."""

    def __init__(self) -> None:
        self._at_start = True
        self._after_tilde = False

    def feed(self, data: bytes) -> list[bytes | Escape]:
        """In order; bytes that go on are joined."""
        found: list[bytes | Escape] = []
        plain = bytearray()
        for byte in data:
            if self._after_tilde:
                self._after_tilde = False
                asked = next((each for each in Escape if each.value[0] == byte), None)
                if asked is not None:
                    if plain:
                        found.append(bytes(plain))
                        plain.clear()
                    found.append(asked)
                    # `~?` again and again is for us each time, with no Enter between.
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
            found.append(bytes(plain))
        return found
