"""Signing out ends what that sign-in opened, in every worker, and nothing that another one did.

Real gateway with two workers, shells and holders. `dev` may enter app01 and play recordings.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import update

from stagedoor.admin import service as admin
from stagedoor.admin.person import set_disabled
from stagedoor.store.sign_in.tables import web_passes
from stagedoor.wire.terminal.frames import Notice, NoticeKind
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import END_S, WebTerminal, basic, post, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.mover import MIB, Mover, Sent, content

PLAYS = ("grant", "add", "user:dev", "*", "--allow", "replay", "--without", "enter", "--json")
LARGE = 32 * MIB
"""More than the sockets and buffers on the way hold."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("sign-out"), SETTINGS, workers=2) as found:
        found.add_user("dev", "app01")
        found.command(*PLAYS)
        folder = found.data_dir / "recordings"
        folder.mkdir(mode=0o700)
        (folder / "0long.1.cast").write_bytes(
            b'{"version": 2, "width": 80, "height": 24}\n' + bytes(LARGE)
        )
        yield found.start()


def signed_in(port: int) -> PlainBrowser:
    person = PlainBrowser(port)
    assert person.sign_in().status == 303
    return person


def shown(person: PlainBrowser) -> dict[str, str]:
    assert person.origin is not None
    return {"Cookie": person.cookie, "Origin": person.origin}


def at_terminal(person: PlainBrowser, terminal: str) -> WebTerminal:
    return WebTerminal(person.port).hello(
        ticket(person.port, headers=shown(person)), terminal=terminal
    )


def last_word(client: WebTerminal) -> Notice:
    """Return what the page shows when it is over."""
    client.until(lambda: client.ended)
    client.close()
    return client.notices[-1]


def still_works(client: WebTerminal) -> None:
    client.type(b"echo still $((40+2))\n")
    client.shows(b"still 42")
    client.close()


def test_signing_out_closes_its_terminals_in_every_worker_and_no_others(
    gateway: Gateway, port: int
) -> None:
    leaver, stayer = signed_in(port), signed_in(port)
    # The kernel gives each to one of the workers.
    opened = [at_terminal(leaver, f"leaver{number}") for number in range(6)]
    elsewhere = at_terminal(stayer, "stayer")
    by_password = WebTerminal(port).hello(ticket(port, headers=basic()), terminal="client")
    theirs = {client.source for client in opened}

    def told_of_sign_outs() -> list[dict[str, Any]]:
        return [e for e in gateway.audit() if e["fields"].get("action") == "web.sign-out"]

    before = len(told_of_sign_outs())
    began = time.monotonic()
    assert leaver.post("/sign-out").status == 303
    for client in opened:
        word = last_word(client)
        assert word.kind is NoticeKind.SIGNED_OUT
        assert "you signed out" in word.text
    assert time.monotonic() - began < END_S
    still_works(elsewhere)
    still_works(by_password)
    assert stayer.get("/").status == 200
    for source in theirs:
        line = gateway.wait_for_session(source)
        assert line["outcome"] == "revoked"
        assert "you signed out" in line["detail"]
    (sign_out,) = told_of_sign_outs()[before:]
    assert sign_out["identity"] == "dev (web)"
    assert sign_out["fields"]["user"] == "dev"


def test_a_ticket_made_before_is_void(port: int) -> None:
    person = signed_in(port)
    made = ticket(port, headers=shown(person))
    assert person.post("/sign-out").status == 303
    client = WebTerminal(port).hello(made)
    assert last_word(client).kind is NoticeKind.DENIED
    status, answer, _ = post(port, "/api/ticket", b'{"target": "app01"}', shown(person))
    assert (status, answer["reason"]) == (401, "credential_wrong")


@pytest.mark.parametrize(
    "change",
    ["grant removed", "user disabled", "password changed", "token revoked", "expired"],
)
def test_a_ticket_opens_nothing_after_what_it_came_by_is_gone(
    gateway: Gateway, port: int, change: str
) -> None:
    name = change.split()[0]
    gateway.add_user(name, "app01")
    with gateway.changed() as service:
        token = admin.create_token(service, name)
        policy = admin.read_policy(service)
    by = basic(name, token.text if name == "token" else PASSWORD)
    made, good = ticket(port, headers=by), ticket(port, headers=by)
    opened = WebTerminal(port).hello(good, terminal=name)
    assert opened.welcome is not None, "the other ticket would have opened it"
    opened.close()
    with gateway.changed() as service:
        match change:
            case "grant removed":
                (rule,) = policy.find_grants(policy.users[name].subjects)
                admin.remove_grant(service, rule.id)
            case "user disabled":
                set_disabled(service, name, disabled=True)
            case "password changed":
                admin.set_password(service, name, "another long password")
            case "token revoked":
                admin.revoke_token(service, token.id)
            case "expired":
                with service.database.write() as transaction:
                    kept = web_passes.c.user_name == name
                    transaction.execute(update(web_passes).where(kept).values(expires_at=1))
    client = WebTerminal(port).hello(made, terminal=name)
    assert (client.welcome, last_word(client).kind) == (None, NoticeKind.DENIED)


def test_of_two_clients_with_one_ticket_one_gets_in(port: int) -> None:
    for _ in range(5):
        made, together = ticket(port, headers=basic()), Barrier(4)

        def enter(shown: str = made, together: Barrier = together) -> WebTerminal:
            client = WebTerminal(port)
            client.open()
            together.wait()
            return client.hello(shown, terminal="race")

        with ThreadPoolExecutor(4) as pool:
            clients = [future.result() for future in [pool.submit(enter) for _ in range(4)]]
        assert sum(client.welcome is not None for client in clients) == 1
        for client in clients:
            client.close()


def test_files_on_their_way_stop(gateway: Gateway, port: int, tmp_path: Path) -> None:
    mover = Mover(port)
    other = Mover(port)
    (tmp_path / "down").write_bytes(b"".join(content(LARGE)))
    sent, kept = Sent(tmp_path, b"f", LARGE), Sent(tmp_path, b"g", 5)
    down, up = mover.connect(), mover.connect()
    down.request(
        "GET", mover.files(f"path={quote(str(tmp_path))}/down"), headers=mover.headers("GET")
    )
    reading = down.getresponse()
    got = len(reading.read(MIB))
    mover.put_head(up, sent, mover.offset(sent))
    up.send(next(content(MIB)))
    wait_until(lambda: sent.part.exists() and sent.part.stat().st_size > 0)
    assert mover.ask("POST", "/sign-out", b"").status == 303
    answer = up.getresponse()
    assert answer.status == 403
    assert b"you signed out" in answer.read()
    gateway.wait_for_policy()  # the download may be another worker's
    with suppress(OSError):
        while piece := reading.read1(MIB):
            got += len(piece)
    assert got < LARGE
    down.close()
    up.close()
    assert mover.begin(sent).status == 401
    assert other.send(kept, b"12345").status == 200


@pytest.mark.parametrize("ended", ["grant", "sign-out"])
def test_a_recording_that_plays_stops(gateway: Gateway, port: int, ended: str) -> None:
    """With the sign-in, and with the grant to play it."""
    mover = Mover(port)
    line = mover.connect()
    line.request("GET", "/recordings/0long.1/cast", headers=mover.headers("GET"))
    answer = line.getresponse()
    got = len(answer.read(MIB))
    assert answer.status == 200
    if ended == "grant":
        grants = json.loads(gateway.command("grant", "list", "--json").stdout)
        (number,) = [grant["id"] for grant in grants if grant["permissions"] == ["replay"]]
        gateway.command("grant", "remove", str(number))
    else:
        assert mover.ask("POST", "/sign-out", b"").status == 303
    gateway.wait_for_policy()  # what is not read waits in the gateway
    with suppress(OSError):
        while piece := answer.read1(MIB):
            got += len(piece)
    assert got < LARGE
    line.close()
    again = mover.ask("GET", "/recordings/0long.1/cast")
    if ended == "grant":
        assert (again.status, b"ask an administrator" in again.body) == (403, True)
        gateway.command(*PLAYS)
    else:
        assert (again.status, again.body) == (401, b"sign in again\n")


def test_signing_in_anew_ends_what_the_cookie_before_had_opened(port: int) -> None:
    person = signed_in(port)
    before = at_terminal(person, "before")
    assert person.sign_in().status == 303
    assert last_word(before).kind is NoticeKind.SIGNED_OUT
    still_works(at_terminal(person, "after"))


def ending(gateway: Gateway, person: PlainBrowser, at: float) -> None:
    """Set the end of a sign-in."""
    secret = person.cookie.partition("=")[2]
    with gateway.service() as service, service.database.write() as transaction:
        changed = transaction.execute(
            update(web_passes)
            .where(web_passes.c.secret_hash == hashlib.sha256(secret.encode()).digest())
            .values(expires_at=at)
        )
        assert changed.rowcount == 1


def test_a_sign_in_that_expires_ends_what_it_opened(gateway: Gateway, port: int) -> None:
    """And one that is used meanwhile ends nothing: what it opened goes on in every worker."""
    person, other = signed_in(port), signed_in(port)
    soon = time.time() + 8  # a busy machine is inside by then
    ending(gateway, person, soon)
    ending(gateway, other, soon)
    elsewhere = at_terminal(other, "elsewhere")
    _, said, _ = post(port, "/api/sign-in", b'{"used": true}', shown(other))
    assert said["left_s"] > 11 * 3600
    assert said["latest_s"] > said["left_s"]
    client = at_terminal(person, "short")
    word = last_word(client)
    assert time.time() >= soon
    assert (word.kind, "your sign-in has expired" in word.text) == (
        NoticeKind.SIGNED_OUT,
        True,
    )
    wait_until(lambda: gateway.sessions("expired"))
    assert person.get("/").status == 303
    still_works(elsewhere)


@pytest.mark.parametrize("cookie", ["", "stagedoor=nonsense", "stagedoor="])
def test_who_has_not_signed_in_changes_nothing(gateway: Gateway, port: int, cookie: str) -> None:
    """Each change makes every worker read the policy again: that is not for strangers to ask for."""
    with gateway.service() as service:
        before = admin.read_policy(service).version
        assert PlainBrowser(port, cookie=cookie).post("/sign-out").status == 303
        assert admin.read_policy(service).version == before


def test_a_page_of_another_site_signs_nobody_out(port: int) -> None:
    person = signed_in(port)
    client = at_terminal(person, "kept")
    stranger = PlainBrowser(port, cookie=person.cookie, origin="https://elsewhere.example")
    assert stranger.post("/sign-out").status == 403
    still_works(client)
