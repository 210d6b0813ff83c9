"""Canaille on this machine, from the Python package index, as a provider for `script/test --idp canaille`."""

import html
import json
import os
import re
import subprocess
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

from joserfc.jwk import RSAKey

from tests.oidc.idp import CLIENT_ID, ROOT, SECRET, Person
from tests.ports import free_port
from tests.waiting import wait_until

VERSION = "0.3.6"
PASSWORD = "correct horse battery"


class Canaille:
    """Keeps its users and tokens in SQLite. Its commands change them while it runs."""

    settings = 'scopes = ["openid", "profile", "email"]\nname_claim = "name"\n'

    def __init__(self, folder: Path, redirect_uri: str) -> None:
        self.folder = folder
        self.redirect_uri = redirect_uri
        self._port = free_port()
        self.issuer = f"http://127.0.0.1:{self._port}"
        self.environment = {**os.environ, "CANAILLE_CONFIG": str(folder / "canaille.toml")}

    def write_settings(self) -> None:
        key = json.dumps(
            RSAKey.generate_key(2048).as_pem(private=True).decode()
        )  # a text of TOML as well
        (self.folder / "canaille.toml").write_text(
            f'SECRET_KEY = "of the test"\nSERVER_NAME = "127.0.0.1:{self._port}"\n'
            'PREFERRED_URL_SCHEME = "http"\n[CANAILLE]\nDATABASE = "sql"\n'
            f'[CANAILLE_SQL]\nDATABASE_URI = "sqlite:///{self.folder}/canaille.sqlite"\n'
            f"[CANAILLE_OIDC]\nACTIVE_JWKS = [{key}]\n"
        )

    def run(self, *words: str) -> None:
        command = [_installed(), *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def add_person(self, name: str) -> None:
        self.run(
            *("create", "user", "--user-name", name, "--password", PASSWORD),
            *("--family-name", name, "--formatted-name", name, "--emails", f"{name}@example.com"),
        )

    def remove_person(self, name: str) -> None:
        self.run("delete", "user", "--noconfirm", "--user-name", name)

    def add_client(self) -> None:
        scopes = [word for scope in ("openid", "profile", "email") for word in ("--scope", scope)]
        grants = ("--grant-types", "authorization_code", "--grant-types", "refresh_token")
        self.run(
            *("create", "client", "--client-id", CLIENT_ID, "--client-secret", SECRET),
            *("--client-name", "Stagedoor", "--redirect-uris", self.redirect_uri),
            *("--client-uri", "http://127.0.0.1/"),  # of a trusted domain: no page asks for consent
            *("--token-endpoint-auth-method", "client_secret_basic", *grants, *scopes),
            *("--response-types", "code"),
        )
        self.run("set", "client", CLIENT_ID, "--audience", CLIENT_ID)

    def sign_in(self, url: str, name: str) -> str:
        """As `idp.Idp.sign_in`."""
        person = Person(self.redirect_uri)
        at = person.go(url)
        for field, value in (("login", name), ("password", PASSWORD)):
            [token] = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', person.page)[:1]
            form = {"csrf_token": html.unescape(token), field: value}
            at = person.go(at, urlencode(form).encode())
        assert at.startswith(self.redirect_uri), person.page
        return at


@contextmanager
def running_canaille(folder: Path, redirect_uri: str, *persons: str) -> Iterator[Canaille]:
    """A Canaille that knows `persons`, until the block ends."""
    canaille = Canaille(folder, redirect_uri)
    canaille.write_settings()
    canaille.run("install")
    for name in persons:
        canaille.add_person(name)
    canaille.add_client()
    with (folder / "canaille.log").open("ab") as log:
        process = subprocess.Popen(
            [_installed(), "run", "--bind", canaille.issuer.removeprefix("http://")],
            env=canaille.environment, stdout=log, stderr=log,
        )  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, (folder / "canaille.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{canaille.issuer}/.well-known/openid-configuration"):
                return True
        except (URLError, OSError):
            return False

    try:
        wait_until(answers)
        yield canaille
    finally:
        process.terminate()
        process.wait()


def _installed() -> Path:
    """Return the program, installed once in an environment of its own."""
    folder = ROOT / ".cache" / f"canaille-{VERSION}"
    program = folder / "bin" / "canaille"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        package = f"canaille[front,oidc,server,sqlite]=={VERSION}"
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", package], check=True)
    return program
