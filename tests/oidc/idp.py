"""A real identity provider on this machine, npm's oidc-provider, and a person who signs in at it."""

import html
import http.cookiejar
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin

import pytest

from tests.fixtures.gateway import sso
from tests.ports import free_port
from tests.stopped import killed
from tests.waiting import BOUND_S

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(__file__).parent / "provider"
CLIENT_ID, SECRET = "stagedoor", "a secret: with / all + kinds"
_NODE = 'root="$1"; cd "$2"; . "$root/script/node.sh"; '
_INSTALL = _NODE + (
    'exec 9>.lock; flock 9; now="$(sha256sum <package-lock.json)"; '
    '[ "$(cat node_modules/.stamp 2>/dev/null)" = "$now" ] || '
    '{ npm ci --no-audit --no-fund >&2; printf %s "$now" >node_modules/.stamp; }'
)


class Provider(Protocol):
    """An identity provider. `settings` are lines that its `[[sso]]` table needs."""

    @property
    def issuer(self) -> str: ...

    @property
    def redirect_uri(self) -> str: ...

    @property
    def settings(self) -> str: ...


def sso_table(provider: Provider, folder: Path, more: str = "", *, name: str = "Company") -> str:
    """Return an `[[sso]]` table with the client's secret in a file below `folder`; `more` are lines of it."""
    table = sso(folder, provider.issuer, provider.redirect_uri, name=name, secret=SECRET)
    return f"{table}{provider.settings}{more}"


@dataclass(frozen=True)
class Idp:
    issuer: str
    redirect_uri: str
    settings: ClassVar[str] = ""
    """Lines that its `[[sso]]` table needs."""

    def set_account(self, name: str, claims: Mapping[str, Any]) -> None:
        self._control("PUT", name, json.dumps(claims).encode())

    def remove_account(self, name: str) -> None:
        self._control("DELETE", name)

    def set_down(self, down: bool) -> None:
        """Set whether the token endpoint answers 503."""
        self._control("PUT", "down" if down else "up", kind="token")

    def log_out(self, name: str, session_id: str) -> bytes:
        """Tell the client by the back channel that this session of `name` is over; the form that was sent."""
        self._control("PUT", name, json.dumps(session_id).encode(), kind="logout")
        with urllib.request.urlopen(f"{self.issuer}/test/posted") as answer:
            return bytes(answer.read())

    def issued(self) -> set[str]:
        """Every access token, refresh token and ID token that it has given so far."""
        with urllib.request.urlopen(f"{self.issuer}/test/issued") as answer:
            answers = json.load(answer)
        names = ("access_token", "refresh_token", "id_token")
        return {str(one[name]) for one in answers for name in names if name in one}

    def _control(
        self, method: str, name: str, body: bytes | None = None, kind: str = "accounts"
    ) -> None:
        url = f"{self.issuer}/test/{kind}/{name}"
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method)):
            pass

    def browser(self) -> "Person":
        """One that keeps its session at the provider."""
        return Person(self.redirect_uri)

    def sign_in(self, url: str, name: str, person: "Person | None" = None) -> str:
        """Go to `url` in a browser of one's own, or in that one, sign in as `name` and agree; the address
        that the provider sends the browser back to."""
        person = person or self.browser()
        at = person.go(url)
        for _ in range(4):
            if at.startswith(self.redirect_uri):
                return at
            [action] = re.findall(r'<form[^>]* action="([^"]+)"', person.page)
            prompt = re.findall(r'name="prompt" value="([^"]+)"', person.page)[0]
            person.asked += prompt == "login"
            fields = {"prompt": prompt, "login": name, "password": "any"}
            at = person.go(urljoin(at, html.unescape(action)), urlencode(fields).encode())
        raise AssertionError(f"the provider asks again and again: {person.page}")


class Person(urllib.request.HTTPRedirectHandler):
    """Follows redirects but for the one that leads back to the gateway. `asked` counts passwords."""

    def __init__(self, until: str) -> None:
        self._until = until
        self.page = ""
        self.asked = 0
        # As browsers do at loopback: Keycloak's cookies are Secure over http as well.
        policy = http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https"))
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar(policy))
        self._opener = urllib.request.build_opener(self, jar)

    def redirect_request(self, *words: Any) -> urllib.request.Request | None:
        url = str(words[-1])
        return None if url.startswith(self._until) else super().redirect_request(*words)

    def go(self, url: str, form: bytes | None = None) -> str:
        try:
            with self._opener.open(url, form, timeout=BOUND_S) as answer:
                self.page = answer.read().decode()
                return str(answer.url)
        except HTTPError as error:
            if error.code in (302, 303) and error.headers["location"].startswith(self._until):
                return str(error.headers["location"])
            raise AssertionError(f"{error.code}: {error.read().decode()}") from None


@contextmanager
def running_idp(
    folder: Path,
    accounts: Mapping[str, Mapping[str, Any]],
    redirect_uri: str = "http://127.0.0.1:1/sign-in/sso",
    **settings: Any,
) -> Iterator[Idp]:
    """A provider that knows `accounts` (claims by name), until the block ends."""
    done = subprocess.run(
        ["bash", "-c", _INSTALL, "-", ROOT, FOLDER], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"oidc-provider cannot be installed: {done.stderr.strip()[-200:]}")
    port = free_port()
    idp = Idp(f"http://127.0.0.1:{port}", redirect_uri)
    client = {
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "redirect_uris": [idp.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        **settings.pop("client", {}),
    }
    file = folder / "provider.json"
    file.write_text(
        json.dumps(
            {
                "issuer": idp.issuer,
                "port": port,
                "clients": [client],
                "accounts": accounts,
                "idTokenClaims": True,
                **settings,
            }
        )
    )
    with killed(
        subprocess.Popen(
            ["bash", "-c", _NODE + 'exec node server.mjs "$3"', "-", ROOT, FOLDER, file],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield idp
