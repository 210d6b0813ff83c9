"""The actions that a terminal's state returns for the holder's process to do."""

from dataclasses import dataclass

from stagedoor.wire.terminal.frames import Frame, Size


@dataclass(frozen=True, slots=True)
class Send:
    """A frame to send to a link."""

    link: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class HangUpLink:
    """A link to close once its unsent frames are written."""

    link: int


@dataclass(frozen=True, slots=True)
class SetSize:
    """A window size for the terminal, whose program gets SIGWINCH (termios(4))."""

    size: Size


@dataclass(frozen=True, slots=True)
class Redraw:
    """A full-screen program has to redraw: change the window's size and restore it."""

    size: Size


Action = Send | HangUpLink | SetSize | Redraw
