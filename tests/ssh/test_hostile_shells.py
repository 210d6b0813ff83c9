"""Every way to misbehave that a shell has, against everything of the gateway's that talks to a shell.

Nothing here may cost memory without a bound, last without one, or end without words. It takes minutes,
because a silent shell is waited for; all clients come at once, so that it takes no longer.
"""

import base64
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from stagedoor.wire.terminal.codec import decode
from stagedoor.wire.terminal.frames import Hello, Mode, Notice, Size
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.fixtures.terminal import WebTerminal, basic, post, ticket
from tests.pace import allow
from tests.ssh.hostile import FLOODS, LATE, MANNERS, RAW, SESSIONS, SFTP, HostileShells
from tests.web.mover import Mover

pytestmark = pytest.mark.timeout(600)

MIB = 1024 * 1024
PEAK_BYTES = 160 * MIB
"""The most that a group of manners, five at a time and all at once, may cost a worker beyond what it has."""
END_S = allow(75.0)
"""Twenty seconds are the longest that anything is waited for; the rest is a busy machine's."""
READ_ENOUGH = 8 * MIB
UPLOAD = 256 * MIB
PATIENCE_S = 5.0
"""So long a session of a direct login is looked at, which may go on as long as its developer likes."""
WEB = '[web]\naddresses = ["127.0.0.1:0"]\n'
PRINTING = ("output", "errors", "crumbs", "beyond-the-window", "huge-frames", "empty-frames")
GROUPS = {
    "before, late and in sessions": (*RAW, *LATE, *(m for m in SESSIONS if m not in PRINTING)),
    "floods and printing": (*FLOODS, *PRINTING),
    "sftp": SFTP,
}
"""The manners that are tried at once: most of the time each only waits."""


@dataclass
class Found:
    """How it ended for one who came: what was said, and after how long. `by_us`: we had seen enough."""

    said: str
    took_s: float
    by_us: bool = False


def as_app(manner: str) -> str:
    return "app-" + manner.replace("-", "")


class Gateway:
    """A whole gateway before all the hostile shells."""

    def __init__(self, laptop: Laptop) -> None:
        self.laptop = laptop
        self.web = laptop.gateway.port("web")
        self.tunnel = laptop.gateway.port("tunnel")
        self.mover = Mover(self.web)
        self.config = laptop.config("LogLevel ERROR", "ServerAliveInterval 0")
        (self.pid,) = laptop.gateway.worker_pids()
        # What fails here must not take the machine along.
        resource.prlimit(self.pid, resource.RLIMIT_DATA, (2048 * MIB, 2048 * MIB))

    def memory(self, what: str) -> int:
        """VmRSS or VmHWM, bytes."""
        match = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match
        return int(match[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # proc(5)

    # Five who come.

    def terminal(self, app: str) -> Found:
        """Open a terminal by the WebShell."""
        began = time.monotonic()
        given = ticket(self.web, app)  # first, since HELLO must follow the handshake within seconds
        client = WebTerminal(self.web).open()
        assert client.socket is not None
        client.send(
            Hello(
                given,
                "main",
                "",
                0,
                Size(80, 24),
                Mode.MIRROR,
                "xterm",
                "C.UTF-8",
                "",
            )
        )
        notices, received = [], 0
        try:
            while received < READ_ENOUGH and time.monotonic() - began < END_S:
                data = client.socket.recv(timeout=END_S)
                received += len(data)
                frame = decode(data) if isinstance(data, bytes) else None
                if isinstance(frame, Notice):
                    notices.append(frame.text)
        except ConnectionClosed:
            return Found("; ".join(notices), time.monotonic() - began)
        except TimeoutError:
            pass
        finally:
            with suppress(OSError):  # the gateway was first
                client.cut()
        return Found("; ".join(notices), time.monotonic() - began, by_us=True)

    def command(self, app: str) -> Found:
        """Run a command of the holder's, as the list of terminals is one."""
        began = time.monotonic()
        status, answer, _ = post(
            self.web, "/api/terminals", json.dumps({"target": app}).encode(), basic()
        )
        assert status >= 400, answer
        return Found(str(answer["message"]), time.monotonic() - began)

    def files(self, app: str) -> Found:
        """A look at the home folder, and a file."""
        began = time.monotonic()
        mover = self.mover
        line = mover.connect()
        line.timeout = END_S
        said = []
        try:
            for method in ("POST", "GET"):
                line.request(
                    method,
                    f"/api/files/{app}?path=file",
                    headers={"Host": mover.host, **mover.headers(method)},
                )
                answer = line.getresponse()
                body = b""
                with suppress(
                    OSError, ValueError
                ):  # cut off: the half of a file cannot be taken back
                    while len(body) < READ_ENOUGH and (more := answer.read1(65536)):
                        body += more
                if answer.status >= 400:
                    said.append(str(json.loads(body)["message"]))
                    break
                line.close()
        finally:
            line.close()
        return Found("; ".join(said), time.monotonic() - began)

    def direct(self, app: str) -> Found:
        """Log in directly: what the shell prints is taken, and much is sent."""
        began = time.monotonic()
        quiet = any(
            (manner, "direct") in QUIET - LOUD for manner in MANNERS if as_app(manner) == app
        )
        seconds = PATIENCE_S if quiet else END_S - 5
        script = (
            f"head -c {UPLOAD if quiet else 0} /dev/zero "
            f"| timeout --foreground --signal=KILL {seconds:g} ssh -F {self.config} {app}@gw x 2>&1"
        )
        with subprocess.Popen(
            ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
        ) as running:
            assert running.stdout
            printed = running.stdout.read(READ_ENOUGH)
            # ssh would go on even if its output is no longer read.
            os.killpg(running.pid, signal.SIGKILL)
        # ssh writes what is an error at once, whatever output still waits to be written.
        messages = re.findall(rb"stagedoor: ([^\r\n]{1,900})[\r\n]", printed)
        said = [line.decode(errors="replace").strip() for line in messages]
        enough = len(printed) >= READ_ENOUGH
        return Found("; ".join(said), time.monotonic() - began, by_us=enough)

    def relay(self, app: str) -> Found:
        """CONNECT: the bytes go through, and nothing is read of them."""
        began, received = time.monotonic(), 0
        secret = base64.b64encode(f"dev:{PASSWORD}".encode()).decode()
        with socket.create_connection(("127.0.0.1", self.tunnel), allow(10)) as sock:
            sock.sendall(
                f"CONNECT {app}.ssh:22 HTTP/1.1\r\nProxy-Authorization: Basic {secret}\r\n\r\n".encode()
            )
            sock.settimeout(3)
            with suppress(TimeoutError):
                while received < READ_ENOUGH and (data := sock.recv(65536)):
                    received += len(data)
        return Found("", time.monotonic() - began, by_us=True)


COMERS: dict[str, Callable[[Gateway, str], Found]] = {
    "terminal": Gateway.terminal,
    "command": Gateway.command,
    "files": Gateway.files,
    "direct": Gateway.direct,
    "relay": Gateway.relay,
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with HostileShells() as shells:
        entry = f'login_name = "dev"\nhost_keys = ["{shells.host_key}"]\nholder = "hold"\n'
        entries = [static(as_app(manner), shells.ports[manner]) + entry for manner in MANNERS]
        settings = SSH_TABLE + WEB + "".join(entries)
        apps = tuple(as_app(manner) for manner in MANNERS)
        with open_laptop(tmp_path_factory.mktemp("hostile"), settings, apps) as laptop:
            yield Gateway(laptop)


Results = dict[tuple[str, str], Found | BaseException]


@pytest.fixture(scope="module", params=GROUPS)
def group(request: pytest.FixtureRequest, gateway: Gateway) -> tuple[str, Results, int]:
    """Send every client to every shell of a group at once; return how each ended, and the worker's peak."""
    name = str(request.param)
    before = gateway.memory("VmRSS")
    gateway.forget_peak()
    pairs = [(manner, comer) for manner in GROUPS[name] for comer in COMERS]
    with ThreadPoolExecutor(len(pairs)) as pool:
        futures: dict[tuple[str, str], Future[Found]] = {
            pair: pool.submit(COMERS[pair[1]], gateway, as_app(pair[0])) for pair in pairs
        }
        results: Results = {pair: one.exception() or one.result() for pair, one in futures.items()}
    return name, results, gateway.memory("VmHWM") - before


def test_memory_stays_bounded(group: tuple[str, Results, int]) -> None:
    name, _, peak = group
    print(f"{name}: {peak / MIB:.0f} MiB")
    assert peak < PEAK_BYTES, f"{name}: {peak / MIB:.0f} MiB"


def test_every_client_is_out_in_time_and_knows_why(group: tuple[str, Results, int]) -> None:
    _, results, _ = group
    print(*(f"{pair}: {found}" for pair, found in results.items()), sep="\n")
    wrong = {pair: found for pair, found in results.items() if not is_clear(pair, found)}
    assert not wrong, "\n".join(f"{pair}: {found}" for pair, found in wrong.items())


def is_clear(pair: tuple[str, str], found: Found | BaseException) -> bool:
    if not isinstance(found, Found) or found.took_s > END_S:
        return False
    if pair[1] == "relay" or found.by_us or pair in QUIET - LOUD:
        return True
    return bool(found.said) and found.said.isprintable() and len(found.said) < 1000


QUIET = {
    # What was asked for is what came, and ends when its developer has seen enough.
    *((manner, "direct") for manner in (*SESSIONS, *SFTP, "takes-nothing")),
    # Two new key exchanges a second are what it may have.
    ("rekeys", "direct"),
    # The half of a file cannot be taken back: the line is cut.
    *((manner, "files") for manner in SFTP if manner != "sftp-long-name"),
}
LOUD = {
    ("beyond-the-window", "direct"),
    ("channel-requests", "direct"),
    ("window-adjusts", "direct"),
}
"""And of those, what no sshd does."""


def test_a_command_that_prints_without_end_costs_next_to_nothing(gateway: Gateway) -> None:
    """A worker read for twenty seconds, as fast as it could, and then took the first 64 KiB."""
    gateway.command(as_app("no-exit-status"))  # what is loaded once is loaded
    before = gateway.memory("VmRSS")
    gateway.forget_peak()
    for manner in ("output", "errors"):
        ended = gateway.command(as_app(manner))
        assert "printed more than 64 KiB" in ended.said
        assert ended.took_s < 15
    assert gateway.memory("VmHWM") - before < 24 * MIB


def test_another_client_works_meanwhile(gateway: Gateway) -> None:
    """A worker that computes for a shell for minutes, or waits for one, serves no other."""
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(gateway.command, as_app("gex-huge-group"))
        began = time.monotonic()
        assert gateway.mover.ask("GET", "/sign-in").status == 200
        assert time.monotonic() - began < 10
        assert slow.result().said
