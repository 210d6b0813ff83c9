"""Terminals shown to others: by a link, by a rule of watching; and all that such a guest must not get.

Real gateway, shell and holder. `host` may enter app01 and app02, `guest` nothing, `ops` may watch app01.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from stagedoor.admin import service as admin
from stagedoor.model.permission import Permission
from stagedoor.wire.terminal.frames import (
    Detach,
    IdentityLevel,
    In,
    Mode,
    NoticeKind,
    Resize,
    Size,
)
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import END_S, WebTerminal, basic, post, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

WATCH = frozenset({Permission.WATCH})


def desk(gateway: Gateway) -> AbstractContextManager[admin.AdminService]:
    """As the commands have it, without a process for each."""
    return admin.open_service(gateway.data_dir)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("sharing"), SETTINGS, workers=2) as found:
        with desk(found) as service:
            for name in ("host", "guest", "ops"):
                admin.add_user(service, name, password=PASSWORD)
            for app in ("app01", "app02"):
                admin.add_grant(service, "user:host", app)
            admin.add_grant(service, "user:ops", "app01", permissions=WATCH)
        yield found.start()


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test."""
    return f"t{zlib.crc32(request.node.name.encode())}"


@pytest.fixture
def hosted(port: int, terminal: str) -> Iterator[WebTerminal]:
    """The host, in a terminal of that name."""
    client = WebTerminal(port)
    client.hello(ticket(port, headers=basic("host")), terminal=terminal)
    client.type(b"stty size; echo rea''dy\r")
    client.shows(b"ready")
    yield client
    client.close()


def ask(port: int, path: str, who: str = "host", **asked: object) -> tuple[int, dict[str, Any]]:
    status, answer, headers = post(port, path, json.dumps(asked).encode(), basic(who))
    assert headers["cache-control"] == "no-store"
    return status, answer


def share(port: int, terminal: str, **more: object) -> dict[str, Any]:
    """A share that every worker has heard of."""
    status, made = ask(port, "/api/share", target="app01", terminal=terminal, **more)
    assert status == 200, made
    everywhere(lambda: guest_ticket(port, made["fragment"])[0] == 200)
    return made


def everywhere(true: Callable[[], bool]) -> None:
    """Wait until every worker says so: one of them answers, and it is unknown which."""
    wait_until(lambda: all(true() for _ in range(16)))


def guest_ticket(port: int, secret: str, who: str = "guest") -> tuple[int, dict[str, Any]]:
    return ask(port, "/api/guest-ticket", who, share=secret)


def watching(port: int, secret: str, who: str = "guest", **hello: Any) -> WebTerminal:
    status, answer = guest_ticket(port, secret, who)
    assert status == 200, answer
    client = WebTerminal(port)
    client.hello(answer["ticket"], terminal=hello.pop("terminal", answer["terminal"]), **hello)
    return client


def refused(client: WebTerminal) -> str:
    """Why they were not let in."""
    client.until(lambda: client.notices)
    (said,) = client.notices
    assert said.kind is NoticeKind.DENIED
    assert client.welcome is None
    client.close()
    return said.text


def out(client: WebTerminal) -> str:
    """Return why they have to leave, which they hear in time."""
    client.until(lambda: any(said.kind is NoticeKind.REVOKED for said in client.notices), END_S)
    return next(said.text for said in client.notices if said.kind is NoticeKind.REVOKED)


def marks(client: WebTerminal) -> list[str]:
    """Return the names of those who watch, as the client heard last."""
    others = client.people[-1].people if client.people else ()
    return [person.name for person in others if person.mode is Mode.WATCH]


def people(client: WebTerminal) -> list[tuple[str, IdentityLevel, bool, Mode]]:
    """Return who is there, as the client hears it: name, how it is known, who typed last, what they do."""
    others = client.people[-1].people if client.people else ()
    return [(person.name, person.level, person.typed, person.mode) for person in others]


# What it is for.


def test_a_guest_sees_what_the_host_does_and_the_host_sees_who_looks(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    made = share(port, terminal)
    guest = watching(port, made["fragment"])
    assert guest.welcome is not None
    assert guest.welcome.mode is Mode.WATCH
    guest.until(lambda: b"ready" in guest.snapshot)
    hosted.until(lambda: marks(hosted) == ["guest"])
    hosted.type(b"echo $((40+2))-shown\r")
    guest.shows(b"42-shown")
    guest.close()
    hosted.until(lambda: marks(hosted) == [])
    audit = gateway.audit()
    opened = next(
        event
        for event in reversed(audit)
        if event["kind"] == "session.opened" and event["identity"] == "guest"
    )
    fields = opened["fields"]
    assert (fields["host"], fields["terminal"], fields["share"]) == ("host", terminal, made["id"])
    assert fields["may_type"] is False
    created = next(event for event in audit if event["fields"].get("share") == made["id"])
    assert created["identity"] == "host (web)"
    everything = json.dumps(audit) + json.dumps(gateway.lines)
    assert made["fragment"] not in everything


def test_the_secret_is_in_no_file(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    secret = share(port, terminal)["fragment"].encode()
    for path in gateway.folder.rglob("*"):
        with suppress(FileNotFoundError):  # what is written again comes and goes
            assert not path.is_file() or secret not in path.read_bytes(), path


# Attacks: more than looking.


def test_a_guest_cannot_type_resize_or_send_anybody_away(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    guest = watching(port, share(port, terminal)["fragment"], mode=Mode.TAKE_OVER)
    assert guest.welcome is not None
    assert guest.welcome.mode is Mode.WATCH
    guest.type(b"echo intru''der\r")
    guest.send(Resize(Size(20, 5)))
    guest.send(In(guest.typed, b"\x04"))
    guest.until(lambda: guest.received == len(b"echo intru''der\r") + 1)
    hosted.type(b"stty size; echo af''ter\r")
    hosted.shows(b"after")
    assert b"24 80" in hosted.text
    assert b"intruder" not in hosted.text
    assert not any(said.kind is NoticeKind.TAKEN_OVER for said in hosted.notices)
    guest.send(Detach())
    hosted.type(b"echo st''ill\r")
    hosted.shows(b"still")
    guest.close()


def joined(terminal: str) -> int:
    """Processes in the shell that carry those who watch a terminal."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes().rstrip(b"\0")  # there may be room behind them
            count += words.endswith(f"\0join\0{terminal}".encode())
    return count


def test_a_guest_who_comes_again_and_again_keeps_nobody_out(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    """63 visits by one link once filled the holder, and the host could not come back."""
    made = share(port, terminal)
    guests = [watching(port, made["fragment"]) for _ in range(8)]
    assert joined(terminal) == 8
    assert "guest watches this terminal 8 times" in refused(watching(port, made["fragment"]))
    ops = watching(port, made["fragment"], "ops")
    assert ops.welcome is not None, "another person still can"
    assert hosted.welcome is not None
    hosted.cut()
    back = WebTerminal(port).hello(
        ticket(port, headers=basic("host")),
        terminal=terminal,
        attachment=hosted.welcome.attachment,
        seen=hosted.seen,
    )
    back.type(b"echo ba''ck\r")
    back.shows(b"back")
    wait_until(lambda: joined(terminal) == 9)
    for guest in (*guests, ops):
        guest.close()
    wait_until(lambda: joined(terminal) == 0)
    again = watching(port, made["fragment"])
    assert again.welcome is not None
    again.close()
    back.close()


@pytest.mark.parametrize("who", ["guest", "host"])
def test_a_guest_goes_on_in_no_attachment_of_the_host(
    port: int, hosted: WebTerminal, terminal: str, who: str
) -> None:
    """Nor does the host as a guest of their own, who would be made to watch only."""
    assert hosted.welcome is not None
    name = hosted.welcome.attachment
    guest = watching(port, share(port, terminal)["fragment"], who, attachment=name)
    assert guest.welcome is not None
    assert guest.welcome.attachment != name
    again = guest.welcome.attachment
    guest.cut()
    back = watching(port, share(port, terminal)["fragment"], who, attachment=again)
    assert back.welcome is not None
    assert back.welcome.attachment == again
    hosted.type(b"echo st''ill\r")
    hosted.shows(b"still")
    back.close()


@pytest.mark.parametrize("mode", list(Mode))
def test_a_guest_starts_nothing(
    gateway: Gateway, port: int, terminal: str, mode: Mode, tmp_path: Path
) -> None:
    ask(port, "/api/terminals", target="app01")
    made = share(port, terminal)
    trace = tmp_path / "trace"
    _, answer = guest_ticket(port, made["fragment"])
    client = WebTerminal(port)
    client.hello(answer["ticket"], f"touch {trace}", terminal=terminal, mode=mode)
    assert "no longer exists" in refused(client) or "does not run" in refused(client)
    assert not trace.exists()
    listed = ask(port, "/api/terminals", target="app01")[1]["terminals"]
    assert terminal not in [entry["name"] for entry in listed]


def test_a_link_is_for_one_terminal(port: int, hosted: WebTerminal, terminal: str) -> None:
    made = share(port, terminal)
    other = WebTerminal(port)
    other.hello(ticket(port, headers=basic("host")), terminal="another")
    assert "another terminal" in refused(watching(port, made["fragment"], terminal="another"))
    other.close()


def test_a_guests_ticket_opens_no_other_door(port: int, hosted: WebTerminal, terminal: str) -> None:
    made = share(port, terminal)
    for path, asked in (
        ("/api/ticket", {"target": "app01"}),
        ("/api/terminals", {"target": "app01"}),
        ("/api/terminals/end", {"target": "app01", "terminal": terminal}),
        ("/api/terminals/history", {"target": "app01", "terminal": terminal}),
        ("/api/attached", {"target": "app01", "terminal": terminal}),
        ("/api/share", {"target": "app01", "terminal": terminal}),
        ("/api/guest-ticket", {"watch": "0"}),
    ):
        status, _ = ask(port, path, "guest", **asked)
        assert status == 403, path
    assert ask(port, "/api/share/end", "guest", id=made["id"])[0] == 400
    assert ask(port, "/api/shares", "guest") == (200, {"shares": []})
    assert guest_ticket(port, made["fragment"])[0] == 200


# Attacks: a link that is none, or no more.


def test_guesses_and_ended_links_are_refused_in_the_same_words(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    made = share(port, terminal)
    secret = made["fragment"]
    said = set()
    for wrong in ("", "x", made["id"], secret[:-1], secret + "A", secret.swapcase(), "\udce4", "é"):
        status, answer = guest_ticket(port, wrong)
        assert status == 403
        said.add(answer["message"])
    assert ask(port, "/api/share/end", id=made["id"])[0] == 200
    everywhere(lambda: guest_ticket(port, secret)[0] == 403)
    said.add(guest_ticket(port, secret)[1]["message"])
    assert len(said) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"{", b'{"share": 1}', b"[" * 4000, b"x" * 5000]
)
def test_what_cannot_be_read_is_refused(port: int, body: bytes) -> None:
    status, answer, _ = post(port, "/api/guest-ticket", body, basic("guest"))
    assert status == 400, answer


def test_nobody_looks_without_signing_in(port: int, hosted: WebTerminal, terminal: str) -> None:
    made = share(port, terminal)
    body = json.dumps({"share": made["fragment"]}).encode()
    assert post(port, "/api/guest-ticket", body)[0] == 401
    assert post(port, "/api/guest-ticket", body, basic("guest", "wrong"))[0] == 401


def test_a_page_of_another_site_opens_nothing(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    client = WebTerminal(port)
    with pytest.raises(InvalidStatus):
        client.open(origin=Origin("https://evil.example"))
    client.close()
    body = json.dumps({"target": "app01", "terminal": terminal}).encode()
    for path in (
        "/api/share",
        "/api/terminals",
        "/api/terminals/end",
        "/api/terminals/history",
        "/api/guest-ticket",
    ):
        status, _, _ = post(
            port, path, body, {"Cookie": "stagedoor=x", "Origin": "https://evil.example"}
        )
        assert status == 403, path


@pytest.mark.parametrize(
    "asked",
    [
        {"terminal": "<script>alert(1)</script>"},
        {"terminal": "../../etc"},
        {"terminal": ""},
        {"terminal": "a", "minutes": 0},
        {"terminal": "a", "minutes": -1},
        {"terminal": "a", "minutes": "60"},
        {"terminal": "a", "minutes": True},
        {"terminal": "a", "minutes": 10**400},
        {"terminal": "a", "minutes": 10**9},
        {"terminal": "a", "target": "<b>"},
        {"terminal": "a", "target": "secret"},
    ],
)
def test_odd_shares_are_not_made(port: int, asked: dict[str, object]) -> None:
    status, _ = ask(port, "/api/share", **{"target": "app01", **asked})
    assert status in (400, 403)


@pytest.mark.parametrize(
    "path", ["/shared", "/shared/terminal", "/watch/%22%3E%3Cscript%3Ealert(1)"]
)
def test_the_pages_for_guests_hold_nothing_foreign_and_tell_nothing(port: int, path: str) -> None:
    person = PlainBrowser(port)
    if path != "/shared":
        answer = person.get(path)
        assert answer.status == 303, "nobody is signed in"
        assert answer.headers["location"].startswith("/sign-in?next=")
        assert person.sign_in("guest").status == 303
    answer = person.get(path)
    assert answer.status in (200, 503)
    assert "<script>alert" not in answer.text
    assert "app01" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy


# Attacks: staying longer than one may.


def test_an_ended_share_ends_those_who_look(port: int, hosted: WebTerminal, terminal: str) -> None:
    made = share(port, terminal)
    guest = watching(port, made["fragment"])
    assert ask(port, "/api/share/end", id=made["id"])[0] == 200
    assert "ended" in out(guest)
    hosted.type(b"echo st''ill\r")
    hosted.shows(b"still")


def test_a_ticket_from_before_the_end_of_a_share_opens_nothing(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    """A worker that has not read the end yet sends the guest out again within seconds."""

    def is_refused(fragment: str) -> bool:
        return guest_ticket(port, fragment)[0] == 403

    for waits in (True, False):
        made = share(port, terminal)
        _, answer = guest_ticket(port, made["fragment"])
        assert ask(port, "/api/share/end", id=made["id"])[0] == 200
        if waits:
            everywhere(partial(is_refused, made["fragment"]))
        guest = WebTerminal(port).hello(answer["ticket"], terminal=terminal)
        if guest.welcome is None:
            assert "ended" in guest.notices[-1].text
        else:
            assert not waits
            assert "ended" in out(guest)


def test_a_share_expires_under_those_who_look(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    # Time enough for a busy machine to inform every worker, and to let the guest in.
    guest = watching(port, share(port, terminal, minutes=0.4)["fragment"])
    out(guest)


def test_the_hosts_grant_carries_the_share(gateway: Gateway, port: int, terminal: str) -> None:
    with desk(gateway) as service:
        number = admin.add_grant(service, "user:guest", "app02").id
    everywhere(lambda: _enters(port, "guest", "app02"))
    mine = WebTerminal(port)
    mine.hello(ticket(port, "app02", basic("guest")), terminal=terminal)
    status, made = ask(port, "/api/share", "guest", target="app02", terminal=terminal)
    assert status == 200
    everywhere(lambda: guest_ticket(port, made["fragment"], "ops")[0] == 200)
    looker = watching(port, made["fragment"], "ops")
    with desk(gateway) as service:
        admin.remove_grant(service, number)
    out(looker)
    assert "no grant" in out(mine)
    everywhere(lambda: guest_ticket(port, made["fragment"], "ops")[0] == 403)


def _enters(port: int, who: str, app: str) -> bool:
    return ask(port, "/api/ticket", who, target=app)[0] == 200


# Typing.


def test_who_may_enter_himself_types_by_a_share_that_lets_him(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    looking, typing = share(port, terminal), share(port, terminal, typing=True)
    assert guest_ticket(port, typing["fragment"])[1]["typing"] is False, "they have no grant"
    with desk(gateway) as service:
        number = admin.add_grant(service, "user:guest", "app01").id
    everywhere(lambda: _enters(port, "guest", "app01"))
    assert guest_ticket(port, looking["fragment"])[1]["typing"] is False
    guest = watching(port, typing["fragment"], mode=Mode.TAKE_OVER)
    assert guest.welcome is not None
    assert guest.welcome.mode is Mode.MIRROR
    guest.type(b"echo by-gu''est\r")
    hosted.shows(b"by-guest")
    here = [("host", IdentityLevel.USER, False), ("guest", IdentityLevel.GUEST, True)]
    hosted.until(lambda: people(hosted) == [(*person, Mode.MIRROR) for person in here])
    assert not any(said.kind is NoticeKind.TAKEN_OVER for said in hosted.notices)
    with desk(gateway) as service:
        admin.remove_grant(service, number)
    out(guest)
    hosted.type(b"echo st''ill\r")
    hosted.shows(b"still")


def test_who_has_the_secret_and_is_signed_in_learns_whose_terminal_it_is(
    port: int, hosted: WebTerminal, terminal: str
) -> None:
    made = share(port, terminal, typing=True)
    status, offer = ask(port, "/api/shared", "guest", share=made["fragment"])
    assert status == 200
    assert (offer["host"], offer["app"], offer["typing"]) == ("host", "app01", False)
    assert "ticket" not in offer
    status, refusal = ask(port, "/api/shared", "guest", share="not-a-secret")
    assert status == 403
    assert "host" not in json.dumps(refusal)
    stranger = post(port, "/api/shared", json.dumps({"share": made["fragment"]}).encode())
    assert stranger[:2] == (200, {})


# Watching by a rule.


def live(port: int, who: str = "ops") -> list[dict[str, Any]]:
    status, answer = ask(port, "/api/live", who)
    assert status == 200
    sessions: list[dict[str, Any]] = answer["sessions"]
    return sessions


def test_who_may_watch_sees_who_is_there_and_is_seen(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    wait_until(lambda: [session for session in live(port) if session["terminal"] == terminal])
    (found,) = [session for session in live(port) if session["terminal"] == terminal]
    assert (found["name"], found["target"]) == ("host", "app01.ssh")
    assert live(port, "guest") == []
    status, answer = ask(port, "/api/guest-ticket", "ops", watch=found["session"])
    assert status == 200
    watcher = WebTerminal(port)
    watcher.hello(answer["ticket"], terminal=terminal, mode=Mode.TAKE_OVER)
    assert watcher.welcome is not None
    assert watcher.welcome.mode is Mode.WATCH
    hosted.until(lambda: marks(hosted) == ["ops"])
    watcher.type(b"echo intru''der\r")
    hosted.type(b"echo se''en\r")
    watcher.shows(b"seen")
    assert b"intruder" not in hosted.text
    assert not any(session["name"] == "ops" for session in live(port)), "who looks is not watched"
    assert ask(port, "/api/ticket", "ops", target="app01")[0] == 403
    opened = [
        event["fields"] for event in gateway.audit()
        if event["kind"] == "session.opened" and event["identity"] == "ops"
    ]  # fmt: skip
    assert opened[-1]["host"] == "host"
    assert opened[-1]["share"] is None
    watcher.close()


def test_a_rule_of_watching_that_is_removed_ends_the_watching(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    wait_until(lambda: [session for session in live(port) if session["terminal"] == terminal])
    (found,) = [session for session in live(port) if session["terminal"] == terminal]
    status, answer = ask(port, "/api/guest-ticket", "ops", watch=found["session"])
    assert status == 200
    watcher = WebTerminal(port)
    watcher.hello(answer["ticket"], terminal=terminal)
    with desk(gateway) as service:
        (rule,) = [r for r in admin.read_policy(service).grants if r.permissions == WATCH]
        admin.remove_grant(service, rule.id)
    try:
        assert "watch" in out(watcher)
        everywhere(lambda: ask(port, "/api/guest-ticket", "ops", watch=found["session"])[0] == 403)
    finally:
        with desk(gateway) as service:
            admin.add_grant(service, "user:ops", "app01", permissions=WATCH)
    everywhere(lambda: bool(live(port)))


# Names.


def test_terminals_are_listed_with_who_is_at_them_and_ended(
    gateway: Gateway, port: int, hosted: WebTerminal, terminal: str
) -> None:
    def listed() -> dict[str, Any]:
        status, answer = ask(port, "/api/terminals", target="app01")
        assert status == 200
        assert answer["state"] == "ready"
        return {entry["name"]: entry["attached"] for entry in answer["terminals"]}

    wait_until(lambda: [entry["name"] for entry in listed()[terminal]] == ["host"])
    status, answer = ask(port, "/api/attached", target="app01", terminal=terminal)
    assert [person["name"] for person in answer["attached"]] == ["host"]
    assert ask(port, "/api/attached", target="app01", terminal="nowhere")[1] == {"attached": []}
    shell = ask(port, "/api/terminals/history", target="app01", terminal=terminal)
    assert shell == (200, {"history": ""}), "it shows no tmux"
    hosted.acknowledges = False
    assert ask(port, "/api/terminals/end", target="app01", terminal=terminal)[0] == 200
    hosted.until(lambda: hosted.exit)
    assert terminal not in listed()
    status, answer = ask(port, "/api/terminals/end", target="app01", terminal=terminal)
    assert (status, answer["message"]) == (400, f"there is no terminal {terminal}")


def test_to_list_starts_no_shell(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS) as gateway:
        with desk(gateway) as service:
            admin.add_user(service, "host", password=PASSWORD)
            admin.add_grant(service, "user:host", "app02")
        port = gateway.port("web")
        # Of the user first: a name that is not known yet would be throttled.
        gateway.wait_for(lambda line: line["event"] == "policy changed")
        wait_until(lambda: _enters(port, "host", "app02"))
        status, answer = ask(port, "/api/terminals", target="app02")
        assert (status, answer) == (200, {"state": "absent", "terminals": []})
        assert ask(port, "/api/terminals/end", target="app02", terminal="main")[0] == 503
        assert not any(event["kind"] == "session.opened" for event in gateway.audit())


def test_terminals_may_be_shared_by_nobody(tmp_path: Path) -> None:
    settings = SETTINGS.replace("[web]", "[web]\nshare_s = 0")
    with open_gateway(tmp_path, settings) as gateway:
        with desk(gateway) as service:
            admin.add_user(service, "host", password=PASSWORD)
            admin.add_grant(service, "user:host", "app01")
        port = gateway.port("web")
        # Of the user first: a name that is not known yet would be throttled.
        gateway.wait_for(lambda line: line["event"] == "policy changed")
        wait_until(lambda: _enters(port, "host", "app01"))
        status, answer = ask(port, "/api/share", target="app01", terminal="main")
        assert status == 403
        assert "may not be shared here" in answer["message"]
