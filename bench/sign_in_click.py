"""How long ssh waits for its person's sign-in, beyond what the person and the provider take.

    .venv/bin/python bench/sign_in_click.py [--quick] [--page docs/performance-login.md]

A gateway of one worker on SQLite, npm's oidc-provider (certified), stock ssh, the client that gateways
serve, and a browser by HTTP, which draws nothing. Measured by the clock are: from the click in the browser
until ssh goes on, with and without the client; from `ssh` to its prompt where the provider still knows the
person; and 50 ssh at once. Prints a table in Markdown, and how busy the machine was; --page writes it
between the marks of a page.
"""

import html
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.login.conftest import settings
from tests.login.laptop import Laptop, new_laptop
from tests.oidc.idp import CLIENT_ID, SECRET, Idp, running_idp
from tests.path.gateway import Gateway
from tests.ssh.test_hold import Waiting
from tests.web.test_single_sign_on import Browser

from markdown import HEAD, hand_out, options, row
from stagedoor.admin import service as admin

ACCOUNT, CLAIMS = "carol-1", {"preferred_username": "carol", "groups": ["shop"]}
AT_ONCE = 50
CLICKS, PROMPTS, CROWDS = 15, 15, 5
"""In each run of a gateway: it lets 20 logins of a source begin in a row, and then one in five seconds."""
RUNS = 3
OPENSSH_ALONE = """
Host gw
  HostName 127.0.0.1
  Port {port}
  User carol
  IdentityFile {key}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
"""


class Carol:
    """At the laptop's browser. The provider knows her; `there_s` is how long she was led around there."""

    def __init__(self, idp: Idp, port: int) -> None:
        self._idp = idp
        self._port = port
        self._provider = idp.browser()
        self.browser = Browser(port)
        self.there_s = 0.0
        self.sign_in("/")

    def forgotten(self) -> None:
        """By the gateway's cookie."""
        self.browser = Browser(self._port)
        self.there_s = 0.0

    def sign_in(self, wanted: str) -> None:
        url = self.browser.begin(wanted)
        began = time.perf_counter()
        back = self._idp.sign_in(url, ACCOUNT, self._provider)
        self.there_s += time.perf_counter() - began
        status, page = self.browser.get(back)
        assert status == 200, page

    def look(self, id_: str) -> None:
        status, page = self.browser.get(f"{self.browser.origin}/login/{id_}")
        assert status == 200, page
        assert "Allow" in page, page

    def click(self, id_: str) -> None:
        """The browser goes where it is led: to the client's port, and back."""
        status, page = self.browser.post(f"/login/{id_}/approve")
        assert status == 200, page
        [url] = re.findall(r'href="(http://127\.0\.0\.1:\d+/[^"]+)"', page)
        status, page = self.browser.get(html.unescape(url))
        assert (status, "logged in" in page) == (200, True), page

    def type(self, id_: str, letters: str) -> None:
        status, page = self.browser.post(f"/login/{id_}/approve", letters=letters)
        assert status == 200, page


class Tabs:
    """A desktop, whose browser writes down what it is to show."""

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / "tabs"
        os.mkfifo(self._pipe)
        program = folder / "browser"
        program.write_text(f'#!/bin/sh\necho "$1" > {self._pipe}\n')
        program.chmod(0o755)
        self.env = {"DISPLAY": ":99", "BROWSER": f"{program} %s"}
        self._fd = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK)

    def opened(self) -> str:
        """The id of the login that the next tab shows; waits for it."""
        os.set_blocking(self._fd, True)
        return os.read(self._fd, 1000).decode().strip().rpartition("/")[2]

    @property
    def more(self) -> bool:
        os.set_blocking(self._fd, False)
        try:
            return bool(os.read(self._fd, 1000))
        except BlockingIOError:
            return False


@contextmanager
def gateway_of(idp: Idp, folder: Path, toml: str) -> Iterator[Gateway]:
    """With the provider, and an app for its person."""
    folder.mkdir()
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    sso = (
        f'\n[[sso]]\nname = "Company"\nissuer = "{idp.issuer}"\nclient_id = "{CLIENT_ID}"\n'
        f'client_secret_file = "{secret}"\nredirect_uri = "{idp.redirect_uri}"\n'
        'groups = { "shop" = "shop" }\n'
    )
    with Gateway(folder, toml + sso) as made:
        with made.service() as service:
            admin.add_grant(service, "group:shop", "app01")
        yield made.start()


def since(began: float, process: "subprocess.Popen[str]") -> float:
    """Milliseconds until it ends; it must succeed."""
    process.wait(60)
    took = (time.perf_counter() - began) * 1e3
    assert process.returncode == 0
    return took


def clicked(laptop: Laptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """From the click until what ssh waits for has ended, on one machine."""
    return _approved(laptop, tabs, count, lambda id_, _: carol.click(id_), carol.look)


def typed(laptop: Laptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """The same where the browser is on another machine."""
    return _approved(laptop, tabs, count, carol.type, carol.look)


def _approved(
    laptop: Laptop,
    tabs: Tabs,
    count: int,
    approve: Callable[[str, str], None],
    look: Callable[[str], None],
) -> list[float]:
    took = []
    for _ in range(count):
        laptop.run("logout")
        needed = ("login", "--if-needed", "--folder", str(laptop.folder))
        running = laptop.start(*needed, **tabs.env)
        id_ = tabs.opened()
        look(id_)
        letters = running.letters
        began = time.perf_counter()
        approve(id_, letters)
        took.append(since(began, running.process))
        running.end()
    return took


def bound(folder: Path, gateway: Gateway, carol: Carol, count: int) -> list[float]:
    """From the letters until stock ssh alone is in."""
    took = []
    for number in range(count):
        key = folder / f"key{number}"
        command = ["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key]
        subprocess.run(command, check=True)
        config = folder / "openssh.conf"
        config.write_text(OPENSSH_ALONE.format(port=gateway.port("ssh"), key=key))
        waiting = Waiting("ssh", "-F", config, "gw", "whoami")
        path, letters = waiting.asked()
        began = time.perf_counter()
        carol.type(path.rpartition("/")[2], letters)
        code, said = waiting.ended()
        took.append((time.perf_counter() - began) * 1e3)
        assert (code, said.splitlines()[0]) == (0, b"carol")
        key.unlink()
    return took


def ssh(laptop: Laptop, tabs: Tabs) -> "subprocess.Popen[bytes]":
    """The person's ssh to an app, on their desktop."""
    return subprocess.Popen(
        ["ssh", "-F", laptop.home / ".ssh/config", "app01.ssh", "echo in"],
        env=laptop.env | tabs.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def prompts(laptop: Laptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """Seconds from `ssh` to what the shell says, less those at the provider: the login is over, the gateway
    has forgotten the browser, and the provider has not."""
    took = []
    for _ in range(count):
        laptop.run("logout")
        carol.forgotten()
        began = time.perf_counter()
        process = ssh(laptop, tabs)
        id_ = tabs.opened()
        carol.sign_in(f"/login/{id_}")
        carol.look(id_)
        carol.click(id_)
        said = process.communicate(timeout=60)
        took.append(time.perf_counter() - began - carol.there_s)
        assert said[0] == b"in\n", said
    return took


def crowds(laptop: Laptop, carol: Carol, tabs: Tabs, count: int, size: int) -> list[float]:
    """Seconds until the last of `size` ssh is in, by one tab."""
    took = []
    for _ in range(count):
        laptop.run("logout")
        began = time.perf_counter()
        all_ = [ssh(laptop, tabs) for _ in range(size)]
        id_ = tabs.opened()
        carol.look(id_)
        carol.click(id_)
        said = [process.communicate(timeout=120) for process in all_]
        took.append(time.perf_counter() - began)
        assert {out for out, _ in said} == {b"in\n"}, [each for each in said if each[0] != b"in\n"]
        assert not tabs.more, "one tab for all of them"
    return took


def main() -> None:
    given = options(__doc__, "a few of it")
    part = 5 if given.quick else 1
    busy = os.getloadavg()[0]
    found: dict[str, list[float]] = {
        name: [] for name in ("click", "type", "alone", "prompt", "crowd")
    }
    toml = settings()
    [web] = re.findall(r'\[web\]\naddresses = \["([^"]+)"\]', toml)
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        with running_idp(folder, {ACCOUNT: CLAIMS}, f"http://{web}/sign-in/sso") as idp:
            for run in range(1 if given.quick else RUNS):
                for name in found:
                    place = folder / f"{name}{run}"
                    with gateway_of(idp, place, toml) as gateway:
                        found[name] += measured(name, place, gateway, idp, part)
    lines = [
        *HEAD,
        row("click on this machine → ssh goes on", found["click"], "ms", "p95 300"),
        row("letters typed elsewhere → ssh goes on", found["type"], "ms", "p95 300"),
        row("letters typed → OpenSSH alone is in", found["alone"], "ms", "p95 300"),
        row("`ssh` to prompt, the provider knows the person", found["prompt"], "s", "1.0"),
        row(f"{AT_ONCE} ssh at once, one tab, all in", found["crowd"], "s", "3"),
    ]
    hand_out(lines, busy, given.page, "sign_in_click")


def measured(name: str, place: Path, gateway: Gateway, idp: Idp, part: int) -> list[float]:
    """On a laptop that has just logged in."""
    port = gateway.port("web")
    laptop, carol, tabs = (
        new_laptop(place, f"http://127.0.0.1:{port}"),
        Carol(idp, port),
        Tabs(place),
    )
    running = laptop.start("login", laptop.base, **tabs.env)
    carol.click(tabs.opened())
    assert running.end().returncode == 0, running.stderr
    match name:
        case "click":
            return clicked(laptop, carol, tabs, CLICKS // part)
        case "type":
            return typed(laptop, carol, tabs, CLICKS // part)
        case "alone":
            return bound(place, gateway, carol, CLICKS // part)
        case "prompt":
            return prompts(laptop, carol, tabs, PROMPTS // part)
        case _:
            return crowds(laptop, carol, tabs, max(1, CROWDS // part), AT_ONCE)


if __name__ == "__main__":
    main()
