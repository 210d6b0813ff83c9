"""Keycloak on this machine, as a provider for the tests that npm's oidc-provider serves in every run."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from tests.oidc.idp import CLIENT_ID, ROOT, SECRET, Person
from tests.ports import free_port
from tests.waiting import wait_until

VERSION = "26.0.8"
"""Runs on Java 17, which Debian 12 has."""
CACHE = ROOT / ".cache"
START_S = 600.0
ADMIN = "admin"
REALM = "company"
USER, LOGIN = "carol", "carol-1"
"""The one account, and what tests call it, as at the other provider."""
PASSWORD = "any"
GROUPS = {"/teams/shop": "shop", "ops": "ops"}
"""What the tests say for a group of Keycloak's, and its name there."""


class Keycloak:
    """A realm with one user. Satisfies what the tests ask of `idp.Idp`, but for the form of a logout."""

    settings = 'groups_missing = "none"\n'
    password = PASSWORD

    def __init__(self, base: str, redirect_uri: str, process: subprocess.Popen[bytes]) -> None:
        self.base = base
        self.issuer = f"{base}/realms/{REALM}"
        self.redirect_uri = redirect_uri
        self._process = process

    def answers(self) -> bool:
        """Return whether the realm exists."""
        try:
            return bool(self._ask("GET", f"/realms/{REALM}"))
        except (HTTPError, OSError):
            return False

    def sign_in(self, url: str, name: str) -> str:
        """As `idp.Idp.sign_in`."""
        assert name == LOGIN
        person = Person(self.redirect_uri)
        at = person.go(url)
        if not at.startswith(self.redirect_uri):
            [action] = re.findall(r'<form[^>]* action="([^"]+)"', person.page)
            form = urlencode({"username": USER, "password": self.password}).encode()
            at = person.go(html.unescape(action), form)
        assert at.startswith(self.redirect_uri), person.page
        return at

    def set_account(self, name: str, claims: Mapping[str, Any]) -> None:
        """Enabled, and in these groups; `preferred_username` is the name that it has."""
        assert (name, claims["preferred_username"]) == (LOGIN, USER)
        user = self._user()
        self.admin("PUT", f"users/{user}", {"enabled": True})
        wanted = {GROUPS[one] for one in claims["groups"]}
        for group in self.admin("GET", f"users/{user}/groups"):
            if group["name"] not in wanted:
                self.admin("DELETE", f"users/{user}/groups/{group['id']}")
        for one in wanted:
            self.admin("PUT", f"users/{user}/groups/{self._group(one)}")

    def remove_account(self, name: str) -> None:
        assert name == LOGIN
        self.admin("PUT", f"users/{self._user()}", {"enabled": False})

    def set_down(self, down: bool) -> None:
        """Set whether the server leaves requests without an answer."""
        os.killpg(self._process.pid, signal.SIGSTOP if down else signal.SIGCONT)

    def sign_out(self) -> None:
        """Sign the user out as an administrator; the client gets a back-channel logout."""
        self.admin("POST", f"users/{self._user()}/logout")

    def end_session(self, session_id: str) -> None:
        """End it as an administrator; the client gets a back-channel logout."""
        self.admin("DELETE", f"sessions/{session_id}")

    def _user(self) -> str:
        [found] = self.admin("GET", f"users?exact=true&username={USER}")
        return str(found["id"])

    def _group(self, name: str) -> str:
        found = self.admin("GET", f"groups?exact=true&search={name}")
        while found and found[0]["name"] != name:
            found = found[0]["subGroups"]
        return str(found[0]["id"])

    def admin(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer of the administrator's API."""
        form = {"grant_type": "password", "client_id": "admin-cli"}
        form |= {"username": ADMIN, "password": ADMIN}
        token = self._ask("POST", "/realms/master/protocol/openid-connect/token", form=form)
        return self._ask(method, f"/admin/realms/{REALM}/{path}", body, token["access_token"])

    def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        bearer: str | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        data = urlencode(form).encode() if form else None
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        asked = urllib.request.Request(self.base + path, data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def running_keycloak(
    folder: Path, redirect_uri: str, client: Mapping[str, str] | None = None
) -> Iterator[Keycloak]:
    """Until the block ends. `client` are more attributes of the client."""
    port = free_port()
    home = _unpacked(folder)
    (home / "data/import").mkdir(parents=True)
    (home / "data/import/realm.json").write_text(json.dumps(_realm(redirect_uri, client or {})))
    env = os.environ | {
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN,
        "JAVA_OPTS_APPEND": "-Xmx512m",
    }
    command: list[str | Path] = ["bash", home / "bin/kc.sh", "start-dev", "--import-realm"]
    command += ["--http-host=127.0.0.1", f"--http-port={port}"]
    with (folder / "keycloak.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    found = Keycloak(f"http://127.0.0.1:{port}", redirect_uri, process)

    def ready() -> bool:
        assert process.poll() is None, (folder / "keycloak.log").read_text()[-3000:]
        return found.answers()

    try:
        wait_until(ready, START_S)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _unpacked(folder: Path) -> Path:
    """Its distribution from Maven Central, fetched once by mvn."""
    archive = CACHE / f"keycloak-quarkus-dist-{VERSION}.zip"
    if not archive.is_file():
        fetched = folder / "fetched"
        subprocess.run(
            [
                *("mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"),
                f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip",
                f"-DoutputDirectory={fetched}",
            ],
            check=True,
        )
        # Whole or not at all: another run may look for it meanwhile.
        CACHE.mkdir(exist_ok=True)
        part = CACHE / f"{archive.name}.{os.getpid()}"
        shutil.move(fetched / archive.name, part)
        part.rename(archive)
    with zipfile.ZipFile(archive) as whole:
        whole.extractall(folder)
    return folder / f"keycloak-{VERSION}"


def _realm(redirect_uri: str, client: Mapping[str, str]) -> dict[str, object]:
    """As a company would make it: PKCE, refresh tokens that rotate, groups by their paths."""
    return {
        "realm": REALM,
        "enabled": True,
        "sslRequired": "none",
        "revokeRefreshToken": True,
        "refreshTokenMaxReuse": 0,
        "groups": [{"name": "teams", "subGroups": [{"name": "shop"}]}, {"name": "ops"}],
        "users": [
            {
                "username": USER,
                "enabled": True,
                "email": "carol@example.com",
                "emailVerified": True,
                "firstName": "Carol",
                "lastName": "C",
                "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
                "groups": ["/teams/shop"],
            }
        ],
        "clients": [
            {
                "clientId": CLIENT_ID,
                "secret": SECRET,
                "publicClient": False,
                "standardFlowEnabled": True,
                "redirectUris": [redirect_uri],
                "attributes": {"pkce.code.challenge.method": "S256", **client},
                "protocolMappers": [
                    {
                        "name": "groups",
                        "protocol": "openid-connect",
                        "protocolMapper": "oidc-group-membership-mapper",
                        "config": {
                            "claim.name": "groups",
                            "full.path": "true",
                            "id.token.claim": "true",
                            "userinfo.token.claim": "true",
                        },
                    }
                ],
            }
        ],
    }
