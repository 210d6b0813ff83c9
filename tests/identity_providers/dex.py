"""Dex on this machine, built by Go from the module proxy, as a provider for `script/test --idp dex`."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode, urljoin

from tests.oidc.idp import CLIENT_ID, ROOT, SECRET, Person
from tests.ports import free_port
from tests.waiting import wait_until

MODULE = "github.com/dexidp/dex"
COMMIT = "ab64ed778070"
VERSION = f"v0.0.0-20260806151424-{COMMIT}"
"""Of its main branch: its releases are no versions of a Go module."""
CACHE = ROOT / ".cache"
PASSWORD = "password"
_HASH = "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"
"""Of `PASSWORD`, by bcrypt, as in Dex's own examples."""


class Dex:
    """Knows `persons` by their names. It keeps its tokens in memory: those of before a start are unknown."""

    settings = (
        'scopes = ["openid", "profile", "email", "groups", "offline_access"]\nname_claim = "name"\n'
    )

    def __init__(self, folder: Path, redirect_uri: str, persons: Sequence[str]) -> None:
        self.folder = folder
        self.persons = persons
        self.redirect_uri = redirect_uri
        self._web = free_port()
        self.issuer = f"http://127.0.0.1:{self._web}/dex"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        file = self.folder / "dex.json"  # which is YAML
        client = {"id": CLIENT_ID, "secret": SECRET, "redirectURIs": [self.redirect_uri]}
        config = {
            "issuer": self.issuer,
            "storage": {"type": "memory"},
            "web": {"http": f"127.0.0.1:{self._web}"},
            "oauth2": {"skipApprovalScreen": True},
            "enablePasswordDB": True,
            "staticPasswords": [
                {
                    "email": f"{name}@example.com",
                    "hash": _HASH,
                    "username": name,
                    "userID": f"id-{name}",
                }
                for name in self.persons
            ],
            "staticClients": [{**client, "name": "Stagedoor"}],
        }
        file.write_text(json.dumps(config))
        with (self.folder / "dex.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_built(), "serve", file], cwd=self.folder, stdout=log, stderr=log
            )

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "dex.log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration"):
                    return True
            except (URLError, OSError):
                return False

        wait_until(answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def sign_in(self, url: str, name: str) -> str:
        """As `idp.Idp.sign_in`."""
        person = Person(self.redirect_uri)
        at = person.go(url)
        [action] = re.findall(r'<form[^>]* action="([^"]+)"', person.page)
        form = urlencode({"login": f"{name}@example.com", "password": PASSWORD}).encode()
        at = person.go(urljoin(at, html.unescape(action)), form)
        assert at.startswith(self.redirect_uri), person.page
        return at


@contextmanager
def running_dex(folder: Path, redirect_uri: str, *persons: str) -> Iterator[Dex]:
    """A Dex that knows `persons`, until the block ends."""
    dex = Dex(folder, redirect_uri, persons)
    try:
        dex.start()
        yield dex
    finally:
        dex.stop()


def _built() -> Path:
    """Return the program, built once; that takes some minutes."""
    program = CACHE / f"dex-{COMMIT}"
    if program.is_file():
        return program
    CACHE.mkdir(exist_ok=True)
    env = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}

    def go(folder: Path, *words: str | Path) -> str:
        command = ["go", *words]
        return subprocess.run(
            command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        (folder / "go.mod").write_text("module fetch\n")
        fetched = json.loads(go(folder, "mod", "download", "-json", f"{MODULE}@{VERSION}"))["Dir"]
        source = folder / "dex"
        shutil.copytree(fetched, source)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        # Its own API is a module beside it, which is not in what the proxy has of it.
        go(source, "mod", "edit", f"-dropreplace={MODULE}/api/v2")
        go(source, "get", f"{MODULE}/api/v2@{COMMIT}")
        go(source, "build", "-o", folder / "built", "./cmd/dex")
        (folder / "built").rename(program)
    return program
