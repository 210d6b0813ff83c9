"""Sessions of a developer in front of a release, each of which says lines and hears each of them once."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Self

from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.chart.release import Release
from tests.fixtures.terminal import WebTerminal, basic, ticket
from tests.upgrade.sessions import LOOP, Session, by_attach, by_ssh
from tests.waiting import BOUND_S, wait_until
from tests.web.relay import CuttingRelay

PAUSE_S = 2.0
"""Between two rounds of lines of one thread's sessions: short beside a roll-out. A line costs a session up to
a millisecond of the processor."""
MAX_CONCURRENT = 8
SILENT_S = 10.0
"""A line that waits for its answer for so long is dead, as for the page."""


class WebShell:
    """A terminal of the WebShell at `port`, whose client comes back as the page does."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._typed = b""
        self._output = b""
        self._comebacks = 0
        self._terminal = WebTerminal(port)
        self._name = f"kept-{os.urandom(4).hex()}"

    def open(self) -> Self:
        """Start the terminal."""
        self._attach(WebTerminal(self._port))
        return self

    def leave(self) -> None:
        self._terminal.close()

    def check(self, number: int) -> None:
        wanted, end = f"got-{number}\r\n".encode(), time.monotonic() + BOUND_S
        self._typed += f"{number}\n".encode()
        heard_at, heard = time.monotonic(), -1
        while wanted not in self._output + self._terminal.output:
            terminal = self._terminal
            assert time.monotonic() < end, (number, self._comebacks, terminal)
            with contextlib.suppress(ConnectionClosed, OSError):
                if rest := self._typed[terminal.typed :]:
                    terminal.type(rest)
                terminal.read(1)
            if heard != terminal.seen + terminal.received:
                heard_at, heard = time.monotonic(), terminal.seen + terminal.received
            if terminal.ended or time.monotonic() - heard_at > SILENT_S:
                self._come_back()
                heard_at = time.monotonic()
        assert (self._output + self._terminal.output).count(wanted) == 1

    def _come_back(self) -> None:
        lost, self._output = self._terminal, self._output + self._terminal.output
        assert lost.welcome is not None
        lost.close()
        self._comebacks += 1
        how = {"attachment": lost.welcome.attachment, "seen": lost.seen}

        def is_back() -> bool:
            with contextlib.suppress(OSError, WebSocketException, AssertionError):
                self._attach(WebTerminal(self._port), **how)
            return self._terminal is not lost

        wait_until(is_back, what="the terminal is shown again", costly=True)
        assert not self._terminal.gaps

    def _attach(self, terminal: WebTerminal, **how: object) -> None:
        admission = ticket(self._port, "app01", basic("dev", self._token))
        terminal.hello(admission, f"sh -c '{LOOP}'", terminal=self._name, **how)
        assert terminal.welcome is not None, terminal.notices
        self._terminal = terminal


@contextlib.contextmanager
def sessions_of(release: Release, tunnels: int, terminals: int) -> Iterator[list[Session]]:
    """Yield sessions in `app01`: `tunnels` by ssh, `terminals` by `attach`, and as many in the WebShell."""
    secret = release.folder / "token"
    secret.touch(mode=0o600)
    secret.write_text(release.token)
    tunnel = (
        f"{sys.executable} -m stagedoor tunnel --user dev --token-file {secret} "
        f"--gateway http://{release.cluster.node_address}:{release.port('tunnel')} %h %p"
    )
    words = ("-o", "ProxyJump none", "-o", f"ProxyCommand {tunnel}", "app01.ssh")
    address = release.api.named("Service", release.own, "stagedoor-web")["spec"]["clusterIP"]
    with CuttingRelay(80, host=str(address)) as relay, contextlib.ExitStack() as stack:
        ways: Sequence[Callable[[], contextlib.AbstractContextManager[Session]]] = (
            *[partial(by_ssh, release.folder / "config", *words)] * tunnels,
            *[partial(by_attach, release.folder, relay.port)] * terminals,
            *[partial(_web_shell, relay.port, release.token)] * terminals,
        )

        def enter(way: Callable[[], contextlib.AbstractContextManager[Session]]) -> Session:
            session = way()
            entered = session.__enter__()
            stack.push(session.__exit__)
            entered.check(0)
            return entered

        with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
            sessions = list(pool.map(enter, ways))
        yield sessions


@contextlib.contextmanager
def _web_shell(port: int, token: str) -> Iterator[Session]:
    shell = WebShell(port, token)
    try:
        yield shell.open()
    finally:
        shell.leave()


class Lines:
    """Threads in which the sessions say lines, one after the other, for as long as the block lasts."""

    def __init__(self, sessions: Sequence[Session], threads: int) -> None:
        self.faults: list[str] = []
        self.rounds = [0] * threads
        """The rounds of lines that each thread has finished."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._say, args=(number, sessions[number::threads]))
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Wait until each session has said a line and heard it from now on."""
        before = list(self.rounds)
        wait_until(
            lambda: (
                self.faults
                or all(now > then + 1 for now, then in zip(self.rounds, before, strict=True))
            ),
            4 * BOUND_S,
            what="each session hears its line",
        )
        assert self.faults == [], self.faults

    def _say(self, thread: int, sessions: Sequence[Session]) -> None:
        for number in count(1):
            for session in sessions:
                try:
                    session.check(number)
                except Exception as error:
                    self.faults.append(f"{type(session).__name__}: {error!r:.2000}")
                    return
            self.rounds[thread] = number
            if self._stop.wait(PAUSE_S):
                return


def kill_pod(uid: str) -> None:
    """Kill all processes of a pod at once (SIGKILL), as the loss of its node does."""
    names = (uid, uid.replace("-", "_"))
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and any(
                name in (entry / "cgroup").read_text() for name in names
            ):
                os.kill(int(entry.name), 9)
