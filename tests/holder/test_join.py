"""Guests at another user's terminal: nothing is ever started for them."""

import socket

import pytest

from stagedoor.holder.folder import NOT_THERE, list_terminals
from stagedoor.wire.terminal.frames import Mode, NoticeKind, Size
from tests.fixtures.terminal import Place
from tests.waiting import wait_until


def join(place: Place, name: str = "main") -> tuple[int, str]:
    process = place.start("join", name)
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr.decode()


def test_one_who_joins_is_at_the_same_terminal(place: Place) -> None:
    with place.peer() as host:
        host.hello().type(b"echo he''re\r")
        host.shows(b"here")
        with place.peer(verb="join") as guest:
            guest.hello(mode=Mode.WATCH)
            guest.until(lambda: b"here" in guest.snapshot)
            host.type(b"echo mo''re\r")
            guest.shows(b"more")


def test_what_is_not_there_is_not_joined_and_nothing_is_left_behind(place: Place) -> None:
    assert join(place) == (NOT_THERE, "stagedoor: there is no terminal main\n")
    assert list(place.folder.iterdir()) == []


def test_a_terminal_that_has_ended_is_not_started_again(place: Place) -> None:
    with place.peer() as host:
        host.hello("exit 0")
        host.until(lambda: host.exit)
        host.detach()
    wait_until(lambda: not list(place.folder.glob("*.terminal")))
    assert join(place)[0] == NOT_THERE
    assert not list(place.folder.glob("*.terminal"))


def test_one_whose_holder_was_killed_is_not_started_again(place: Place) -> None:
    """Its socket is still there, and no process listens."""
    with place.peer() as host:
        host.hello("exit 0")
        host.until(lambda: host.exit)
        host.detach()
    wait_until(lambda: not list(place.folder.glob("*.terminal")))
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place.folder / "main.terminal"))
    assert join(place)[0] == NOT_THERE


@pytest.mark.parametrize("name", ["../main", "", "-h"])
def test_what_is_no_name_is_not_joined(place: Place, name: str) -> None:
    code, why = join(place, name)
    assert code == 1
    assert "is not a name" in why


def test_one_who_only_looks_starts_nothing_even_where_he_is_the_first(place: Place) -> None:
    """Between the holder's start and its host's first word."""
    with place.peer() as host:
        wait_until(lambda: list_terminals(place.folder) == ["main"])
        with place.peer(verb="join") as guest:
            guest.hello("echo intru''der", mode=Mode.WATCH)
            assert guest.welcome is None
            assert [said.kind for said in guest.notices] == [NoticeKind.FAULT]
            guest.until(lambda: guest.ended)
        host.hello("stty size; echo st''arted; exec cat", size=Size(101, 33))
        host.shows(b"started")
        assert b"33 101" in host.text
        assert b"intruder" not in host.text
