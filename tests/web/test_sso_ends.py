"""Sign-ins that their identity provider ends, or changes, while they last: a real one, and real terminals."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from stagedoor.admin import service as admin
from stagedoor.keys.sealing import load_or_create_sealing_key
from stagedoor.settings.file import load_settings
from stagedoor.signin.provider_sign_in import REFRESH_PURPOSE
from stagedoor.store.sign_in.tables import provider_answers
from stagedoor.wire.terminal.frames import Notice, NoticeKind
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import Browser
from tests.fixtures.terminal import WebTerminal, basic, post, ticket
from tests.oidc.idp import Idp, running_idp, sso_table
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.test_single_sign_on import PERSON

ENDED = "Company ended your sign-in; sign in again"


@pytest.fixture(scope="module")
def web_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Idp]:
    back = f"http://127.0.0.1:{web_port}/sign-in/sso"
    client = {
        "backchannel_logout_uri": f"{back}/logout",
        "backchannel_logout_session_required": True,
    }
    with running_idp(
        tmp_path_factory.mktemp("idp"), {"carol-1": PERSON}, back, client=client
    ) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, idp: Idp, web_port: int) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("web")
    settings = SETTINGS.replace("127.0.0.1:0", f"127.0.0.1:{web_port}")
    settings += sso_table(idp, folder, 'groups = { "/teams/shop" = "shop" }\n')
    # Two workers: one of them asks at a time, and both hear what came of it.
    with Gateway(folder, settings, workers=2) as found:
        found.add_user("dev", "app01")
        with found.service() as service:
            admin.add_grant(service, "group:shop", "app01")
        yield found.start()


class Carol:
    """Signed in at the provider by a browser of her own, with a terminal open."""

    def __init__(self, idp: Idp, port: int) -> None:
        self.browser = Browser(f"http://127.0.0.1:{port}")
        self.browser.get(idp.sign_in(self.browser.begin(), "carol-1"))
        [cookie] = self.browser.jar
        self.shown = {"Cookie": f"{cookie.name}={cookie.value}", "Origin": self.browser.origin}
        self.port = port
        wait_until(lambda: self.asks() == 200)
        name = hashlib.sha256(str(cookie.value).encode()).hexdigest()[:12]
        self.terminal = WebTerminal(port).hello(ticket(port, headers=self.shown), terminal=name)

    def asks(self) -> int:
        return post(self.port, "/api/ticket", b'{"target": "app01"}', self.shown)[0]

    def works(self) -> None:
        self.terminal.type(b"echo still $((40+2))\n")
        self.terminal.shows(b"still 42")
        self.terminal.output.clear()

    def last_word(self) -> Notice:
        self.terminal.until(lambda: self.terminal.ended)
        self.terminal.close()
        return self.terminal.notices[-1]


@pytest.fixture
def carol(idp: Idp, gateway: Gateway, web_port: int) -> Iterator[Carol]:
    idp.set_account("carol-1", PERSON)
    new_carol = Carol(idp, web_port)
    yield new_carol
    new_carol.terminal.close()


def write(gateway: Gateway, **values: float) -> None:
    with gateway.service() as service, service.database.write() as transaction:
        transaction.execute(update(provider_answers).values(values))


def kept(gateway: Gateway, column: str) -> list[object]:
    with gateway.service() as service, service.database.read() as transaction:
        return list(transaction.execute(select(provider_answers.c[column])).scalars())


def ask_now(gateway: Gateway) -> None:
    """Let every session be due: one that would be asked about in ten minutes is asked about now."""
    write(gateway, ask_at=0.0)


@pytest.mark.identity(28)
def test_a_group_that_is_taken_away_there_closes_and_one_given_lets_in_without_a_sign_in(
    carol: Carol, idp: Idp, gateway: Gateway
) -> None:
    idp.set_account("carol-1", {**PERSON, "groups": []})
    ask_now(gateway)
    assert carol.last_word().kind is NoticeKind.REVOKED
    idp.set_account("carol-1", PERSON)
    ask_now(gateway)

    def groups() -> list[str]:
        events = gateway.audit()
        assert all(e["identity"] == "Company (sso)" for e in events if _is_refresh(e))
        return [e["fields"]["groups"] for e in events if _is_refresh(e)]

    wait_until(lambda: groups()[-2:] == ["", "shop"])
    wait_until(lambda: carol.asks() == 200)


def _is_refresh(event: dict[str, Any]) -> bool:
    return event["fields"].get("action") == "sso.refresh"


@pytest.mark.identity(27, 29)
def test_a_provider_that_fails_ends_nothing_and_one_that_refuses_ends_with_a_reason(
    carol: Carol, idp: Idp, gateway: Gateway
) -> None:
    idp.set_down(True)
    try:
        ask_now(gateway)
        wait_until(lambda: 1 in kept(gateway, "failures"))
        carol.works()
    finally:
        idp.set_down(False)
    idp.remove_account("carol-1")
    ask_now(gateway)
    word = carol.last_word()
    assert (word.kind, word.text) == (NoticeKind.SIGNED_OUT, ENDED)
    wait_until(lambda: carol.asks() == 401)
    assert "Sign in with Company" in carol.browser.get(f"{carol.browser.origin}/app/app01")[1]
    [groups] = [e for e in gateway.audit() if e["fields"].get("action") == "sign-in.end"][-1:]
    assert groups["fields"]["user"] == "carol"


@pytest.mark.identity(30)
def test_a_logout_there_ends_that_session_alone(
    carol: Carol, idp: Idp, gateway: Gateway, web_port: int
) -> None:
    session_id = kept_by_time(gateway)[-1]
    other = Carol(idp, web_port)
    for form in (b"", b"logout_token=x", b"logout_token=" + b"a" * 20_000):
        assert post(web_port, "/sign-in/sso/logout", form)[0] == 400
    carol.works()
    form = idp.log_out("carol-1", session_id)
    assert carol.last_word().text == ENDED
    # A person who has seen it cannot use it again.
    status, answer, _ = post(web_port, "/sign-in/sso/logout", form)
    assert (status, "used before" in answer["error_description"]) == (400, True)
    other.works()
    other.terminal.close()


def kept_by_time(gateway: Gateway) -> list[str]:
    query = select(provider_answers.c.session_id).order_by(provider_answers.c.answered_at)
    with gateway.service() as service, service.database.read() as transaction:
        return list(transaction.execute(query).scalars())


@pytest.mark.identity(34)
def test_while_the_provider_is_away_for_long_what_runs_goes_on_and_nothing_new_is_opened(
    carol: Carol, gateway: Gateway, web_port: int
) -> None:
    write(gateway, answered_at=1.0)
    status, answer, _ = post(web_port, "/api/ticket", b'{"target": "app01"}', carol.shown)
    assert status == 504
    assert "Company has not answered for 4 h" in json.dumps(answer)
    carol.works()
    # A person with a password still comes in.
    assert post(web_port, "/api/ticket", b'{"target": "app01"}', basic())[0] == 200
    # It answers: the same sign-in opens again.
    ask_now(gateway)
    wait_until(lambda: carol.asks() == 200)


@pytest.mark.identity(15)
def test_a_dump_of_the_store_has_no_refresh_token(carol: Carol, gateway: Gateway) -> None:
    assert carol.terminal is not None
    key = load_or_create_sealing_key(load_settings(gateway.file).sign_in_key_file)
    written = b"".join(
        path.read_bytes() for path in Path(gateway.folder).rglob("*") if path.is_file()
    )
    for sealed in kept(gateway, "refresh_token"):
        opened = key.open(REFRESH_PURPOSE, str(sealed))
        assert opened is not None
        assert key.open("sign-in under way", str(sealed)) is None
        assert opened not in written
        assert opened.decode() not in json.dumps(gateway.lines)
