"""How long logins wait at a hand-over to another program, and what an old worker costs.

    .venv/bin/python bench/upgrade.py [--quick] [--page docs/performance-upgrade.md]

A gateway of two workers is upgraded again and again to the same program, while eight clients log in by
CONNECT, one login after the other. Sessions keep the old workers. A login's time is from its connect(2) to
the answer. Around a hand-over it is the longest login that was in progress between the start of the command
and one second after its end. Private memory is `Private_Clean` and `Private_Dirty` of smaps_rollup (proc(5)).
It prints a table in Markdown; --page writes it between the marks of a page.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fixtures.gateway import EchoServer, Gateway, static
from tests.listeners.wire import bearer, dialled, head, read_answer

from markdown import HEAD, hand_out, options, row
from measure import PROC
from stagedoor.model.units import KIB, MIB
from stagedoor.serve.supervisor.gateway_file import read_notes

WORKERS = 2
CLIENTS = 8
UPGRADES = (3, 20)
AROUND_S = 1.0


class Logins:
    """Clients that log in again and again; `times` are the start and the length of each login, in seconds."""

    def __init__(self, port: int, token: str) -> None:
        self.times: list[tuple[float, float]] = []
        self._request = head("echo-ssh:22", bearer(token))
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._log_in, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> "Logins":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _log_in(self, number: int) -> None:
        source = f"127.0.1.{number + 1}"  # the ports of one address would all be in TIME_WAIT after a minute
        while not self._stopping.is_set():
            began = time.monotonic()
            with dialled(self._port, source) as client:
                client.send(self._request)
                answer = read_answer(client)
            assert answer.status == 200, answer
            self.times.append((began, time.monotonic() - began))
            time.sleep(0.02)

    def longest_s(self, start: float, end: float) -> float:
        """Return the longest login that was in progress between two times."""
        return max(took for began, took in self.times if began <= end and began + took >= start)


def private_mib(pid: int) -> float:
    """Return the memory that a process shares with no other, in MiB."""
    text = (PROC / str(pid) / "smaps_rollup").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("Private_")]
    return sum(int(words[1]) for words in lines if words[0] != "Private_Hugetlb:") * KIB / MIB


def workers_of(pid: int) -> list[int]:
    """Return the workers of a supervisor."""
    children = (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [
        int(child)
        for child in children
        if b"stagedoor.serve.worker" in (PROC / child / "cmdline").read_bytes()
    ]


@contextlib.contextmanager
def session(gateway: Gateway, token: str) -> Iterator[None]:
    """Keep a session open."""
    with dialled(gateway.port()) as client:
        client.send(head("echo-ssh:22", bearer(token)))
        assert read_answer(client).status == 200
        yield


def measure(upgrades: int) -> list[str]:
    """Return the rows of the table."""
    echo = EchoServer()
    stalls, usual, ready, workers, supervisors = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as sessions:
        gateway = Gateway(Path(folder), static("echo", echo.port), workers=WORKERS)
        gateway.add_user("dev", "echo")
        with gateway:
            gateway.start()
            token = gateway.token()
            with Logins(gateway.port(), token) as logins:
                time.sleep(2)
                for _ in range(upgrades):
                    for _ in range(4 * WORKERS):  # so that each worker has one, as a rule
                        sessions.enter_context(session(gateway, token))
                    calm = time.monotonic()
                    time.sleep(3)
                    usual.append(1e3 * logins.longest_s(calm, time.monotonic()))
                    began = time.monotonic()
                    done = gateway.command("upgrade", "--json")
                    time.sleep(AROUND_S)
                    ready.append(json.loads(done.stdout)["took_s"])
                    stalls.append(1e3 * logins.longest_s(began, time.monotonic()))
            for note in read_notes(gateway.data_dir).values():
                if note.retired:
                    supervisors.append(private_mib(note.pid))
                    workers += [private_mib(pid) for pid in workers_of(note.pid)]
            sessions.close()
    echo.close()
    return [
        *HEAD,
        row("longest login in 3 s without a hand-over", usual, "ms", ""),
        row("longest login around a hand-over", stalls, "ms", "250"),
        row("`stagedoor upgrade`", ready, "s", ""),
        row("private memory of an old worker", workers, "MiB", "25"),
        row("private memory of an old supervisor", supervisors, "MiB", ""),
    ]


def main() -> None:
    """Run the benchmark."""
    given = options(__doc__, "3 upgrades")
    busy = os.getloadavg()[0]
    hand_out(measure(UPGRADES[not given.quick]), busy, given.page, "upgrade")


if __name__ == "__main__":
    main()
