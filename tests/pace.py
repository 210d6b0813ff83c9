"""How slow this machine is: measured once in a run, in its first second, for all its processes.

Limits of time grow by it (`allow`), pytest's own as well (`tests.conftest`), and the workers become fewer
(`tests.plan`). It is 1 on the machine of the minutes in docs/contributing/tests.md, and 2 on one that is half
as fast: by its processor, by a cgroup's quota, or because of other work beside the tests.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

VARIABLE = "STAGEDOOR_TESTS_PACE"
"""Holds the factor; set it to a number to have that one."""
QUIET_S = 0.22
"""What `_work` takes where the factor is 1."""
MAX_FACTOR = 6.0
"""A slower machine is given no more time than that: a test that hangs ends in 12 minutes."""
MIN_RATIO = 1.3
"""A smaller factor is chance, and counts as 1."""
_SUMS, _FORKS, _TRIPS = 3_000_000, 40, 4_000


def factor() -> float:
    """Return how many times as long as on the reference machine things take here.

    The first call of a run measures it, and its processes inherit the result.
    """
    if VARIABLE not in os.environ:
        # In a process of its own, whose forks cost the same whatever this one has loaded.
        command = [sys.executable, "-S", __file__]
        os.environ[VARIABLE] = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
    return float(os.environ[VARIABLE])


def allow(seconds: float) -> float:
    """Return the limit, for this machine, of what may take `seconds` on the reference machine."""
    return seconds * factor()


def pytest_collection_modifyitems(config: "pytest.Config", items: "list[pytest.Item]") -> None:
    """Let a slow machine have more time for each test, unless the command line has a limit of its own."""
    import pytest  # script/test measures with a Python that has none

    if factor() == 1 or config.getoption("timeout", None) is not None:
        return
    usual_s = float(config.getini("timeout"))
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = marker.args[0] if marker is not None else usual_s
        item.add_marker(pytest.mark.timeout(allow(seconds)), append=False)


def fewer(workers: int) -> int:
    """Return how many workers this machine keeps as busy as the reference machine keeps `workers`."""
    return max(1, round(workers / factor()))


def rounded(ratio: float) -> float:
    """Return the factor for a measured ratio."""
    return 1.0 if ratio < MIN_RATIO else round(min(ratio, MAX_FACTOR), 1)


def slowest() -> float:
    """Return how long the work takes, in seconds, when each core does it at the same time.

    One process alone would not see a quota of fewer cores than there are (cgroups(7)).
    """
    began = time.monotonic()
    children = [_fork(_work) for _ in range(os.cpu_count() or 1)]
    for child in children:
        os.waitpid(child, 0)
    return time.monotonic() - began


def _work() -> None:
    """Do what tests do: compute, start processes, and send through sockets."""
    sum(number & 7 for number in range(_SUMS))
    for _ in range(_FORKS):
        os.waitpid(_fork(lambda: None), 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with client, other:
            for _ in range(_TRIPS):
                client.send(b"x")
                other.send(other.recv(1))
                client.recv(1)


def _fork(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return child


if __name__ == "__main__":
    # The least of three: what else runs for a moment makes no machine slow.
    print(f"{rounded(min(slowest() for _ in range(3)) / QUIET_S):g}")
