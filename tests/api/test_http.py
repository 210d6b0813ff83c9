"""The API by HTTP: credentials, other sites, bounds, and a fresh proof. Attacks first."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.model.role import Role, RoleRule
from tests.fixtures.gateway import Gateway
from tests.fixtures.people import Answer, PlainBrowser
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.passkeys import add_passkey, prove, signed_in

GRANT = {"subject": "user:dev", "app": "app02", "environment": "*", "permissions": ["enter"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("api"), SETTINGS) as gateway:
        gateway.add_user("dev", "app01")
        gateway.add_user("ada")
        with gateway.service() as service:
            roles.add_role(service, RoleRule(0, "user:ada", Role.ADMINISTRATOR))
        yield gateway.start()


@pytest.fixture
def port(gateway: Gateway) -> int:
    return gateway.port("web")


def send(person: PlainBrowser, what: str, body: Any = None, **headers: str) -> Answer:
    method, _, path = what.partition(" ")
    text = None if body is None else body if isinstance(body, str) else json.dumps(body)
    kind = {"Content-Type": "application/json", **headers}
    return person.send(method, f"/api/v1{path}", text, **kind)


def by_token(gateway: Gateway, *scopes: str) -> PlainBrowser:
    with gateway.changed() as service:
        token = admin.create_token(service, "ada", scopes=scopes or None).text
    headers = {"Authorization": f"Bearer {token}"}
    return PlainBrowser(gateway.port("web"), origin=None, extra=headers)


def test_no_page_of_another_site_reads_or_changes_anything(gateway: Gateway, port: int) -> None:
    ada = signed_in(port, "ada")
    for origin in (None, "null", "https://evil.example", f"http://127.0.0.1:{port}"):
        elsewhere = PlainBrowser(port, host=ada.host, cookie=ada.cookie, origin=origin)
        refused = send(elsewhere, "POST /grants", GRANT)
        assert (refused.status, "no page of this gateway sent it" in refused.text) == (403, True), (
            origin
        )
        if origin is not None:
            assert send(ada, "GET /users", Origin=origin).status == 403
    for site in ("cross-site", "same-site"):
        assert send(ada, "GET /users", **{"Sec-Fetch-Site": site}).status == 403
    assert send(ada, "GET /users", **{"Sec-Fetch-Site": "same-origin"}).status == 200
    assert send(ada, "DELETE /users/dev", **{"If-Match": "*"}).status == 403, "it had no Origin"


def test_a_stranger_gets_nothing_and_nothing_of_theirs_is_read(port: int) -> None:
    stranger = PlainBrowser(port, origin=None)
    for what in ("GET /users", "POST /grants", "GET /nothing", "DELETE /users/dev"):
        refused = send(stranger, what)
        assert refused.status == 401, what
        assert json.loads(refused.text)["reason"] == "credential_missing"
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(
            f"POST /api/v1/grants HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9999999\r\n"
            "Content-Type: application/json\r\n\r\n{".encode()
        )
        assert line.recv(4096).startswith(b"HTTP/1.1 401"), "before the body came"


def test_a_body_is_bounded(gateway: Gateway) -> None:
    program = by_token(gateway, "api:write")
    assert send(program, "POST /grants", "[" * 65_000).status == 422
    assert send(program, "POST /grants", " " * 65_537).status == 413


def test_a_token_without_the_scope_is_for_apps_alone(gateway: Gateway) -> None:
    for scopes in ((), ("connect",), ("connect:*",)):
        assert send(by_token(gateway, *scopes), "GET /users").status == 403
    reader = by_token(gateway, "api:read")
    assert send(reader, "GET /users").status == 200
    assert send(reader, "POST /grants", GRANT).status == 403


def test_a_program_adds_and_removes_a_grant(gateway: Gateway) -> None:
    program = by_token(gateway, "api:read", "api:write")
    made = send(program, "POST /grants", GRANT)
    assert made.status == 201, made.text
    number = json.loads(made.text)["id"]
    seen = send(program, f"GET /grants/{number}")
    tag = {"If-Match": seen.headers["etag"]}
    assert send(program, f"DELETE /grants/{number}", **tag).status == 200
    assert send(program, f"GET /grants/{number}").status == 404
    changes = [e for e in gateway.audit() if e["identity"] == "ada (api)"]
    assert [e["fields"]["action"] for e in changes[-2:]] == ["grant.add", "grant.remove"]


def test_a_person_proves_that_they_are_there_before_a_change(gateway: Gateway, port: int) -> None:
    ada = signed_in(port, "ada")
    authenticator = add_passkey(ada)
    refused = send(ada, "POST /grants", GRANT)
    assert (refused.status, json.loads(refused.text)["reason"]) == (403, "step_up_needed")
    prove(ada, authenticator)
    made = send(ada, "POST /grants", GRANT)
    assert made.status == 201, made.text
    place = f"/grants/{json.loads(made.text)['id']}"
    headers = {"If-Match": "*", "Origin": f"http://{ada.host}"}
    assert send(ada, f"DELETE {place}", **headers).status == 200


def test_the_description_is_served(port: int) -> None:
    answer = send(PlainBrowser(port, origin=None), "GET /openapi.json")
    assert json.loads(answer.text)["openapi"] == "3.1.0"


def test_other_networks_are_kept_out(tmp_path: Any) -> None:
    with Gateway(tmp_path, SETTINGS + '\n[api]\nnetworks = ["192.0.2.0/24"]\n') as gateway:
        gateway.add_user("ada")
        gateway.start()
        refused = send(PlainBrowser(gateway.port("web"), origin=None), "GET /users")
        assert refused.status == 403
        assert "the API is not for your address" in refused.text


def test_a_refusal_has_the_trace_of_its_line_in_the_log(gateway: Gateway, port: int) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    stranger = PlainBrowser(port, origin=None)
    given = send(stranger, "GET /users", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert json.loads(given.text)["trace"] == trace
    own = json.loads(send(stranger, "GET /users", traceparent="nonsense").text)["trace"]
    assert own != trace
    wait_until(lambda: {trace, own} <= {str(line.get("trace")) for line in gateway.lines})
    missing = send(by_token(gateway, "api:read"), "GET /users/absent")
    assert "trace" not in json.loads(missing.text), "the log has no line about it"


def test_a_fault_is_one_line_with_the_trace_of_the_log(tmp_path: Path) -> None:
    with Gateway(tmp_path, SETTINGS) as gateway:
        gateway.add_user("ada")
        with gateway.service() as service:
            roles.add_role(service, RoleRule(0, "user:ada", Role.ADMINISTRATOR))
            program = admin.create_token(service, "ada", scopes=("api:read",)).text
        gateway.start()
        with closing(sqlite3.connect(gateway.data_dir / "stagedoor.db")) as store, store:
            broken = store.execute("SELECT fields FROM audit_events WHERE seq = 1").fetchone()
            store.execute("UPDATE audit_events SET fields = '{broken' WHERE seq = 1")
        headers = {"Authorization": f"Bearer {program}"}
        reader = PlainBrowser(gateway.port("web"), origin=None, extra=headers)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        fault = send(reader, "GET /events", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        assert fault.status == 500
        assert fault.headers["content-type"] == "application/problem+json"
        assert json.loads(fault.text) == {
            "title": "Internal Server Error",
            "status": 500,
            "detail": "a fault in the gateway; its log has more",
            "reason": "internal",
            "trace": trace,
        }
        wait_until(lambda: sum(line.get("trace") == trace for line in gateway.lines) == 2)
        details, denied = [line for line in gateway.lines if line.get("trace") == trace]
        assert "Traceback" in details["exception"]
        assert (denied["reason"], denied["identity"]) == ("internal", "ada")
        with closing(sqlite3.connect(gateway.data_dir / "stagedoor.db")) as store, store:
            store.execute("UPDATE audit_events SET fields = ? WHERE seq = 1", broken)
        denied = {"kind": "session.denied", "identity": "ada", "reason": "internal"}
        wait_until(lambda: denied.items() <= gateway.audit()[-1].items())
        assert send(reader, "GET /users").status == 200, "it serves on"
