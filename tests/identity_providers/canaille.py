"""Canaille on this machine, from the Python index, as a provider for `script/test --idp canaille`."""

import html
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode, urljoin

from tests.oidc.idp import CLIENT_ID, ROOT, SECRET, Person
from tests.ports import free_port
from tests.waiting import wait_until

VERSION = "0.3.6"
CACHE = ROOT / ".cache" / f"canaille-{VERSION}"
PASSWORD = "correct horse battery"
START_S = 300.0


class Canaille:
    """A Canaille with a client and no person; it keeps them in a database."""

    settings = (
        'scopes = ["openid", "profile", "email", "groups", "offline_access"]\nname_claim = "sub"\n'
    )

    def __init__(self, folder: Path, redirect_uri: str) -> None:
        self.folder = folder
        self.redirect_uri = redirect_uri
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"

    def run(self, *words: str) -> str:
        """Run one of its commands; return what it prints."""
        done = subprocess.run(
            [CACHE / "bin/canaille", *words],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"CANAILLE_CONFIG": str(self.folder / "canaille.toml")}

    def prepare(self) -> None:
        """Write its settings, and make its tables and the client."""
        self._write("")
        key = json.loads(self.run("jwk", "create", "rsa").splitlines()[-1])
        self._write(f"ACTIVE_JWKS = [{_toml(key)}]\n")
        self.run("install")
        client = [("client-id", CLIENT_ID), ("client-secret", SECRET), ("client-name", "Stagedoor")]
        client += [("redirect-uris", self.redirect_uri), ("response-types", "code")]
        client += [("grant-types", "authorization_code"), ("grant-types", "refresh_token")]
        client += [("token-endpoint-auth-method", "client_secret_basic")]
        client += [("client-uri", "http://127.0.0.1")]
        scopes = ("openid", "profile", "email", "groups", "offline_access")
        client += [("scope", scope) for scope in scopes]
        options = [word for name, value in client for word in (f"--{name}", value)]
        made = json.loads(self.run("create", "client", *options).splitlines()[-1])
        self.run("set", "client", made["id"], "--audience", made["id"])

    def _write(self, more: str) -> None:
        (self.folder / "canaille.toml").write_text(
            f'SECRET_KEY = "tests"\nSERVER_NAME = "127.0.0.1:{self.port}"\n'
            'PREFERRED_URL_SCHEME = "http"\n[CANAILLE]\nDATABASE = "sql"\n'
            f'[CANAILLE_SQL]\nDATABASE_URI = "sqlite:///{self.folder}/canaille.sqlite"\n'
            f'[CANAILLE_OIDC]\nTRUSTED_DOMAINS = ["127.0.0.1"]\n{more}'
        )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration"):
                return True
        except (URLError, OSError):
            return False

    def add(self, name: str) -> None:
        person = ("--user-name", name, "--password", PASSWORD, "--family-name", name)
        self.run("create", "user", *person, "--emails", f"{name}@example.com")

    def remove(self, name: str) -> None:
        self.run("delete", "user", "--noconfirm", "--user-name", name)

    def sign_in(self, url: str, name: str) -> str:
        """As `idp.Idp.sign_in`. It asks for the name, for the password, and perhaps for consent."""
        person = Person(self.redirect_uri)
        at = person.go(url)
        answers = {"login": name, "password": PASSWORD, "answer": "accept"}
        for _ in range(4):
            if at.startswith(self.redirect_uri):
                return at
            [form] = re.findall(r"<form.*?</form>", person.page, re.DOTALL)[-1:]
            fields = dict(re.findall(r'name="([^"]+)"[^>]*value="([^"]*)"', form))
            fields |= {key: value for key, value in answers.items() if f'name="{key}"' in form}
            action = re.findall(r'<form[^>]* action="([^"]+)"', form)
            target = urljoin(at, html.unescape(action[0])) if action else at
            at = person.go(target, urlencode(fields).encode())
        raise AssertionError(person.page)


def _toml(value: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(text)}" for key, text in value.items()) + "}"


@contextmanager
def running_canaille(folder: Path, redirect_uri: str, *persons: str) -> Iterator[Canaille]:
    """A Canaille that knows `persons`, until the block ends."""
    _install()
    found = Canaille(folder, redirect_uri)
    found.prepare()
    for name in persons:
        found.add(name)
    with (folder / "canaille.log").open("wb") as log:
        process = subprocess.Popen(
            [CACHE / "bin/canaille", "run", "--bind", f"127.0.0.1:{found.port}"],
            env=found.env,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(found.answers, START_S)
        yield found
    finally:
        process.terminate()
        process.wait()


def _install() -> None:
    """Fill its environment, once."""
    stamp = CACHE / "installed"
    if stamp.is_file():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", CACHE], check=True)
    wanted = f"canaille[front,oidc,server,sqlite]=={VERSION}"
    subprocess.run([CACHE / "bin/pip", "install", "--quiet", wanted], check=True)
    stamp.touch()
