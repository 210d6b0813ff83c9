"""A machine that logs in without our client, so that what the gateway refuses can be sent; and a browser."""

import hashlib
import html
import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

from stagedoor.model.letters import derive_login_letters, show_letters
from tests.fixtures.laptop import new_key
from tests.fixtures.people import Browser
from tests.waiting import BOUND_S


class Key:
    """Made, and used to sign, by ssh-keygen."""

    def __init__(self, folder: Path, name: str = "key") -> None:
        self.file = new_key(folder / name)

    @property
    def fingerprint(self) -> str:
        command = ["ssh-keygen", "-lf", str(self.file)]
        return subprocess.run(command, capture_output=True, check=True).stdout.decode().split()[1]

    def sign(self, text: str | bytes, namespace: str = "login@stagedoor") -> str:
        command = ["ssh-keygen", "-Y", "sign", "-f", str(self.file), "-n", namespace, "-q"]
        text = text.encode() if isinstance(text, str) else text
        return subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode()


class Machine:
    """Asks by JSON."""

    def __init__(self, base: str, key: Key, verifier: str = "verifier") -> None:
        self.base = base
        self.origin = base
        self.key = key
        self.verifier = verifier

    def ask(
        self, path: str, headers: dict[str, str] | None = None, /, **fields: object
    ) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            self.base + path, json.dumps(fields).encode(), headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=BOUND_S) as answer:
                assert answer.headers["cache-control"] == "no-store"
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def start(
        self, headers: dict[str, str] | None = None, **more: object
    ) -> tuple[int, dict[str, Any]]:
        challenge = hashlib.sha256(self.verifier.encode()).hexdigest()
        signature = self.key.sign(f"stagedoor login\n{self.origin}\n{challenge}\n")
        given = {"challenge": challenge, "signature": signature, "label": "laptop", "port": None}
        return self.ask("/login/start", headers, **given | more)

    def poll(self, id_: str, **more: object) -> tuple[int, dict[str, Any]]:
        return self.ask("/login/poll", **{"id": id_, "verifier": self.verifier} | more)

    def letters(self, id_: str) -> str:
        """Return the letters that its terminal shows, of which the gateway learns by a poll."""
        assert self.poll(id_) == (200, {"state": "waiting"})
        return show_letters(
            derive_login_letters(self.origin, id_, self.key.fingerprint, self.verifier)
        )


class Person(Browser):
    """A browser that is signed in, in which logins of machines are approved."""

    def onward(self, id_: str) -> str:
        """Click, and return the address at the client's port that the browser is sent to."""
        status, page = self.post(f"/login/{id_}/approve")
        assert status == 200, page
        [url] = re.findall(r'href="(http://127\.0\.0\.1:\d+/[^"]+)"', page)
        return html.unescape(url)

    def code_for(self, id_: str) -> tuple[int, str]:
        """Click, and return the port and the code that the browser brings there."""
        url = urlsplit(self.onward(id_))
        assert url.port is not None
        return url.port, parse_qs(url.query)["code"][0]
