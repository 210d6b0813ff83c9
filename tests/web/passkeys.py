"""A person whose browser has a passkey, by HTTP alone."""

import json
from typing import Any

from tests.authn.authenticator import Authenticator
from tests.fixtures.gateway import PASSWORD
from tests.fixtures.people import Answer, PlainBrowser


def ask(person: PlainBrowser, path: str, **fields: object) -> Answer:
    """As the page's script asks."""
    kind = {"Content-Type": "application/json"}
    return person.send("POST", f"/api/{path}", json.dumps(fields), **kind)


def asked(person: PlainBrowser, path: str, **fields: object) -> dict[str, Any]:
    answer = ask(person, path, **fields)
    assert answer.status == 200, answer.text
    options: dict[str, Any] = json.loads(answer.text)
    return options


def by_name(port: int) -> PlainBrowser:
    """Browsers take no address for a passkey."""
    return PlainBrowser(port, host=f"localhost:{port}")


def signed_in(port: int, name: str = "dev") -> PlainBrowser:
    person = by_name(port)
    assert person.sign_in(name).status == 303
    return person


def add_passkey(person: PlainBrowser) -> Authenticator:
    """With the password, as on the account's page."""
    authenticator = Authenticator(f"http://{person.host}")
    options = asked(person, "passkey/add", password=PASSWORD)
    asked(person, "passkey/added", name="laptop", answer=authenticator.create(options))
    return authenticator


def prove(person: PlainBrowser, authenticator: Authenticator, **fields: object) -> None:
    """That they are there, as on the page of the proof; `fields` say for what else than this browser."""
    options = asked(person, "step-up", **fields)
    assert asked(person, "step-up/proved", answer=authenticator.get(options)) == {"proved": True}
