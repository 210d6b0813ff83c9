"""Places at a terminal: those who only watch leave some for those who type, and none takes another's."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from stagedoor.holder.folder import connect
from stagedoor.wire.terminal.codec import FrameBuffer, decode, encode_framed
from stagedoor.wire.terminal.frames import Frame, Hello, Mode, Notice, NoticeKind, Size, Welcome
from tests.fixtures.terminal import HeldTerminal, Place
from tests.waiting import wait_until

LINKS, TO_WATCH, TO_TYPE = 64, 40, 20
SIZE = Size(80, 24)


@dataclass
class Line:
    """A connection to a holder, without the processes of `attach`."""

    connection: socket.socket
    frames: FrameBuffer = field(default_factory=FrameBuffer)
    gone: bool = False

    def hello(self, mode: Mode, attachment: str = "", owner: str = "") -> "Frame | None":
        """Return its answer: WELCOME, or a NOTICE of why not; None if the holder hung up."""
        self.connection.sendall(encode_framed(Hello(owner, "main", attachment, 0, SIZE, mode)))
        return next((f for f in self.heard() if isinstance(f, Welcome | Notice)), None)

    def heard(self) -> Iterator[Frame]:
        while not self.gone:
            try:
                data = self.connection.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            self.gone = not data
            yield from map(decode, self.frames.feed(data))

    def is_cut(self) -> bool:
        """Return whether the holder has hung up, and not only fallen silent."""
        list(self.heard())
        return self.gone


class Lines:
    """Many connections to the terminal of a place."""

    def __init__(self, place: Place, until_closed: ExitStack) -> None:
        self._place = place
        self._until_closed = until_closed

    def line(self) -> Line:
        connection = connect(self._place.folder / "main.terminal")
        assert connection is not None
        connection.settimeout(60)
        return Line(self._until_closed.enter_context(connection))

    def come(self, mode: Mode, count: int) -> list[Line]:
        """Let in `count` clients, and return their lines."""
        lines = [self.line() for _ in range(count)]
        for line in lines:
            assert isinstance(line.hello(mode), Welcome)
        return lines

    def refused(self, mode: Mode) -> str:
        line = self.line()
        said = line.hello(mode)
        assert isinstance(said, Notice)
        assert said.kind is NoticeKind.FAULT
        assert line.is_cut()
        return said.text


@pytest.fixture
def lines(place: Place) -> Iterator[Lines]:
    with ExitStack() as until_closed:
        yield Lines(place, until_closed)


@contextmanager
def hosted(place: Place) -> Iterator[HeldTerminal]:
    with place.peer() as host:
        host.hello("echo rea''dy; exec cat")
        host.shows(b"ready")
        yield host


def test_those_who_watch_leave_places_for_those_who_type(place: Place, lines: Lines) -> None:
    with hosted(place) as host:
        assert host.welcome is not None
        before = host.welcome.attachment
        lines.come(Mode.WATCH, TO_WATCH)
        assert "watched 40 times" in lines.refused(Mode.WATCH)
    with place.peer() as back:  # the host's line was cut, and others tried to take the place
        for _ in range(LINKS):
            lines.refused(Mode.WATCH)
        back.hello(attachment=before, seen=host.seen)
        assert back.welcome is not None
        assert back.welcome.attachment == before
        back.type(b"still\r")
        back.shows(b"still")


def test_one_who_watches_and_has_left_gives_the_place_back(place: Place, lines: Lines) -> None:
    with hosted(place):
        *_, last = lines.come(Mode.WATCH, TO_WATCH)
        lines.refused(Mode.WATCH)
        last.connection.close()
        wait_until(lambda: isinstance(lines.line().hello(Mode.WATCH), Welcome))


def test_one_who_comes_back_needs_no_further_place(place: Place, lines: Lines) -> None:
    """The holder does not know yet that the line before was cut."""
    with hosted(place):
        lines.come(Mode.WATCH, TO_WATCH - 1)
        last = lines.line()
        welcome = last.hello(Mode.WATCH)
        assert isinstance(welcome, Welcome)
        again = lines.line().hello(Mode.WATCH, welcome.attachment)
        assert isinstance(again, Welcome)
        assert again.attachment == welcome.attachment
        assert last.is_cut()


def test_so_many_may_type_and_who_takes_over_always_gets_in(place: Place, lines: Lines) -> None:
    with hosted(place) as host:
        lines.come(Mode.WATCH, TO_WATCH)
        others = lines.come(Mode.MIRROR, TO_TYPE - 1)
        assert "open 20 times" in lines.refused(Mode.MIRROR)
        assert isinstance(lines.line().hello(Mode.TAKE_OVER), Welcome)
        host.until(lambda: host.ended)
        assert [said.kind for said in host.notices] == [NoticeKind.TAKEN_OVER]
        assert all(other.is_cut() for other in others)
        assert isinstance(lines.line().hello(Mode.MIRROR), Welcome)


def test_those_who_say_nothing_take_no_more_than_there_are_places(
    place: Place, lines: Lines
) -> None:
    with hosted(place):
        silent = [lines.line() for _ in range(LINKS)]
        assert silent[-1].is_cut()
        assert isinstance(silent[0].hello(Mode.MIRROR), Welcome)


def test_clients_that_watch_make_none_forgotten_that_types(place: Place, lines: Lines) -> None:
    with hosted(place) as host:
        assert host.welcome is not None
        before, seen = host.welcome.attachment, host.seen
    for _ in range(2 * LINKS):
        line = lines.line()
        assert isinstance(line.hello(Mode.WATCH), Welcome)
        line.connection.close()
    with place.peer() as back:
        back.hello(attachment=before, seen=seen)
        assert back.welcome is not None
        assert back.welcome.attachment == before


@pytest.mark.parametrize("mode", list(Mode))
def test_no_client_goes_on_in_an_attachment_of_another_user(
    place: Place, lines: Lines, mode: Mode
) -> None:
    """Even one that knows its name, which is random and sent to no other client."""
    with hosted(place):
        host = lines.line()
        welcome = host.hello(Mode.MIRROR, owner="user:host")
        assert isinstance(welcome, Welcome)
        for owner in ("user:guest", "user:hos", "user:hosts", ""):
            other = lines.line().hello(mode, welcome.attachment, owner)
            assert isinstance(other, Welcome)
            assert other.attachment != welcome.attachment
        again = lines.line().hello(Mode.MIRROR, welcome.attachment, "user:host")
        assert isinstance(again, Welcome)
        assert again.attachment == welcome.attachment


def test_an_owner_of_more_than_128_bytes_is_refused(place: Place, lines: Lines) -> None:
    with hosted(place):
        assert isinstance(lines.line().hello(Mode.MIRROR, owner="é" * 64), Welcome)
        said = lines.line().hello(Mode.MIRROR, owner="é" * 64 + "x")
        assert isinstance(said, Notice)
        assert said.kind is NoticeKind.FAULT
