"""A pty as the client requests it (RFC 4254 §6.2, §6.7, §8; RFC 8160 for IUTF8)."""

import fcntl
import os
import signal
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

SIGNALS = ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM",
            "USR1", "USR2")  # fmt: skip
# RFC 4254 §8: opcode to the name of a control character …
_CHARACTERS = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2",
    8: "VSTART", 9: "VSTOP", 10: "VSUSP", 11: "VDSUSP", 12: "VREPRINT", 13: "VWERASE",
    14: "VLNEXT", 16: "VSWTCH", 17: "VSTATUS", 18: "VDISCARD",
}  # fmt: skip
# … and to the name of a flag, by the index of its field in the result of `termios.tcgetattr`.
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
    """Apply the client's modes to `attributes` (as from `termios.tcgetattr`), and return the result.

    Modes that this system does not have are ignored, as RFC 4254 §8 requires. Pure.
    """
    changed: Attributes = [list(a) if isinstance(a, list) else a for a in attributes]
    characters = changed[_CONTROL_CHARACTERS]
    assert isinstance(characters, list)
    for opcode, value in modes.items():
        position = getattr(termios, _CHARACTERS.get(opcode, ""), None)
        if isinstance(position, int):
            # RFC 4254 §8: 255 disables the character.
            characters[position] = b"\0" if value == _DISABLED else bytes([value & 0xFF])
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
    """A pty with both ends open. `path` is that of the slave, which the child opens itself."""

    master: int
    slave: int
    path: str
    type: str

    @classmethod
    def open(
        cls, term: str, size: tuple[int, int, int, int], modes: Mapping[int, int]
    ) -> "Terminal":
        """Open a pty with the client's size and modes. Raises OSError if there is no pty left."""
        master, slave = os.openpty()
        os.set_blocking(master, False)
        terminal = cls(master, slave, os.ttyname(slave), term)
        terminal.resize(size)
        # A pty knows neither 7 bits nor parity, for which glibc reports an error. It accepts all other modes.
        with suppress(termios.error):
            termios.tcsetattr(slave, termios.TCSANOW, with_modes(termios.tcgetattr(slave), modes))
        return terminal

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """Set the size: columns, rows, both in pixels. The kernel sends SIGWINCH to the foreground job."""
        columns, rows, width, height = (min(n, 0xFFFF) for n in size)
        fcntl.ioctl(
            self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height)
        )

    def close_slave(self) -> None:
        """Close the slave here once the child has opened it. Otherwise the master would never report EOF."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1


def signal_name(number: int) -> str:
    """Return a signal's name by RFC 4254 §6.10: `NAME` for those it lists, `NAME@domain` for others."""
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # most realtime signals have no name; sshd sends this too
        name = "SIG"
    return name if name in SIGNALS else f"{name}@openssh.com"
