"""Many sessions at once: their memory while idle and after some output, and the reconnect of all of them."""

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from columns import Column, Table
from load.tunnel import LoadError
from load.web_socket import Terminal, TtydClient, WebClient, hear_all
from measure import cpu_s, proportional_kib, resident_kib, settled_kib, tree
from peers import MissingError, ttyd, web_gateway
from peers.process import StartError
from peers.web_gateway import WebGateway
from series import percentile
from stage import Stage
from web_subjects import OURS

MEMORY = Table(
    "web_idle",
    "Memory of a session",
    "program",
    (
        Column("idle", "KiB each", 0, against="ttyd"),
        Column("after some output", "KiB each", 0),
        Column("after all came back", "KiB each", 0),
        Column("in the shell, idle", "KiB each", 0),
        Column("CPU to open one", "ms", 1),
    ),
)
STORM = Table(
    "web_storm",
    "All cut, all back",
    "program",
    (
        Column("the first half is back after", "s", 1),
        Column("all are back after", "s", 1),
        Column("tries each", "", 2),
        Column("CPU of the gateway", "ms each", 1),
        Column("lost", "sessions", 0),
    ),
)
ECHO = "stty raw -echo; printf '!'; exec cat"
SOME = b"a line of a log, as long as one is that nobody reads\r\n" * 40
END = b"<the end>"
PER_TERMINAL = 15
"""How many clients share a terminal: with one holder of 13 MiB for each, mainly holders would be measured.
One user may attach to a terminal 16 times."""
WARM = 20
MAX_CONCURRENT = 16
RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)
"""Pauses between tries, as in the page (web/src/terminal/connection.ts)."""
PATIENCE_S = 120.0
_Any = TypeVar("_Any", WebClient, TtydClient)


def run(stage: Stage, counts: Sequence[int]) -> None:
    """Measure our gateway and ttyd with each number of sessions."""
    for count in counts:
        with stage.tolerating("web_idle", OURS):
            _ours(stage, count)
        with stage.tolerating("web_idle", "ttyd"):
            _ttyd(stage, count)


def _ours(stage: Stage, count: int) -> None:
    stage.report(f"web_idle: {OURS}, {count} sessions")
    with contextlib.ExitStack() as stack:
        # A new gateway each time, so that nothing from an earlier crowd is counted.
        try:
            gateway = web_gateway.start(stage.new_folder("crowd"))
        except (MissingError, StartError) as error:
            stage.note(f"web_idle: {OURS} is left out: {error}")
            return
        stack.callback(gateway.stop)
        names = [f"crowd{at // PER_TERMINAL}" for at in range(count)]
        clients = [WebClient(gateway.web, name, ECHO) for name in names]
        firsts = clients[::PER_TERMINAL]
        memory = _Memory(stage, count, gateway.process.pid, OURS)
        for client in (
            WebClient(gateway.web, f"crowd{at % len(firsts)}", ECHO) for at in range(WARM)
        ):
            client.open()
            client.leave()
        in_shell = _shell_kib(gateway)
        memory.begin()
        _open(stack, clients)
        memory.opened()
        memory.take("idle")
        each = (_shell_kib(gateway) - in_shell) / count
        stage.result.take("web_idle", memory.case, OURS, "in the shell, idle", "KiB each", each)
        _type_all(clients, firsts, END + b"1")
        memory.take("after some output")
        _storm(stage, gateway, clients, firsts, memory.case)
        memory.take("after all came back")


def _ttyd(stage: Stage, count: int) -> None:
    stage.report(f"web_idle: ttyd, {count} sessions")
    with contextlib.ExitStack() as stack:
        try:
            peer = ttyd.start(stage.new_folder("ttyd"), "/bin/sh", "-c", ECHO)
        except (MissingError, StartError) as error:
            stage.note(f"web_idle: ttyd is left out: {error}")
            return
        stack.callback(peer.process.stop)
        clients = [TtydClient(peer.port) for _ in range(count)]
        memory = _Memory(stage, count, peer.process.pid, "ttyd")
        for client in (TtydClient(peer.port) for _ in range(WARM)):
            client.open()
            client.close()
        memory.begin()
        _open(stack, clients)
        memory.opened()
        memory.take("idle")
        _type_all(clients, clients, END + b"1")
        memory.take("after some output")


class _Memory:
    """The memory of one program, above that at `begin`."""

    def __init__(self, stage: Stage, count: int, pid: int, subject: str) -> None:
        self.case = f"{count:,} sessions"
        self._stage = stage
        self._count = count
        self._pid = pid
        self._subject = subject
        self._before = self._used = 0.0

    @property
    def _pids(self) -> list[int]:
        # Without ttyd's children, which are the programs in its terminals.
        return tree(self._pid) if self._subject == OURS else [self._pid]

    def begin(self) -> None:
        """Record memory and CPU time before the first session."""
        settled_kib(self._pid)
        self._before = resident_kib(self._pids)
        self._used = cpu_s(self._pids)

    def opened(self) -> None:
        """Take the CPU time of the sessions that were opened since `begin`."""
        each = (cpu_s(self._pids) - self._used) / self._count * 1e3
        self._stage.result.take("web_idle", self.case, self._subject, "CPU to open one", "ms", each)

    def take(self, measure: str) -> None:
        """Take the memory of each session now."""
        settled_kib(self._pid)
        each = (resident_kib(self._pids) - self._before) / self._count
        self._stage.result.take("web_idle", self.case, self._subject, measure, "KiB each", each)


def _shell_kib(gateway: WebGateway) -> float:
    return proportional_kib(tree(gateway.shell_pid))


def _open(stack: contextlib.ExitStack, clients: Sequence[_Any]) -> None:
    with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
        for client in pool.map(lambda client: client.open(), clients):
            stack.callback(client.close)


def _type_all(clients: Sequence[_Any], typists: Sequence[_Any], end: bytes) -> None:
    """Type some output for all clients, and wait until all have it. Raises LoadError."""
    for client in typists:
        client.type(SOME + end)
    _all_see(clients, end)


def _all_see(clients: Sequence[_Any], end: bytes) -> None:
    def seen(terminal: Terminal) -> bool:
        return end in terminal.shown

    blind = hear_all(list(clients), seen, PATIENCE_S)
    if blind:
        raise LoadError(f"{blind} of {len(clients)} did not see all that their terminals showed")


def _storm(
    stage: Stage, gateway: WebGateway, clients: list[WebClient], firsts: list[WebClient], case: str
) -> None:
    """Cut all connections at once, produce output, and reconnect all as the page does. Raises LoadError."""
    stage.report(f"web_storm: {case}")
    for client in firsts:
        client.type(SOME)  # its output arrives while no client is attached
    used = cpu_s(tree(gateway.process.pid))
    for client in clients:
        client.close()
    begin = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        returns = list(pool.map(lambda client: _reconnect(client, begin), clients))
    cost = (cpu_s(tree(gateway.process.pid)) - used) / len(clients) * 1e3
    back = [(client, at, tries) for client, (at, tries) in zip(clients, returns, strict=True) if at]
    lost = len(clients) - len(back)
    stage.result.take("web_storm", case, OURS, "lost", "sessions", lost)
    if not back:
        raise LoadError("nobody came back")
    times = [at for _, at, _ in back]
    for measure, unit, value in (
        ("the first half is back after", "s", percentile(times, 50)),
        ("all are back after", "s", max(times)),
        ("tries each", "", sum(tries for _, _, tries in back) / len(back)),
        ("CPU of the gateway", "ms each", cost),
    ):
        stage.result.take("web_storm", case, OURS, measure, unit, value)
    if lost:
        raise LoadError(f"{lost} of {len(clients)} did not come back")
    _type_all(clients, firsts, END + b"2")


def _reconnect(client: WebClient, begin: float) -> tuple[float, int]:
    """Reconnect a client; return the seconds since `begin` and the number of tries, or (0, 0)."""
    for tries in range(1, 12):
        time.sleep(RETRY_S[min(tries - 1, len(RETRY_S) - 1)])  # as the page waits
        name, seen = client.attachment, client.seen
        try:
            client.open()
        except LoadError:
            client.close()
            client.attachment, client.seen = name, seen
            continue
        return time.perf_counter() - begin, tries
    return 0.0, 0
