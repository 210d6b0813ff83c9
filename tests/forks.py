"""`stagedoor` processes without the imports: each is made of a template that has them (`tests.template`).

`subprocess` is used as ever, and its process has an id, pipes and signals of its own. What the template
cannot give, as other limits or locales than it has, is still started by exec(2). With
STAGEDOOR_TESTS_EXEC=1 all is.
"""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.template import MAX_REQUEST, ROOM, SYS_CLONE, Job, job_of, real_fork_exec

ROOT = Path(__file__).resolve().parent.parent
READY_S = 120.0
_STARTUP = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_", "OPENSSL_")
"""Variables that a process looks at when it starts."""
_OWNED = ("Umask:", "SigBlk:", "SigIgn:", "Uid:", "Gid:")


class Template:
    """The process, and how it is asked."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._turn = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._surroundings = surroundings(dict(os.environ))
        with theirs:
            command = [sys.executable, "-m", "tests.template", str(theirs.fileno()), "-" * ROOM]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self._socket = ours
        ours.settimeout(READY_S)
        self._works = ours.recv(16) == b"ready"

    def make(self, job: Job, fds: list[int]) -> int | None:
        """The process id; None: only exec will do."""
        request = job.encoded()
        here = surroundings(dict(job.env))
        same = os.getpid() == self._owner and here == self._surroundings
        if not self._works or not same or len(request) > MAX_REQUEST:
            return None
        with self._turn:
            try:
                socket.send_fds(self._socket, [request], fds)
                return int(self._socket.recv(16))
            except (OSError, ValueError):  # a closed fd is to be inherited; or it has gone
                return None


def surroundings(env: dict[str, str]) -> object:
    """What a process has from its parent, or looks at once."""
    status = Path("/proc/thread-self/status").read_text().splitlines()
    variables = {name: value for name, value in env.items() if name.startswith(_STARTUP)}
    limits = Path("/proc/self/limits").read_text()
    return variables, limits, [line for line in status if line.startswith(_OWNED)]


_lock = threading.Lock()
_template: Template | None = None


def fork_exec(*arguments: object) -> int:
    global _template
    found = job_of(arguments)
    if found is not None:
        with _lock:
            if _template is None:
                _template = Template()
        pid = _template.make(*found)
        if pid is not None:
            return pid
    return real_fork_exec(*arguments)  # type: ignore[no-any-return]


def install() -> None:
    """From now on."""
    if SYS_CLONE is not None and not os.environ.get("STAGEDOOR_TESTS_EXEC"):
        subprocess._fork_exec = fork_exec  # type: ignore[attr-defined]
