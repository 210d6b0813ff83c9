"""The API under 50 requests a second, and a terminal beside it, with a long history.

    .venv/bin/python bench/api_load.py [--quick] [--page FILE]

One gateway of one worker has an SQLite store with 10,000 users, 50,000 grants and 10⁶ audit events. A request
is sent every 20 ms, whether earlier ones are answered or not, and its time counts from that moment. They are
reads, changes, searches of the audit, and the questions who may enter and why. A key is typed into a terminal
of the WebShell every 10 ms, without that load and with it. The table in Markdown names the aims.
"""

import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.api import USERS, fill_policy, make_grant
from bench.console import SEARCHES, fill
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.fixtures.people import PlainBrowser

from load.web_socket import WebClient, until_shown
from markdown import HEAD, hand_out, options, row
from peers import NAME
from peers import PASSWORD as BENCH_PASSWORD
from series import percentile
from stagedoor.admin.service import add_user

EVENTS = 1_000_000
RATE, LOAD_S, KEYS_S, KEY_EVERY_S = 50, 60.0, 20.0, 0.01
AIMS_MS = {"read": 50, "change": 120, "search": 200, "who may enter": 200, "why": 5}
KEY_AIM_MS = 0.2
SHARES = {"read": 6, "change": 1, "search": 1, "who may enter": 1, "why": 1}
"""How many of ten requests are of each kind."""
READS = (
    "/users/u{n}", "/users", "/users?group=g{g}", "/groups", "/grants", "/grants?user=u{n}",
    "/grants?app=app{n}", "/grants/{n}", "/roles", "/requests", "/request-rules", "/sessions",
    "/sessions?all=true", "/events?last=100", "/apps",
)  # fmt: skip
SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]
tmux = false

[[shells.local]]
app = "app01"
login_shell = "/bin/sh"
"""
ECHO = "stty raw -echo; printf '!'; exec cat"

_ADDED = count()
"""The numbers of the apps of new grants."""
Send = Callable[[], object]


class Client:
    """Connections to the gateway, one for each thread, with a token and a browser's cookie."""

    def __init__(self, port: int, token: str, cookie: str) -> None:
        self._port = port
        self._token = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._cookie = {"Cookie": cookie}
        self._local = threading.local()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Send a request to the API, and return the answer's body."""
        text = None if body is None else json.dumps(body)
        return self._send(method, f"/api/v1{path}", text, {**self._token, **headers})

    def search(self, words: str) -> None:
        """Search the audit on its page, over all days."""
        self._send("GET", f"/admin/audit?days=&q={quote(words)}", None, self._cookie)

    def _send(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> bytes:
        line = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = http.client.HTTPConnection("127.0.0.1", self._port, 60)
        line.request(method, path, body, headers)
        answer = line.getresponse()
        text: bytes = answer.read()
        assert answer.status in (200, 201), (path, answer.status, text[:200])
        return text


def make_requests(client: Client) -> Iterator[tuple[str, Send]]:
    """Yield requests without end, each with its kind."""
    chance = random.Random(1)
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    reads, searches = chain.from_iterable(repeat(READS)), chain.from_iterable(repeat(SEARCHES))
    while True:
        chance.shuffle(kinds)
        for kind in kinds:
            n = chance.randrange(1, USERS)
            match kind:
                case "read":
                    path = next(reads).format(n=n, g=n % 200)
                    yield kind, partial(client.ask, "GET", path)
                case "change":
                    grant = make_grant(f"user:u{n}", f"new{next(_ADDED)}")
                    yield kind, partial(client.ask, "POST", "/grants", grant)
                case "search":
                    yield kind, partial(client.search, next(searches))
                case "who may enter":
                    app = f"app{n}" if n % 5 else "web1"  # that one is open to all 10,000
                    yield kind, partial(client.ask, "GET", f"/access/who?app={app}")
                case _:
                    path = f"/access/explain?user=u{n}&app=app{n}"
                    yield kind, partial(client.ask, "GET", path)


def load(client: Client, seconds: float) -> Mapping[str, list[float]]:
    """Send requests at `RATE` for `seconds`. Return the milliseconds of each, by kind."""
    took: dict[str, list[float]] = defaultdict(list)

    def run(kind: str, send: Send, due: float) -> None:
        send()
        took[kind].append((time.monotonic() - due) * 1e3)

    began, requests = time.monotonic(), make_requests(client)
    with ThreadPoolExecutor(64) as pool:
        sent = []
        for number in range(int(seconds * RATE)):
            due = began + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(pool.submit(run, *next(requests), due))
        for future in sent:
            future.result()
    return took


def type_keys(port: int, terminal: str, seconds: float) -> list[float]:
    """Type into a terminal that echoes, for `seconds`. Return the milliseconds until each echo."""
    client = WebClient(port, terminal, ECHO).open()
    until_shown(client, b"!")
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        client.type(b"k")
        while not client.take():
            pass
        took.append((time.perf_counter() - began) * 1e3)
        time.sleep(KEY_EVERY_S)
    client.close()
    return took


def prepare(gateway: Gateway, events: int) -> str:
    """Fill the store, and return an administrator's token."""
    token = fill_policy(gateway)
    with gateway.service() as service:
        add_user(service, NAME, password=BENCH_PASSWORD)
        fill(service.database, gateway.data_dir, events, "u")
    gateway.command("grant", "add", f"user:{NAME}", "app01")
    return token


def measure(typist: Executor, gateway: Gateway, token: str, share: float) -> list[str]:
    """Start the gateway, and return the lines of the table. `share` shortens the times."""
    port = gateway.start().port("web")
    browser = PlainBrowser(port)
    assert browser.sign_in("ada", PASSWORD).status == 303
    client, lines = Client(port, token, browser.cookie), [*HEAD]
    load(client, 5 * share)  # warms up
    alone = typist.submit(type_keys, port, "alone", KEYS_S * share).result()
    typing = typist.submit(type_keys, port, "beside", LOAD_S * share)
    took = load(client, LOAD_S * share)
    lines += [row(kind, took[kind], "ms", f"p95 {aim} ms") for kind, aim in AIMS_MS.items()]
    beside = typing.result()
    more = percentile(beside, 99) - percentile(alone, 99)
    lines.append(row("a key's echo, alone", alone, "ms", ""))
    bound = f"p99 +{KEY_AIM_MS} ms; was {more:+.2f}"
    return [*lines, row("a key's echo, beside", beside, "ms", bound)]


def main() -> None:
    """Fill a store, start its gateway, and print the table."""
    given = options(__doc__, "a tenth of it, and a hundredth of the events")
    share, events = (0.1, EVENTS // 100) if given.quick else (1.0, EVENTS)
    with (
        ProcessPoolExecutor(1) as typist,
        tempfile.TemporaryDirectory() as name,
        Gateway(Path(name), SETTINGS) as gateway,
    ):
        typist.submit(os.getpid).result()  # before this process has threads
        token = prepare(gateway, events)
        busy = os.getloadavg()[0]
        lines = measure(typist, gateway, token, share)
    hand_out(lines, busy, given.page, "api_load")


if __name__ == "__main__":
    main()
