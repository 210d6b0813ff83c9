"""A rogue gateway lets its visitor approve a login of its own at the real one (RFC 9207, mix-up)."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError

import pytest

from stagedoor.laptop.tunnel.errors import REFUSED
from tests.fixtures.gateway import open_gateway
from tests.login.conftest import settings
from tests.login.laptop import Running, new_laptop
from tests.login.machine import Key, Machine, Person
from tests.login.test_hostile_gateway import hostile
from tests.waiting import BOUND_S, wait_until


@dataclass
class Rogue:
    """Begins a login at the real gateway for each that begins here, and shows whatever its visitor sends.

    With `relay`, the login is the visitor's own, signature included; else it is one for the rogue's key.
    """

    real: Machine
    relay: bool = False
    url: str = ""
    id: str = ""
    won: bool = False
    sent: list[dict[str, object]] = field(default_factory=list)

    def says(self, path: str, sent: dict[str, object]) -> dict[str, object]:
        self.sent.append(sent)
        if path == "/.well-known/stagedoor":
            with urllib.request.urlopen(f"{self.real.base}{path}", timeout=BOUND_S) as answer:
                return dict(json.load(answer))
        if path == "/login/start":
            return self._start(sent)
        if path == "/login/poll":
            self.poll(**{name: sent[name] for name in ("code",) if name in sent})
        return {"state": "waiting"}

    def _start(self, sent: dict[str, object]) -> dict[str, object]:
        if self.relay:
            status, begun = self.real.ask("/login/start", {"Host": self.place}, **sent)
        else:
            status, begun = self.real.start(port=sent["port"], label=sent["label"])
        assert status == 200, begun
        self.id = begun["id"]
        return begun | {"url": f"{self.url}/login/{self.id}"}

    @property
    def place(self) -> str:
        return self.url.partition("://")[2]

    def poll(self, **more: object) -> bool:
        """Ask the real gateway for the outcome, with all that the visitor has shown.

        Return True if it has ever been logged in.
        """
        shown = [str(sent["verifier"]) for sent in self.sent if "verifier" in sent]
        for verifier in {self.real.verifier, *shown}:
            _, answer = self.real.ask(
                "/login/poll", {"Host": self.place}, id=self.id, verifier=verifier, **more
            )
            self.won |= answer.get("state") == "logged-in"
        return self.won


@contextmanager
def rogue(real: str, folder: Path, *, relay: bool = False) -> Iterator[Rogue]:
    folder.mkdir()
    made = Rogue(Machine(real, Key(folder)), relay)
    with hostile(made.says) as url:
        made.url = url
        yield made


@pytest.fixture(params=[False, True], ids=["its own login", "its visitor's login"])
def attack(request: pytest.FixtureRequest, tmp_path: Path, base: str) -> Iterator[Rogue]:
    with rogue(base, tmp_path / "rogue", relay=request.param) as made:
        yield made


@pytest.fixture
def victim(attack: Rogue, tmp_path: Path) -> Iterator[Running]:
    started = new_laptop(tmp_path, attack.url).start("login", attack.url)
    try:
        wait_until(lambda: "type:" in started.stderr or started.process.poll() is not None)
        yield started
    finally:
        started.kill()


@pytest.mark.identity(4, 5)
def test_a_click_at_another_gateway_is_worth_nothing(
    attack: Rogue, victim: Running, person: Person
) -> None:
    """The browser is led on to the real page, and its person allows what they believe to be their login."""
    answer = open_page(person.onward(attack.id))
    done = victim.end()
    assert done.returncode == REFUSED, done.stderr
    last = done.stderr.splitlines()[-1]
    assert person.base in last, "it names the gateway that the code came from"
    assert attack.url in last
    assert not any("code" in sent for sent in attack.sent)
    assert not attack.poll()
    assert person.base in answer, "and so does the browser"


@pytest.mark.identity(3, 4)
def test_letters_for_another_gateway_are_wrong(
    attack: Rogue, victim: Running, person: Person
) -> None:
    status, page = person.post(f"/login/{attack.id}/approve", letters=victim.letters)
    assert (status, "not the letters" in page) == (403, True), page
    assert person.base in page, "of which gateway they have to be"
    assert not attack.poll()


def test_terminal_and_page_show_one_key_and_one_gateway(
    tmp_path: Path, base: str, person: Person
) -> None:
    started = new_laptop(tmp_path, base).start("login", base)
    try:
        page = person.get(f"/login/{started.login_id(base)}")[1]
        [key] = [word for word in started.stderr.split() if word.startswith("SHA256:")]
        assert f"<code>{key}</code>" in page
        assert f"<code>{base}</code>" in page
    finally:
        started.kill()


def test_where_the_gateway_has_names_no_signature_for_an_address_counts(tmp_path: Path) -> None:
    """Addresses need no name elsewhere (DNS rebinding); but one that is not ours is another gateway's."""
    named = settings().replace("tmux", 'host_names = ["gw.example"]\ntmux')
    with open_gateway(tmp_path, named) as gateway:
        port = gateway.port("web")
        machine = Machine(f"http://127.0.0.1:{port}", Key(tmp_path))
        for host, known in (
            ("198.51.100.7", False),
            ("198.51.100.7:443", False),
            ("[2001:db8::7]", False),
            ("gw.example", True),
            (f"127.0.0.1:{port}", True),  # from this machine, which only its own programs have
        ):
            machine.origin = f"http://{host}"
            answers = [machine.start({"Host": host})]
            answers += [
                machine.ask(path, {"Host": host}) for path in ("/login/renew", "/login/machine")
            ]
            assert [status == 403 for status, _ in answers] == [not known] * 3, (host, answers)
            assert known or "https://gw.example" in answers[0][1]["message"]


def open_page(url: str) -> str:
    """Return what a browser shows that is sent to `url`; it follows no redirect."""
    try:
        with urllib.request.urlopen(url, timeout=BOUND_S) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        with error:
            return error.read().decode()
