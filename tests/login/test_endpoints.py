"""The answers of the gateway to a machine that logs in, and to the person who lets it in."""

import http.client
import json
import socket
import time
import urllib.request
from base64 import b64encode
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.listeners.limits import ClientLimits
from stagedoor.model.pending_login import describe_tries
from stagedoor.model.units import DAY_S
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import open_limited
from tests.login.conftest import settings
from tests.login.machine import Key, Machine, Person
from tests.waiting import BOUND_S, wait_until


@pytest.fixture
def machine(base: str, tmp_path: Path) -> Machine:
    return Machine(base, Key(tmp_path))


@pytest.fixture
def person(base: str) -> Person:
    return Person(base).sign_in()


def test_a_new_machine_learns_how_to_reach_it(base: str, gateway: Gateway) -> None:
    with urllib.request.urlopen(f"{base}/.well-known/stagedoor") as answer:
        known = json.load(answer)
    assert known["login"] is True
    assert known["ssh"] == f"127.0.0.1:{gateway.port('ssh')}"
    assert known["connect"] == f"http://127.0.0.1:{gateway.port()}"
    [host_ca] = known["host_ca"]
    assert gateway.command("ca", "show", "host").stdout.startswith(host_ca + " ")
    assert known["names"] == ["*.ssh", "*-ssh"]


def test_the_letters_let_it_in_and_its_secret_works_for_connect(
    machine: Machine, person: Person, gateway: Gateway
) -> None:
    status, begun = machine.start()
    assert status == 200
    at = f"/login/{begun['id']}/approve"
    assert person.post(at, letters="")[0] == 403, "it has no letters before its client asks"
    letters = machine.letters(begun["id"])
    page = person.get(f"/login/{begun['id']}")[1]
    assert "laptop" in page
    assert letters not in page
    assert '/times.js" defer' in page, "it says when that began"
    status, page = person.post(at, letters=letters.lower())
    assert (status, "to log in as dev" in page) == (200, True)
    status, got = machine.poll(begun["id"])
    assert (status, got["state"], got["user"]) == (200, "logged-in", "dev")
    assert got["certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    assert "is logged in as dev" in person.get(f"/login/{begun['id']}")[1]
    for user, secret, code in (
        ("dev", got["secret"], "200"),
        ("other", got["secret"], "407"),
        ("dev", got["secret"] + "x", "407"),
    ):
        assert connect(gateway, user, secret)[:12].decode().endswith(code)
    # It is no cookie, and no second machine is let in by it.
    request = urllib.request.Request(
        f"{machine.base}/api/sign-in",
        b"{}",
        {"Cookie": f"stagedoor={got['secret']}", "Origin": machine.base},
    )
    with urllib.request.urlopen(request) as answer:
        assert "over" in json.load(answer)
    # Its end is news: CONNECT refuses it, and says why.
    gateway.command("sign-in", "end", "--user", "dev", "--reason", "laptop stolen", "--yes")
    wait_until(lambda: b"laptop stolen" in connect(gateway, "dev", got["secret"]))


def connect(gateway: Gateway, user: str, secret: str) -> bytes:
    shown = b64encode(f"{user}:{secret}".encode()).decode()
    asked = (
        f"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh\r\nProxy-Authorization: Basic {shown}"
    )
    with socket.create_connection(("127.0.0.1", gateway.port())) as line:
        line.sendall(f"{asked}\r\n\r\n".encode())
        return line.recv(4096)


def test_a_token_that_ends_soon_is_announced_to_the_client(gateway: Gateway) -> None:
    now = time.time()
    for left_s, is_announced in ((2 * DAY_S, True), (30 * DAY_S, False)):
        with gateway.changed() as service:
            token = admin.create_token(service, "dev", expires_at=now + left_s).text
        answer = connect(gateway, "dev", token)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert (f"Stagedoor-Token-Ends: {now + left_s:.0f}".encode() in answer) == is_announced


@pytest.mark.identity(2, 4, 5)
def test_a_click_sends_a_code_to_the_same_machine_alone(machine: Machine, person: Person) -> None:
    _, begun = machine.start(port=45678)
    page = person.get(f"/login/{begun['id']}")[1]
    assert "another machine" in page
    port, code = person.code_for(begun["id"])
    assert port == 45678
    assert machine.poll(begun["id"])[1] == {"state": "waiting"}, "the attacker who sent the link"
    assert machine.poll(begun["id"], verifier="x", code=code)[0] == 400, "who listened at the port"
    assert "did not answer on this machine" in person.get(f"/login/{begun['id']}")[1]
    assert machine.poll(begun["id"], code=code)[1]["state"] == "logged-in"
    assert machine.poll(begun["id"], code=code)[0] == 400


@pytest.mark.identity(4)
def test_wrong_letters_are_counted_and_end_it(machine: Machine, person: Person) -> None:
    _, begun = machine.start()
    at, letters = f"/login/{begun['id']}/approve", machine.letters(begun["id"])
    for left in (4, 3, 2, 1):
        status, page = person.post(at, letters="XXXX-XXXX")
        assert (status, describe_tries(left) in page) == (403, True)
    assert person.post(at, letters="XXXX-XXXX")[0] == 403
    assert person.post(at, letters=letters)[0] == 400
    assert machine.poll(begun["id"])[1] == {"state": "denied"}


def test_to_wait_proves_nothing_of_who_waits(tmp_path: Path) -> None:
    """Any stranger may begin a login. If that were a proof, they would hold connections without a limit."""
    limits = ClientLimits(max_pending=32)  # so one source has eight
    with open_limited(tmp_path, settings(), limits) as gateway, ExitStack() as opened:
        port = gateway.port("web")
        machine = Machine(f"http://127.0.0.1:{port}", Key(tmp_path))
        _, begun = machine.start()
        asked = json.dumps({"id": begun["id"], "verifier": machine.verifier})
        at = len(gateway.lines)
        for _ in range(12):
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_S)
            opened.enter_context(closing(line))
            line.request("POST", "/login/poll", asked)
            assert json.load(line.getresponse()) == {"state": "waiting"}
        assert gateway.wait_for_denial(after=at)["reason"] == "overloaded"


def test_pages_of_other_sites_let_nothing_in(machine: Machine, person: Person, base: str) -> None:
    _, begun = machine.start()
    letters = machine.letters(begun["id"])
    for path in ("approve", "deny"):
        at = f"/login/{begun['id']}/{path}"
        status, _ = person.post(at, "https://evil.example", letters=letters)
        assert status == 403
    for origin in ("https://evil.example", base):
        assert machine.start({"Origin": origin})[0] == 403
    assert machine.poll(begun["id"])[1] == {"state": "waiting"}
    assert "Sign in" in Person(base).get(f"/login/{begun['id']}")[1], (
        "a stranger sees nothing of it"
    )
    assert person.get("/login/unknown")[0] == 404


def test_a_token_lets_no_machine_in(machine: Machine, base: str, gateway: Gateway) -> None:
    by_token = Person(base).sign_in("dev", gateway.token())
    _, begun = machine.start()
    letters = machine.letters(begun["id"])
    status, page = by_token.get(f"/login/{begun['id']}")
    assert (status, "only a person" in page) == (403, True)
    assert by_token.post(f"/login/{begun['id']}/approve", letters=letters)[0] == 403


@pytest.mark.parametrize(
    "bad",
    [
        {"challenge": "00"},
        {"challenge": "z" * 64},
        {"port": 0},
        {"port": 70000},
        {"port": "80"},
        {"port": True},
        {"signature": "none"},
        {"signature": 5},
        {"label": "x" * 20_000},
    ],
)
def test_what_cannot_be_read_is_refused(machine: Machine, bad: dict[str, object]) -> None:
    status, said = machine.start(**bad)
    assert status == 400
    assert said["message"]


@pytest.mark.parametrize("text", ["\ud800", "\0"])
def test_text_that_no_store_takes_is_refused_and_is_no_fault(machine: Machine, text: str) -> None:
    at = int(time.time())
    signature = machine.key.sign(f"stagedoor renew\n{machine.base}\n{at}\n\n")
    assert machine.poll(text)[0] == 400
    assert machine.poll("x", verifier=text, code=text)[0] == 400
    renewal = {"at": at, "nonce": text, "signature": signature}
    assert machine.ask("/login/renew", None, **renewal)[0] == 401
    assert machine.ask("/login/end", None, secret=text)[0] == 200


def test_a_label_is_shown_as_text(machine: Machine, person: Person) -> None:
    _, begun = machine.start(label="<script>alert(1)</script>\x1b[31m\n" + "x" * 900)
    page = person.get(f"/login/{begun['id']}")[1]
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "x" * 65 not in page
