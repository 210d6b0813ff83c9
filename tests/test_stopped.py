"""`tests.stopped`: whatever dies meanwhile, the others go on."""

import os
import signal
import subprocess
from pathlib import Path

from tests.stopped import stopped
from tests.waiting import wait_until


def state(pid: int) -> str:
    """proc_pid_stat(5): T is stopped, Z has ended and nobody has looked."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_one_that_dies_while_it_stands_still_keeps_nobody_from_going_on() -> None:
    script = "sleep 600 & echo $!; sleep 600 & echo $!; wait; echo over"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        with stopped(parent.pid, lambda: [parent.pid, *children, 2**22 + 1]):
            wait_until(lambda: [state(pid) for pid in (parent.pid, *children)] == ["T"] * 3)
            os.kill(children[0], signal.SIGKILL)
        os.kill(children[1], signal.SIGKILL)
        assert parent.stdout.readline() == "over\n"
