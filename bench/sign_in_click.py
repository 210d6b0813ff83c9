"""The time that ssh waits for its person's sign-in, without the person's and the provider's own time.

    .venv/bin/python bench/sign_in_click.py [--quick] [--page docs/performance-login.md]

It uses a gateway of one worker on SQLite, npm's oidc-provider (certified), stock ssh, the client that
gateways serve, and a browser by HTTP, which draws nothing. It measures, in wall time: from the click in the
browser until ssh continues, with and without the client; from `ssh` to its prompt while the person is signed
in at the provider; and 50 ssh at once. It prints a table in Markdown and the machine's load; --page writes it
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

from tests.fixtures.gateway import Gateway
from tests.fixtures.laptop import Waiting, new_key
from tests.fixtures.people import Browser
from tests.login.conftest import settings
from tests.login.laptop import BareLaptop, new_laptop
from tests.oidc.idp import Idp, running_idp, sso_table
from tests.ssh.test_pending_keys import BANNER

from markdown import HEAD, hand_out, options, row
from stagedoor.admin import service as admin

ACCOUNT, CLAIMS = "carol-1", {"preferred_username": "carol", "groups": ["shop"]}
CONCURRENT = 50
CLICKS, PROMPTS, CROWDS = 15, 15, 5
"""How many of each one gateway serves: it accepts 20 logins of a source, then one in five seconds."""
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
    """A person with a browser, who is signed in at the provider.

    `there_s` is the time that her browser spent at the provider.
    """

    def __init__(self, idp: Idp, port: int) -> None:
        self._idp = idp
        self._port = port
        self._provider = idp.browser()
        self.browser = Browser(f"http://127.0.0.1:{port}")
        self.there_s = 0.0
        self.sign_in("/")

    def lose_cookies(self) -> None:
        """Continue with a browser without the gateway's cookies."""
        self.browser = Browser(f"http://127.0.0.1:{self._port}")
        self.there_s = 0.0

    def sign_in(self, wanted: str) -> None:
        """Sign in at the gateway by the provider, and open the page `wanted`."""
        url = self.browser.begin(wanted)
        began = time.perf_counter()
        back = self._idp.sign_in(url, ACCOUNT, self._provider)
        self.there_s += time.perf_counter() - began
        status, page = self.browser.get(back)
        assert status == 200, page

    def open_login(self, id_: str) -> None:
        """Open the page of a login."""
        status, page = self.browser.get(f"{self.browser.origin}/login/{id_}")
        assert status == 200, page
        assert "Allow" in page, page

    def click(self, id_: str) -> None:
        """Allow a login, and follow the redirects to the client's port and back."""
        status, page = self.browser.post(f"/login/{id_}/approve")
        assert status == 200, page
        [url] = re.findall(r'href="(http://127\.0\.0\.1:\d+/[^"]+)"', page)
        status, page = self.browser.get(html.unescape(url))
        assert (status, "logged in" in page) == (200, True), page

    def type(self, id_: str, letters: str) -> None:
        """Allow a login by its letters."""
        status, page = self.browser.post(f"/login/{id_}/approve", letters=letters)
        assert status == 200, page


class Tabs:
    """A desktop whose browser records the URLs that it should open."""

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / "tabs"
        os.mkfifo(self._pipe)
        program = folder / "browser"
        program.write_text(f'#!/bin/sh\necho "$1" > {self._pipe}\n')
        program.chmod(0o755)
        self.env = {"DISPLAY": ":99", "BROWSER": f"{program} %s"}
        self._fd = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK)

    def opened(self) -> str:
        """Wait for the next tab; return the id of its login."""
        os.set_blocking(self._fd, True)
        return os.read(self._fd, 1000).decode().strip().rpartition("/")[2]

    @property
    def more(self) -> bool:
        """True if another tab was opened."""
        os.set_blocking(self._fd, False)
        try:
            return bool(os.read(self._fd, 1000))
        except BlockingIOError:
            return False


@contextmanager
def gateway_of(idp: Idp, folder: Path, toml: str) -> Iterator[Gateway]:
    """Run a gateway with the provider and an app for its person."""
    folder.mkdir()
    table = sso_table(idp, folder, 'groups = { "shop" = "shop" }\n')
    with Gateway(folder, toml + table) as gateway:
        with gateway.service() as service:
            admin.add_grant(service, "group:shop", "app01")
        yield gateway.start()


def since(began: float, process: "subprocess.Popen[str]") -> float:
    """Wait for a process, which must succeed; return the milliseconds since `began`."""
    process.wait(60)
    took = (time.perf_counter() - began) * 1e3
    assert process.returncode == 0
    return took


def measure_clicks(laptop: BareLaptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """Measure from the click until the command that ssh waits for has ended, on one machine."""
    return _measure_approvals(
        laptop, tabs, count, lambda id_, _: carol.click(id_), carol.open_login
    )


def measure_letters(laptop: BareLaptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """Measure from the letters, with the browser on another machine, until that command has ended."""
    return _measure_approvals(laptop, tabs, count, carol.type, carol.open_login)


def _measure_approvals(
    laptop: BareLaptop,
    tabs: Tabs,
    count: int,
    approve: Callable[[str, str], None],
    open_login: Callable[[str], None],
) -> list[float]:
    took = []
    for _ in range(count):
        laptop.run("logout")
        needed = ("login", "--if-needed", "--folder", str(laptop.folder))
        running = laptop.start(*needed, **tabs.env)
        id_ = tabs.opened()
        open_login(id_)
        letters = running.letters
        began = time.perf_counter()
        approve(id_, letters)
        took.append(since(began, running.process))
        running.end()
    return took


def measure_alone(folder: Path, gateway: Gateway, carol: Carol, count: int) -> list[float]:
    """Measure from the letters until stock ssh, without the client, has logged in."""
    took = []
    for number in range(count):
        key = folder / f"key{number}"
        new_key(key)
        config = folder / "openssh.conf"
        config.write_text(OPENSSH_ALONE.format(port=gateway.port("ssh"), key=key))
        waiting = Waiting("ssh", "-F", config, "gw", "whoami", asks=BANNER)
        path, letters = waiting.asked()
        began = time.perf_counter()
        carol.type(path.rpartition("/")[2], letters)
        code, out = waiting.end()
        took.append((time.perf_counter() - began) * 1e3)
        assert (code, out.splitlines()[0]) == (0, b"carol")
        key.unlink()
    return took


def ssh(laptop: BareLaptop, tabs: Tabs) -> "subprocess.Popen[bytes]":
    """Start the person's ssh to an app, on their desktop."""
    return subprocess.Popen(
        ["ssh", "-F", laptop.home / ".ssh/config", "app01.ssh", "echo in"],
        env=laptop.env | tabs.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def measure_prompts(laptop: BareLaptop, carol: Carol, tabs: Tabs, count: int) -> list[float]:
    """Measure from `ssh` to the shell's output, in seconds, without those at the provider.

    The login has ended and the gateway's cookie is gone, but the person is signed in at the provider.
    """
    took = []
    for _ in range(count):
        laptop.run("logout")
        carol.lose_cookies()
        began = time.perf_counter()
        process = ssh(laptop, tabs)
        id_ = tabs.opened()
        carol.sign_in(f"/login/{id_}")
        carol.open_login(id_)
        carol.click(id_)
        output = process.communicate(timeout=60)
        took.append(time.perf_counter() - began - carol.there_s)
        assert output[0] == b"in\n", output
    return took


def measure_crowds(
    laptop: BareLaptop, carol: Carol, tabs: Tabs, count: int, size: int
) -> list[float]:
    """Measure the seconds until the last of `size` ssh has logged in, with one tab for all."""
    took = []
    for _ in range(count):
        laptop.run("logout")
        began = time.perf_counter()
        all_ = [ssh(laptop, tabs) for _ in range(size)]
        id_ = tabs.opened()
        carol.open_login(id_)
        carol.click(id_)
        outputs = [process.communicate(timeout=120) for process in all_]
        took.append(time.perf_counter() - began)
        assert {out for out, _ in outputs} == {b"in\n"}, [
            output for output in outputs if output[0] != b"in\n"
        ]
        assert not tabs.more, "one tab for all of them"
    return took


def main() -> None:
    """Run the benchmark."""
    given = options(__doc__, "a few of it")
    part = 5 if given.quick else 1
    busy = os.getloadavg()[0]
    times: dict[str, list[float]] = {
        name: [] for name in ("click", "type", "alone", "prompt", "crowd")
    }
    toml = settings()
    [web] = re.findall(r'\[web\]\naddresses = \["([^"]+)"\]', toml)
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        with running_idp(folder, {ACCOUNT: CLAIMS}, f"http://{web}/sign-in/sso") as idp:
            for run in range(1 if given.quick else RUNS):
                for name in times:
                    place = folder / f"{name}{run}"
                    with gateway_of(idp, place, toml) as gateway:
                        times[name] += measure(name, place, gateway, idp, part)
    lines = [
        *HEAD,
        row("click on this machine → ssh continues", times["click"], "ms", "p95 300"),
        row("letters typed elsewhere → ssh continues", times["type"], "ms", "p95 300"),
        row("letters typed → OpenSSH alone is in", times["alone"], "ms", "p95 300"),
        row("`ssh` to prompt, the provider knows the person", times["prompt"], "s", "1.0"),
        row(f"{CONCURRENT} ssh at once, one tab, all in", times["crowd"], "s", "3"),
    ]
    hand_out(lines, busy, given.page, "sign_in_click")


def measure(name: str, place: Path, gateway: Gateway, idp: Idp, part: int) -> list[float]:
    """Take one measure on a laptop that has just logged in."""
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
            return measure_clicks(laptop, carol, tabs, CLICKS // part)
        case "type":
            return measure_letters(laptop, carol, tabs, CLICKS // part)
        case "alone":
            return measure_alone(place, gateway, carol, CLICKS // part)
        case "prompt":
            return measure_prompts(laptop, carol, tabs, PROMPTS // part)
        case _:
            return measure_crowds(laptop, carol, tabs, max(1, CROWDS // part), CONCURRENT)


if __name__ == "__main__":
    main()
