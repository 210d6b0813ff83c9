"""The people at a terminal, as the holder and the gateways know them; and who may send others away."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stagedoor.client.attach.screen_writer import PresenceReport
from stagedoor.listeners.web.terminal.people import (
    DOUBT_S,
    PresenceNotices,
    list_admitted_numbers,
    with_levels,
)
from stagedoor.listeners.web.terminal.presence import group_by_terminal
from stagedoor.model.presence import PresenceEntry
from stagedoor.wire.terminal.frames import (
    IdentityLevel,
    Lock,
    Mode,
    NoticeKind,
    People,
    Person,
    Remove,
)
from tests.fixtures.gateway import Gateway
from tests.fixtures.terminal import Place, WebTerminal, ticket
from tests.waiting import wait_until
from tests.web.outer import attach_command, outer


def present(name: str, *, looks: bool = False, share: str | None = None) -> PresenceEntry:
    return PresenceEntry(f"session of {name}", name, "::1", "app01/dev", "main", looks, 50.0, share)


def people_of(*owners: str, you: int = 1) -> People:
    people = tuple(Person(number, owner, Mode.MIRROR) for number, owner in enumerate(owners, 1))
    return People(you, may_rule=True, locked=False, people=people)


def known(people: People) -> list[tuple[str, IdentityLevel]]:
    return [(person.name, person.level) for person in people.people]


def after(
    people: People, here: list[PresenceEntry], before: frozenset[int] = frozenset()
) -> set[int]:
    return list_admitted_numbers(people, here, before)


def test_those_whom_the_gateway_let_in_have_names() -> None:
    people = people_of("user:alice", "guest:bob", "watch:ops")
    assert after(people, [present("alice"), present("bob", share="s"), present("ops")]) == {1, 2, 3}
    assert known(with_levels(people, {1, 2, 3}, set())) == [
        ("alice", IdentityLevel.USER),
        ("bob", IdentityLevel.GUEST),
        ("ops", IdentityLevel.USER),
    ]
    assert known(with_levels(people, {1}, {2}))[1] == ("bob", IdentityLevel.SSH)
    assert known(with_levels(people, {1}, set()))[1] == ("bob", IdentityLevel.CLAIMED)


@pytest.mark.parametrize("owner", ["", "user:bob", "guest:bob", "bob", "root:bob", "user:alice"])
def test_a_name_that_is_claimed_in_the_shell_is_not_proved(owner: str) -> None:
    assert after(people_of("user:alice", owner), [present("alice")]) == {1}, "the reader themselves"


def test_of_a_crowd_only_those_are_looked_at_again_whose_terminal_has_news() -> None:
    """Each of a thousand who come would else have a thousand terminals looked through."""
    alice, bob = present("alice"), present("bob")
    elsewhere = replace(present("carol"), terminal="build")
    before = group_by_terminal([alice, elsewhere], {})
    assert before == {("app01/dev", "main"): [alice], ("app01/dev", "build"): [elsewhere]}
    # From the store they come as new objects each time.
    after = group_by_terminal([replace(alice), replace(elsewhere), bob], before)
    assert after["app01/dev", "main"] == [alice, bob]
    assert after["app01/dev", "build"] is before["app01/dev", "build"]
    assert group_by_terminal([], after) == {}


class Inbox:
    """The notices to a client, with a clock."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self.said: list[list[tuple[str, IdentityLevel]]] = []
        self.notices = PresenceNotices(lambda: self.now)

    def people(self, *owners: str) -> None:
        self._take(self.notices.set_people(people_of(*owners)))

    def looks(self, here: list[PresenceEntry]) -> None:
        self._take(self.notices.set_present(here))

    def _take(self, notice: People | None) -> None:
        if notice is not None:
            self.said.append(known(notice))


def test_those_at_a_terminal_are_told_of_news_and_of_a_doubt_that_is_over() -> None:
    client = Inbox(now=0.0)
    here = [present("alice")]
    client.people("user:alice", "user:bob")
    for _ in range(2):
        client.looks(here)
    assert client.said == [[("alice", IdentityLevel.USER), ("bob", IdentityLevel.CLAIMED)]]
    client.now = DOUBT_S
    client.looks(here)
    assert client.said[1:] == [[("alice", IdentityLevel.USER), ("bob", IdentityLevel.SSH)]]


def test_a_name_of_one_who_watches_is_no_name_of_one_who_types() -> None:
    here = [present("alice"), present("ops", looks=True)]
    assert after(people_of("user:alice", "user:ops"), here) == {1}


def test_of_two_who_claim_a_name_neither_is_taken_for_the_other() -> None:
    people = people_of("user:bob", "user:bob", "user:alice", you=3)
    assert after(people, [present("bob"), present("alice")]) == {3}
    assert after(people, [present("bob"), present("alice")], frozenset({2})) == {2, 3}


ALICE, BOB = ("alice", IdentityLevel.USER), ("bob", IdentityLevel.USER)


def test_one_let_in_by_another_gateway_is_never_shown_as_by_ssh() -> None:
    client = Inbox()
    client.people("user:alice", "user:bob")
    client.looks([present("alice")])  # asked before bob came
    client.now += DOUBT_S - 1
    client.looks([present("alice"), present("bob")])
    client.now += 100
    client.looks([present("alice")])  # and gone before the holder has heard of it
    client.people("user:alice")
    assert client.said == [[ALICE, ("bob", IdentityLevel.CLAIMED)], [ALICE, BOB], [ALICE]]


def test_one_by_ssh_is_seen_at_once_and_known_for_it_soon() -> None:
    client = Inbox()
    client.people("user:alice", "")
    client.looks([present("alice")])
    client.now += DOUBT_S
    client.looks([present("alice")])
    client.looks([present("alice")])
    assert client.said == [[ALICE, ("", IdentityLevel.CLAIMED)], [ALICE, ("", IdentityLevel.SSH)]]


def test_attach_has_a_line_for_it() -> None:
    company = PresenceReport()
    assert company.report_change(people_of("user:alice")) is None
    people = (
        Person(1, "alice", Mode.MIRROR, IdentityLevel.USER),
        Person(2, "bob", Mode.MIRROR, IdentityLevel.USER, typed=True),
        Person(3, "", Mode.MIRROR, IdentityLevel.SSH),
        Person(4, "o\x1bps", Mode.WATCH, IdentityLevel.GUEST),
    )
    line = "also here: bob (types, typed last), unverified ssh login (types), ops by link (watches)"
    update = company.report_change(People(1, may_rule=True, locked=False, people=people))
    assert update is not None
    assert "\x1b" not in update[0]
    assert update[0].replace("?", "").replace("\ufffd", "") == line
    assert update[1]
    quiet = tuple(
        Person(person.number, person.name, person.mode, person.level) for person in people
    )
    again = company.report_change(People(1, may_rule=True, locked=False, people=quiet))
    assert again is not None
    assert not again[1], "only who typed last has changed"
    assert company.report_change(People(1, may_rule=True, locked=False, people=people[:1])) == (
        "",
        True,
    )


# A whole gateway.


@pytest.fixture
def host(port: int) -> Iterator[WebTerminal]:
    visitor = WebTerminal(port)
    visitor.hello(ticket(port), terminal="kept")
    yield visitor
    visitor.close()


def at(visitor: WebTerminal) -> list[tuple[str, Mode, IdentityLevel]]:
    people = visitor.people[-1].people if visitor.people else ()
    return [(person.name, person.mode, person.level) for person in people]


DEV = ("dev", Mode.MIRROR, IdentityLevel.USER)


def test_who_comes_by_a_command_in_the_shell_is_seen(host: WebTerminal, gateway: Gateway) -> None:
    host.until(lambda: at(host) == [DEV])
    place = Place(gateway.data_dir / "shells/app01/terminals")
    with place.peer("kept", verb="join") as root:
        root.hello(owner="user:root")
        host.until(lambda: at(host) == [DEV, ("root", Mode.MIRROR, IdentityLevel.SSH)])
        host.send(Remove(host.people[-1].people[1].number))
        assert root.process.wait(60) == 0
        host.until(lambda: at(host) == [DEV])


@pytest.mark.parametrize("frame", [Remove(1), Lock(on=True)])
def test_one_who_watches_can_neither_remove_nor_lock(
    host: WebTerminal, port: int, frame: Remove | Lock
) -> None:
    watcher = WebTerminal(port)
    watcher.hello(ticket(port), terminal="kept", mode=Mode.WATCH)
    host.until(lambda: at(host) == [DEV, ("dev", Mode.WATCH, IdentityLevel.USER)])
    watcher.send(frame)
    watcher.until(lambda: watcher.notices)
    assert watcher.notices[0].kind is NoticeKind.FAULT
    watcher.close()
    host.until(lambda: at(host) == [DEV])
    assert not host.people[-1].locked


def test_what_is_beyond_the_window_of_another_is_cleared_in_attach(
    port: int, tmp_path: Path
) -> None:
    with outer(tmp_path) as screen:
        screen.start(attach_command(tmp_path, port, "app01", "--name", "wide", "--shell"))
        screen.line(r"printf '\033[?1049h\033[30;100Hbey%s' ond; read nothing")
        screen.shows("beyond")
        other = WebTerminal(port)
        other.hello(ticket(port), terminal="wide")  # 80 by 24
        wait_until(lambda: "beyond" not in screen.screen())
        other.close()
