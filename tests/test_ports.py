"""Ports that a test has to name before somebody listens on them."""

import random
import subprocess
import sys
from pathlib import Path

from tests.ports import FIRST_NODE_PORT, free_port

ROOT = Path(__file__).resolve().parent.parent
SAME_CHANCE = "import random; random.seed(7); from tests.ports import free_port; print(free_port())"


def test_two_processes_never_get_the_same() -> None:
    state = random.getstate()
    try:
        random.seed(7)
        ours = [free_port() for _ in range(5)]
    finally:
        random.setstate(state)
    command = [sys.executable, "-c", SAME_CHANCE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) not in ours
    assert all(port < FIRST_NODE_PORT for port in ours)
