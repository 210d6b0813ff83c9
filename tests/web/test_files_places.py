"""Files where a host per app, or a path of another site, is what the browser sees; behind nginx, Caddy and
Traefik by the lines of our how-to.

Each test runs in each place. The browser's side speaks TLS to the proxy, and that HTTP to the gateway.
"""

import http.client
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.fixtures.gateway import Gateway
from tests.net.peers import write_certificate
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.mover import MIB, Mover, Sent, content, digest, digest_of
from tests.web.proxies import MISSING, Reverse, caddy, nginx, printed, traefik

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}")

DOMAIN = "shell.example.com"
LARGE = 24 * MIB
"""More than nginx takes, or keeps in memory and the sockets beside it, by default."""


@dataclass(frozen=True)
class Place:
    """A place of the page: its address below `origin`, and the proxy before the gateway."""

    gateway: Gateway
    proxy: Reverse
    origin: str
    path: str = ""

    def mover(self, app: str = "app01", origin: str = "") -> Mover:
        return Mover(self.proxy.tls_port, app, origin=origin or self.origin, path=self.path)


def settings(**more: object) -> str:
    """Return the lines of the how-to, with `more` of them."""
    shown = tomllib.loads(printed("toml"))["web"]
    web = {**shown, **more, "addresses": ["127.0.0.1:0"]}
    lines = [f"{name} = {json.dumps(value)}" for name, value in web.items()]
    return SETTINGS.replace('addresses = ["127.0.0.1:0"]', "\n".join(lines))


@pytest.fixture(
    scope="module",
    params=["nginx, a domain", "nginx, a path", "Caddy, a domain", "Traefik, a domain"],
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    by_domain = request.param.endswith("a domain")
    shown = settings(domain=DOMAIN, path="") if by_domain else settings()
    with Gateway(folder, shown) as gateway:
        gateway.add_user("dev", "app01", "app02")
        port = gateway.start().port("web")
        certificate = write_certificate(folder, DOMAIN)
        program = request.param.partition(",")[0]
        proxied = (
            {"Caddy": caddy, "Traefik": traefik}[program](folder / "proxy", port, certificate)
            if program != "nginx"
            else nginx(folder / "proxy", port, certificate, "/" if by_domain else "/stagedoor/")
        )
        with proxied as proxy:
            if by_domain:
                yield Place(gateway, proxy, f"https://app01.{DOMAIN}")
            else:
                yield Place(gateway, proxy, "https://portal.example.com", "/stagedoor")


@pytest.fixture
def mover(place: Place) -> Mover:
    return place.mover()


def test_large_files_go_up_and_down_and_nothing_of_them_lies_at_the_proxy(
    place: Place, mover: Mover, tmp_path: Path
) -> None:
    whole = digest(content(LARGE))
    (tmp_path / "there").write_bytes(b"".join(content(LARGE)))
    down, up = mover.connect(), mover.connect()
    there = mover.files(f"path={quote(str(tmp_path))}/there")
    down.request("GET", there, headers={"Host": mover.host, **mover.headers("GET")})
    got = down.getresponse()  # and its bytes are not read, while another file goes the other way
    sent = Sent(tmp_path, b"large", LARGE)
    mover.put_head(up, sent, mover.offset(sent))
    pieces = content(LARGE)
    up.send(next(pieces))
    # It is on its way into the shell before the rest has come: the proxy waits for no end.
    wait_until(lambda: sent.part.stat().st_size > 0)
    for piece in pieces:
        up.send(piece)
    answer = up.getresponse()
    assert (answer.status, json.load(answer)) == (200, {"name": "large"})
    assert digest_of(tmp_path / "large") == whole
    assert got.status == 200
    assert digest(iter([got.read()])) == whole
    down.close()
    up.close()
    # nginx removes such files before they are written; it warns of each.
    assert "buffered to a temporary file" not in place.proxy.errors.read_text()


def test_an_upload_and_a_download_that_are_cut_go_on(mover: Mover, tmp_path: Path) -> None:
    sent = Sent(tmp_path, b"f", 8 * MIB)
    line = mover.connect()
    mover.put_head(line, sent, mover.offset(sent))
    for piece in content(5 * MIB):
        line.send(piece)
    wait_until(lambda: sent.part.stat().st_size >= 4 * MIB)
    line.close()
    at = mover.offset(sent)
    assert 0 < at <= 5 * MIB
    answer = mover.pour(sent, at)
    assert answer is not None
    assert answer.status == 200
    assert digest_of(tmp_path / "f") == digest(content(sent.size))
    os.utime(tmp_path / "f", (1_700_000_000, 1_700_000_000))  # what has just changed has no tag
    line = mover.connect()
    path = mover.files(f"path={quote(str(tmp_path))}/f")
    line.request("GET", path, headers={"Host": mover.host, **mover.headers("GET")})
    first = line.getresponse()
    tag, got = first.getheader("ETag"), first.read(3 * MIB)
    line.close()
    assert tag
    rest = mover.get(str(tmp_path / "f"), Range=f"bytes={len(got)}-", If_Range=tag)
    assert rest.status == 206
    assert digest(iter([got, rest.body])) == digest(content(sent.size))


def test_only_the_page_of_that_very_origin_can_ask(
    place: Place, mover: Mover, tmp_path: Path
) -> None:
    """The cookie comes along from each app's host below the domain: to a browser they are one site."""
    (tmp_path / "f").write_bytes(b"mine")
    cookie = {"Cookie": mover.cookie}
    get = mover.files(f"path={quote(str(tmp_path))}/f")
    upload = mover.files(f"{Sent(tmp_path, b'evil', 1).query}&at=0", "/upload")
    port = place.gateway.port("web")
    for stranger in (
        f"https://app02.{DOMAIN}",
        f"https://{DOMAIN}",
        f"https://evil.app01.{DOMAIN}",
        f"https://app01.{DOMAIN}.evil.example",
        place.origin.replace("https:", "http:"),
        f"{place.origin}:444",
        f"http://127.0.0.1:{port}",
        "null",
    ):
        for method, path in (
            ("GET", get),
            ("POST", get),
            ("POST", upload),
            ("PATCH", upload),
            ("DELETE", upload),
        ):
            marks = {**cookie, "Origin": stranger, "Sec-Fetch-Site": "same-site"}
            assert mover.ask(method, path, b"x", marks, plain=True).status == 403, (method, marks)
        marks = {**cookie, "Sec-Fetch-Site": "same-site", "Referer": f"{stranger}/"}
        assert mover.ask("GET", get, headers=marks, plain=True).status == 403
    by_referer = {**cookie, "Referer": f"{mover.origin}{mover.path}/app/app01"}
    assert mover.ask("GET", get, headers=by_referer, plain=True).body == b"mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["f"]


def test_who_only_says_that_he_is_the_proxy_is_not_our_page(
    place: Place, mover: Mover, tmp_path: Path
) -> None:
    """Past nginx, with its headers and a person's cookie, from an address that is none of a proxy's."""
    sent = Sent(tmp_path, b"evil", 1)
    line = http.client.HTTPConnection(
        "127.0.0.1", place.gateway.port("web"), timeout=30, source_address=("127.0.0.7", 0)
    )
    head = {"Host": mover.host, **mover.headers("POST"), "X-Forwarded-Proto": "https"}
    line.request("POST", mover.files(sent.query, "/upload"), b"", head)
    assert line.getresponse().status == 403
    line.close()
    assert not list(tmp_path.iterdir())


def test_one_sign_in_holds_on_each_apps_host_and_on_no_other(place: Place, tmp_path: Path) -> None:
    mover = place.mover()
    if not mover.host.endswith(DOMAIN):
        assert mover.cookie.startswith("__Host-")
        return
    assert mover.cookie.startswith("__Secure-")
    other = place.mover("app02", f"https://app02.{DOMAIN}")
    other.cookie = mover.cookie
    assert other.send(Sent(tmp_path, b"f", 5), b"12345").status == 200
