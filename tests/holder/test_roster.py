"""The people at a terminal, as the holder lists them to each of them; and how one is kept out of it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stagedoor.holder.people import LOCK_GRACE_S, NOTIFY_S, TerminalPeople
from stagedoor.wire.terminal.frames import Hello, Lock, Mode, NoticeKind, Remove, Size
from tests.fixtures.terminal import HeldTerminal, Place


def hello(owner: str, mode: Mode = Mode.MIRROR) -> Hello:
    return Hello(owner, "main", "", 0, Size(80, 24), mode)


# Both holders, as processes.


class Company:
    def __init__(self, place: Place, until_closed: ExitStack) -> None:
        self._place = place
        self._until_closed = until_closed

    def comes(self, owner: str, mode: Mode = Mode.MIRROR, *, verb: str = "attach") -> HeldTerminal:
        peer = self._until_closed.enter_context(self._place.peer(verb=verb))
        peer.hello("exec cat", owner=owner, mode=mode)
        return peer


def wait_for_people(peer: HeldTerminal, *people: tuple[str, Mode]) -> None:
    """Wait until the holder's last list names exactly these people."""
    peer.until(
        lambda: (
            peer.people
            and [(person.name, person.mode) for person in peer.people[-1].people] == list(people)
        )
    )


@pytest.fixture
def company(place: Place) -> Iterator[Company]:
    with ExitStack() as until_closed:
        yield Company(place, until_closed)


ALICE, BOB = ("user:alice", Mode.MIRROR), ("guest:bob", Mode.WATCH)


def test_every_client_sees_who_is_there_however_they_came(company: Company) -> None:
    alice = company.comes("user:alice")
    wait_for_people(alice, ALICE)
    nameless = company.comes("", verb="join")
    wait_for_people(alice, ALICE, ("", Mode.MIRROR))
    wait_for_people(nameless, ALICE, ("", Mode.MIRROR))
    bob = company.comes(*BOB)
    wait_for_people(alice, ALICE, ("", Mode.MIRROR), BOB)
    wait_for_people(bob, ALICE, ("", Mode.MIRROR), BOB)
    you = [peer.people[-1].you for peer in (alice, nameless, bob)]
    assert you == [person.number for person in alice.people[-1].people]
    nameless.type(b"x")
    alice.until(
        lambda: [person.typed for person in alice.people[-1].people] == [False, True, False]
    )
    nameless.detach()
    wait_for_people(alice, ALICE, BOB)


@pytest.mark.parametrize(("offered", "sent"), [(0, 0), (2**31, 0), (2**31 | 1, 1)])
def test_a_client_is_sent_what_it_reads_and_the_holder_knows(
    company: Company, place: Place, offered: int, sent: int
) -> None:
    alice = company.comes("user:alice")
    with place.peer() as other:
        other.hello(features=offered)
        assert other.welcome is not None
        assert other.welcome.features == sent
        wait_for_people(alice, ALICE, ("", Mode.MIRROR))
        other.catch_up()
        assert bool(other.people) == bool(sent)


def test_the_owner_removes_one_who_is_not_waited_for(company: Company) -> None:
    alice, bob = company.comes("user:alice"), company.comes("guest:bob")
    wait_for_people(alice, ALICE, ("guest:bob", Mode.MIRROR))
    alice.send(Remove(alice.people[-1].people[1].number))
    bob.until(lambda: bob.ended)
    assert [(said.kind, said.text) for said in bob.notices] == [
        (NoticeKind.REVOKED, "alice has removed you from this terminal")
    ]
    wait_for_people(alice, ALICE)


def test_a_lock_keeps_others_out_until_it_is_lifted(company: Company, place: Place) -> None:
    alice, bob = company.comes("user:alice"), company.comes("user:bob")
    watcher = company.comes("watch:ops", Mode.WATCH)
    alice.send(Lock(on=True))
    bob.until(lambda: bob.ended)
    assert bob.notices[0].kind is NoticeKind.REVOKED
    assert "alice has locked this terminal" in bob.notices[0].text
    wait_for_people(alice, ALICE, ("watch:ops", Mode.WATCH))
    assert alice.people[-1].locked
    for owner, mode in (
        ("user:bob", Mode.MIRROR),
        ("user:bob", Mode.TAKE_OVER),
        ("user:bob", Mode.WATCH),
        ("watch:bob", Mode.MIRROR),
        ("guest:alice", Mode.WATCH),
        ("", Mode.WATCH),
    ):
        with place.peer(verb="join") as other:
            other.hello(owner=owner, mode=mode)
            assert other.welcome is None
            assert other.notices[0].kind is NoticeKind.DENIED
    company.comes("user:alice")
    watcher.catch_up()
    assert watcher.notices == []
    alice.send(Lock(on=False))
    alice.until(lambda: not alice.people[-1].locked)
    company.comes("user:bob")
    alice.until(lambda: len(alice.people[-1].people) == 4)


def test_the_list_shows_a_lock_for_as_long_as_it_holds(company: Company, place: Place) -> None:
    def listing() -> bytes:
        return bytes(place.start("list").communicate(timeout=60)[0])

    alice = company.comes("user:alice")
    alice.send(Lock(on=True))
    alice.until(lambda: alice.people and alice.people[-1].locked)
    assert listing() == b"main\tlocked\n"
    alice.send(Lock(on=False))
    alice.until(lambda: not alice.people[-1].locked)
    assert listing() == b"main\n"


def test_a_terminal_that_begins_again_is_not_locked_by_the_one_before(
    company: Company, place: Place
) -> None:
    alice = company.comes("user:alice")
    alice.send(Lock(on=True))
    alice.until(lambda: alice.people and alice.people[-1].locked)
    place.start("end", "main").communicate(timeout=60)
    (place.folder / "main.locked").touch()  # as a holder that was killed leaves it
    company.comes("user:bob")
    assert place.start("list").communicate(timeout=60)[0] == b"main\n"


@pytest.mark.parametrize(
    ("owner", "mode"),
    [
        ("guest:bob", Mode.MIRROR),
        ("user:bob", Mode.WATCH),
        ("watch:ops", Mode.WATCH),
        ("", Mode.MIRROR),
    ],
)
@pytest.mark.parametrize("frame", [Remove(1), Lock(on=True)])
def test_a_guest_and_one_who_watches_remove_and_lock_nothing(
    company: Company, owner: str, mode: Mode, frame: Remove | Lock
) -> None:
    alice, other = company.comes("user:alice"), company.comes(owner, mode)
    wait_for_people(alice, ALICE, (owner, mode))
    assert not alice.people[-1].locked
    other.send(frame)
    other.until(lambda: other.ended)
    assert [said.kind for said in other.notices] == [NoticeKind.FAULT]
    wait_for_people(alice, ALICE)
    assert not alice.people[-1].locked


# The decisions alone.


def test_a_lock_outlives_a_cut_line_and_not_its_owner() -> None:
    people = TerminalPeople()
    people.add_client(1, hello("user:alice"), 0)
    people.lock(1, on=True)
    people.remove_client(1, 10)
    assert people.refusal(hello("user:bob"), 10 + LOCK_GRACE_S - 1)
    assert people.refusal(hello("user:alice"), 11) is None
    assert people.refusal(hello("user:bob"), 10 + LOCK_GRACE_S) is None
    people.add_client(2, hello("user:bob"), 80)
    assert not people.lock(2, on=False)


def test_a_lock_whose_owner_stays_away_ends_by_time_alone() -> None:
    people = TerminalPeople()
    people.add_client(1, hello("user:alice"), 0)
    people.lock(1, on=True)
    people.remove_client(1, 10)
    assert people.find_due_at() == 10 + LOCK_GRACE_S
    people.take_due(10 + LOCK_GRACE_S)
    assert not people.is_locked
    assert people.find_due_at() is None


def test_two_who_type_in_turn_are_listed_twice_a_second_at_most() -> None:
    people = TerminalPeople()
    for link, owner in ((1, "user:alice"), (2, "user:bob")):
        people.add_client(link, hello(owner), 0)
    sent = 0
    for step in range(1000):
        people.note_input(1 + step % 2)
        sent += len(people.take_due(step / 100))
    assert sent == 2 * 10 / NOTIFY_S
    assert people.find_due_at() is not None, "and the last one is told of as well"
    assert people.take_due(100)[1].people[1].typed
    assert people.find_due_at() is None


def test_one_who_has_gone_meanwhile_is_not_removed_again() -> None:
    people = TerminalPeople()
    people.add_client(1, hello("user:alice"), 0)
    people.add_client(2, hello("user:bob"), 0)
    people.remove_client(2, 1)
    assert people.remove(1, 2) == {}
    assert not people.may_rule(2)
