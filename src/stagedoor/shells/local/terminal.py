"""A pty as the client asked for it (RFC 4254 §6.2, §6.7, §8; RFC 8160 for IUTF8)."""

import fcntl
import os
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

# RFC 4254 §8: opcode to the name of a control character …
_CHARACTERS = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2",
    8: "VSTART", 9: "VSTOP", 10: "VSUSP", 11: "VDSUSP", 12: "VREPRINT", 13: "VWERASE",
    14: "VLNEXT", 16: "VSWTCH", 17: "VSTATUS", 18: "VDISCARD",
}  # fmt: skip
# … and of a flag, by the index of its field in what tcgetattr(3) returns in Python.
_FLAGS = {
    0: {30: "IGNPAR", 31: "PARMRK", 32: "INPCK", 33: "ISTRIP", 34: "INLCR", 35: "IGNCR",
        36: "ICRNL", 37: "IUCLC", 38: "IXON", 39: "IXANY", 40: "IXOFF", 41: "IMAXBEL",
        42: "IUTF8"},
    1: {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"},
    2: {92: "PARENB", 93: "PARODD"},
    3: {50: "ISIG", 51: "ICANON", 52: "XCASE", 53: "ECHO", 54: "ECHOE", 55: "ECHOK",
        56: "ECHONL", 57: "NOFLSH", 58: "TOSTOP", 59: "IEXTEN", 60: "ECHOCTL", 61: "ECHOKE",
        62: "PENDIN"},
}  # fmt: skip
_CS7, _CS8 = 90, 91
_SPEEDS = {128: 4, 129: 5}
_IUTF8 = 0x4000  # Linux; Python's termios has no name for it
_DISABLED = 255
_CONTROL_CHARACTERS = 6

Attributes = list[int | list[bytes | int]]


def with_modes(attributes: Attributes, modes: Mapping[int, int]) -> Attributes:
    """`attributes` (as `termios.tcgetattr` returns them) with the client's modes applied.

    Modes that this system does not have are passed over, as RFC 4254 §8 asks. Pure.
    """
    changed: Attributes = [list(a) if isinstance(a, list) else a for a in attributes]
    characters = changed[_CONTROL_CHARACTERS]
    assert isinstance(characters, list)
    for opcode, value in modes.items():
        place = getattr(termios, _CHARACTERS.get(opcode, ""), None)
        if isinstance(place, int):
            # RFC 4254 §8: 255 stands for no character at all.
            characters[place] = b"\0" if value == _DISABLED else bytes([value & 0xFF])
        for index, flags in _FLAGS.items():
            if opcode in flags:
                bit = _IUTF8 if flags[opcode] == "IUTF8" else getattr(termios, flags[opcode], 0)
                _set(changed, index, bit, bit if value else 0)
        if opcode == _CS7 and value:
            _set(changed, 2, termios.CSIZE, termios.CS7)
        if opcode == _CS8 and value:
            _set(changed, 2, termios.CSIZE, termios.CS8)
        speed = getattr(termios, f"B{value}", None) if opcode in _SPEEDS else None
        if speed:
            changed[_SPEEDS[opcode]] = speed
    return changed


def _set(attributes: Attributes, index: int, mask: int, bits: int) -> None:
    field = attributes[index]
    assert isinstance(field, int)
    attributes[index] = (field & ~mask) | bits


@dataclass(slots=True)
class Terminal:
    """A pty, both ends open; `path` is the slave's, for the child to open as its own."""

    master: int
    slave: int
    path: str
    type: str

    @classmethod
    def open(
        cls, term: str, size: tuple[int, int, int, int], modes: Mapping[int, int]
    ) -> "Terminal":
        """Raises OSError when there is no pty left."""
        master, slave = os.openpty()
        os.set_blocking(master, False)
        terminal = cls(master, slave, os.ttyname(slave), term)
        terminal.resize(size)
        # A pty has neither 7 bits nor parity: it takes all else, and glibc reports that as an error.
        with suppress(termios.error):
            termios.tcsetattr(slave, termios.TCSANOW, with_modes(termios.tcgetattr(slave), modes))
        return terminal

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """Columns, rows, then both in pixels; the foreground job gets SIGWINCH by the kernel."""
        columns, rows, width, height = (min(n, 0xFFFF) for n in size)
        fcntl.ioctl(
            self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height)
        )

    def close_slave(self) -> None:
        """Once the child has opened it; else its end would never be seen."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
