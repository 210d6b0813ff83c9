"""The pages of runs, over plain HTTP: who sees them, what a log shows, and the button that cancels."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from stagedoor.listeners.web.pages.run_pages import show_log
from stagedoor.model.permission import Permission
from stagedoor.model.run import Output
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import basic
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("runs"), SETTINGS) as gateway:
        gateway.add_user("dev", "app01", "app02")
        gateway.add_user("other", "app01", "app02")
        gateway.add_user("lead", "app01")
        gateway.permit("user:dev", "app0*", Permission.RUN)
        gateway.permit("user:lead", "app01", Permission.RUN)
        yield gateway.start()


def inside(port: int, name: str) -> PlainBrowser:
    person = PlainBrowser(port)
    assert person.sign_in(name).status == 303
    return person


def start(port: int, command: str, app: str = "app01") -> str:
    """Start a run as dev, and return its id."""
    run_id = os.urandom(6).hex()
    body = f'{{"id": "{run_id}", "target": "{app}", "command": "{command}"}}'
    client = PlainBrowser(port)
    fields = {**basic(), "Content-Type": "application/json"}
    answer = client.send("POST", "/api/runs/start", body, **fields)
    assert answer.status == 200, answer.text
    return run_id


def until_over(dev: PlainBrowser, run_id: str) -> str:
    """Return the page of a run once it has ended."""
    last: list[str] = []

    def is_over() -> bool:
        page = dev.get(f"/runs/{run_id}")
        assert page.status == 200, page.text
        last[:] = [page.text]
        assert ("refresh" in page.headers) == ("Cancel this run" in page.text)
        return "refresh" not in page.headers

    wait_until(is_over, costly=True)
    return last[0]


def test_a_run_is_listed_and_its_log_is_shown_and_downloaded(port: int) -> None:
    dev = inside(port, "dev")
    run_id = start(port, "echo '<b>bold</b>'; exit 3")
    page = until_over(dev, run_id)
    assert "exited with 3" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    home, listed = dev.get("/").text, dev.get("/runs").text
    assert 'href="/runs"' in home
    assert f'<a href="/runs/{run_id}">' in listed
    log = dev.get(f"/runs/{run_id}/log")
    assert log.text == "<b>bold</b>\n"
    assert log.headers["content-disposition"] == f'attachment; filename="app01-{run_id}.log"'
    assert log.headers["content-type"] == "application/octet-stream"


def test_a_run_is_cancelled_by_its_button_and_by_no_other_site(port: int) -> None:
    dev = inside(port, "dev")
    run_id = start(port, "sleep 600")
    page = dev.get(f"/runs/{run_id}")
    assert "Cancel this run" in page.text
    foreign = inside(port, "dev")
    foreign.origin = "https://evil.example"
    assert foreign.post(f"/runs/{run_id}/cancel").status == 403
    assert "Cancel this run" in dev.get(f"/runs/{run_id}").text
    assert dev.post(f"/runs/{run_id}/cancel").headers["location"] == f"/runs/{run_id}"
    assert "cancelled with 143" in until_over(dev, run_id)


def test_without_the_permission_no_run_is_there(port: int, gateway: Gateway) -> None:
    other, lead = inside(port, "other"), inside(port, "lead")
    run_id = start(port, "true", "app02")
    assert "/runs" not in other.get("/").text
    for person in (other, lead):
        assert run_id not in person.get("/runs").text
        for path in (
            f"/runs/{run_id}",
            f"/runs/{run_id}/log",
            "/runs/0000",
            "/runs/%00",
            "/runs/..",
        ):
            assert person.get(path).status in (400, 404), path
        assert person.post(f"/runs/{run_id}/cancel").status == 404
    assert PlainBrowser(port).get("/runs").status == 303


def test_a_view_of_the_run_of_another_is_in_the_audit(port: int, gateway: Gateway) -> None:
    dev, lead = inside(port, "dev"), inside(port, "lead")
    run_id = start(port, "echo it")
    until_over(dev, run_id)
    for _ in range(2):
        assert "it\n" in lead.get(f"/runs/{run_id}").text
    viewed = [
        event
        for event in gateway.audit()
        if event["kind"] == "run.viewed" and event["fields"]["run"] == run_id
    ]
    assert [(event["identity"], event["fields"]["starter"]) for event in viewed] == [
        ("lead", "dev")
    ]


def test_a_log_is_shown_without_control_sequences() -> None:
    pieces = [
        Output(0, b"\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07a\rb\x00\n"),
        Output(30, "é\n".encode(), True),
    ]
    assert show_log(pieces) == "red\na\nb\né\n"


def ask(port: int, name: str, what: str, **body: object) -> tuple[int, dict[str, Any]]:
    fields = {**basic(name), "Content-Type": "application/json"}
    answer = PlainBrowser(port).send("POST", f"/api/runs/{what}", json.dumps(body), **fields)
    return answer.status, json.loads(answer.text)


def test_a_run_is_not_answered_in_the_place_of_another(port: int, gateway: Gateway) -> None:
    """The id is the client's choice, so it may be that of a run of another app, or of another person."""
    run_id = start(port, "echo secret", "app02")
    until_over(inside(port, "dev"), run_id)
    for name, app in (("dev", "app01"), ("lead", "app01")):
        status, said = ask(port, name, "start", id=run_id, target=app, command="true")
        assert status >= 400, said
        assert status < 500, said
        assert "secret" not in json.dumps(said)
        assert "app02" not in json.dumps(said)
    again, said = ask(port, "dev", "start", id=run_id, target="app02", command="echo secret")
    assert (again, said["run"]["id"]) == (200, run_id)


def test_a_colleague_sends_no_input(port: int) -> None:
    run_id = os.urandom(6).hex()
    status, _ = ask(port, "dev", "start", id=run_id, target="app01", command="cat", input=True)
    assert status == 200
    status, said = ask(port, "lead", "input", id=run_id, at=0, data="AAAA", end=True)
    assert status >= 400, said
    assert ask(port, "dev", "cancel", id=run_id)[0] == 200
