"""Recordings on the web, over plain HTTP: who may see them, which bytes leave, what is written down."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.model.permission import Permission
from stagedoor.model.selector import ALL_USERS
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import WebTerminal, basic, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("recordings"), SETTINGS) as found:
        found.add_user("dev", "app01", "app02")
        found.add_user("auditor")
        found.add_user("lead")
        found.permit(ALL_USERS, "app0*", Permission.RECORD)
        found.permit("user:auditor", "*", Permission.REPLAY)
        found.permit("group:leads", "app02", Permission.REPLAY)
        found.command("user", "group", "lead", "--add", "leads")
        found.start()
        for app in ("app01", "app02"):
            made(found, app)
        yield found


def made(gateway: Gateway, app: str) -> None:
    """A recording of a terminal in `app`, ended."""
    port = gateway.port("web")
    client = WebTerminal(port).hello(ticket(port, app, basic()), f"echo this is {app}")
    client.until(lambda: client.exit is not None)
    client.close()
    wait_until(
        lambda: [
            e
            for e in gateway.audit()
            if e["kind"] == "recording.ended" and e["target"] == f"{app}.ssh"
        ]
    )


def test_a_text_is_found_where_it_was_shown_and_the_search_is_a_view(
    port: int, recordings: dict[str, str], gateway: Gateway
) -> None:
    auditor, lead = inside(port, "auditor"), inside(port, "lead")
    before = len(viewed(gateway))
    page = auditor.get("/recordings?text=THIS+is+app").text
    assert "this is app01" in page
    assert "this is app02" in page
    assert re.search(rf"/recordings/{recordings['app01']}#at=[0-9.]+", page)
    names = [(name, file.partition(".cast")[0]) for name, file in viewed(gateway)[before:]]
    assert sorted(names) == sorted(("auditor", id_) for id_ in recordings.values())
    assert gateway.audit()[-1]["fields"]["searched"] == "THIS is app"
    page = lead.get("/recordings?text=this+is+app").text
    assert "this is app02" in page
    assert "app01" not in page, "not theirs to play"
    for query in ("text=nothing+like+it", "text=this&user=stranger", "text=this&app=other"):
        assert "No recording matches." in auditor.get(f"/recordings?{query}").text
    assert "this is app" in auditor.get("/recordings?text=this&days=1&user=de").text
    assert inside(port, "dev").get("/recordings?text=this").status == 403


@pytest.fixture
def recordings(gateway: Gateway) -> dict[str, str]:
    """The id by the app."""
    rows = json.loads(gateway.command("recording", "list", "--json").stdout)
    return {row["target"].removesuffix(".ssh"): row["id"] for row in rows if row["target"]}


def inside(port: int, name: str) -> PlainBrowser:
    person = PlainBrowser(port)
    assert person.sign_in(name).status == 303
    return person


def viewed(gateway: Gateway) -> list[tuple[str | None, str]]:
    """Return who looked at what, oldest first."""
    return [
        (event["identity"] or event["fields"].get("actor"), event["fields"]["recording"])
        for event in gateway.audit()
        if event["kind"] == "recording.viewed"
    ]


def test_nobody_sees_any_unless_he_is_named(
    port: int, recordings: dict[str, str], gateway: Gateway
) -> None:
    dev, stranger = inside(port, "dev"), PlainBrowser(port)
    assert "/recordings" not in dev.get("/").text
    for path in (
        "/recordings",
        f"/recordings/{recordings['app01']}",
        f"/recordings/{recordings['app01']}/cast",
    ):
        answer = dev.get(path)
        assert answer.status == 403, path
        assert "may not play recordings" in answer.text
        assert "this is app01" not in answer.text
        assert stranger.get(path).status in (303, 401), path
    wait_until(
        lambda: [
            e for e in gateway.audit() if e["kind"] == "session.denied" and e["identity"] == "dev"
        ]
    )
    assert not [who for who, _ in viewed(gateway) if who == "dev"]


def test_a_token_opens_none(port: int, gateway: Gateway, recordings: dict[str, str]) -> None:
    person = PlainBrowser(port)
    token = gateway.token("auditor")
    assert person.sign_in("auditor", token).status == 303
    assert person.get(f"/recordings/{recordings['app01']}/cast").status == 403


def test_who_is_named_sees_the_list_and_it_is_written_down_when_he_plays(
    port: int, recordings: dict[str, str], gateway: Gateway
) -> None:
    auditor = inside(port, "auditor")
    assert 'href="/recordings"' in auditor.get("/").text
    page = auditor.get("/recordings").text
    for app in ("app01", "app02"):
        assert f"/recordings/{recordings[app]}" in page
    assert re.search(r'<td class="number">0:0\d</td>', page), page
    assert f'href="/recordings/{recordings["app01"]}/cast" download' in page
    only = auditor.get("/recordings?app=app02").text
    assert recordings["app01"] not in only
    assert recordings["app02"] in only
    before = viewed(gateway)
    assert auditor.get(f"/recordings/{recordings['app01']}").status in (200, 503)
    answer = auditor.get(f"/recordings/{recordings['app01']}/cast")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-asciicast"
    assert answer.headers["cache-control"] == "no-store"
    assert "this is app01" in answer.text
    again = auditor.get(f"/recordings/{recordings['app01']}/cast", Range="bytes=0-9")
    assert again.status == 206
    news = viewed(gateway)[len(before) :]
    assert news == [("auditor", f"{recordings['app01']}.cast")], (
        "once, though it was asked for twice"
    )


def test_a_rule_for_some_apps_shows_no_others(port: int, recordings: dict[str, str]) -> None:
    lead = inside(port, "lead")
    page = lead.get("/recordings").text
    assert recordings["app02"] in page
    assert recordings["app01"] not in page
    assert lead.get(f"/recordings/{recordings['app02']}/cast").status == 200
    hidden = lead.get(f"/recordings/{recordings['app01']}/cast")
    missing = lead.get("/recordings/000000/cast")
    assert hidden.status == missing.status == 404
    assert hidden.text == missing.text, "whether it is there is not told"


def test_ranges_are_those_of_the_file(
    port: int, recordings: dict[str, str], gateway: Gateway
) -> None:
    auditor = inside(port, "auditor")
    path = f"/recordings/{recordings['app01']}/cast"
    whole = (gateway.data_dir / "recordings" / f"{recordings['app01']}.cast").read_text()
    assert auditor.get(path).text == whole
    part = auditor.get(path, Range="bytes=5-14")
    assert (part.status, part.text) == (206, whole[5:15])
    assert part.headers["content-range"] == f"bytes 5-14/{len(whole)}"
    assert auditor.get(path, Range="bytes=-7").text == whole[-7:]
    behind = auditor.get(path, Range=f"bytes={len(whole)}-")
    assert (behind.status, behind.headers["content-range"]) == (416, f"bytes */{len(whole)}")


@pytest.mark.parametrize("name", ["..%2f..%2fstagedoor.toml", "..", "%00", "a/b", "x" * 5000])
def test_no_name_leads_out_of_the_folder(port: int, name: str) -> None:
    answer = inside(port, "auditor").get(f"/recordings/{name}/cast")
    assert answer.status == 404
    assert "data_dir" not in answer.text


def test_a_link_in_the_folder_is_no_recording(port: int, gateway: Gateway, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (gateway.data_dir / "recordings" / "01planted.1.cast").symlink_to(secret)
    assert inside(port, "auditor").get("/recordings/01planted.1/cast").status == 404


def test_an_encrypted_one_is_refused_in_one_line(port: int, gateway: Gateway) -> None:
    (gateway.data_dir / "recordings" / "01sealed.1.cast.age").write_bytes(
        b"age-encryption.org/v1\n"
    )
    auditor = inside(port, "auditor")
    page = auditor.get("/recordings/01sealed.1")
    assert page.status == 200
    assert "stagedoor recording play 01sealed.1 --identity FILE" in page.text
    answer = auditor.get("/recordings/01sealed.1/cast")
    assert answer.status == 409
    assert answer.text.count("\n") == 1
    assert "encrypted" in answer.text
    assert "encrypted" in auditor.get("/recordings").text


def test_what_stands_in_names_is_text(port: int, recordings: dict[str, str]) -> None:
    page = inside(port, "auditor").get("/recordings?app=%22%3E%3Cscript%3Ex%3C/script%3E").text
    assert "<script>x" not in page
    assert not re.search(r"\son[a-z]+\s*=|\sstyle\s*=", page)


def test_a_command_that_plays_is_written_down_too(
    gateway: Gateway, recordings: dict[str, str]
) -> None:
    before = viewed(gateway)
    shown = gateway.command("recording", "play", recordings["app02"]).stdout
    assert "this is app02" in shown
    [(who, name)] = viewed(gateway)[len(before) :]
    assert name == f"{recordings['app02']}.cast"
    assert "@" in str(who)
