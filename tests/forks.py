"""`stagedoor` processes without the imports: each is made of a template that has them (`tests.template`).

`subprocess` is used as ever, and its process has an id, pipes and signals of its own. What the template
cannot give, as other limits or locales than it has, is still started by exec(2). With
STAGEDOOR_TESTS_EXEC=1 all is.

Another program of ours (PYTHONPATH) is started by exec(2) as well, unless its folder is in `programs`.
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.template import ANSWER_S, ROOM, SYS_CLONE, Job, Maker, job_of, real_fork_exec

ROOT = Path(__file__).resolve().parent.parent
_STARTUP = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_", "OPENSSL_")
"""Variables that a process looks at when it starts."""
_OWNED = ("Umask:", "SigBlk:", "SigIgn:", "Uid:", "Gid:")


class Template:
    """The process, and how it is asked."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._owner = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._surroundings = surroundings(env)
        with theirs:
            self.home = tempfile.mkdtemp(prefix="stagedoor-home-")
            atexit.register(shutil.rmtree, self.home, ignore_errors=True)
            number = str(theirs.fileno())
            command = [sys.executable, "-m", "tests.template", number, self.home, "-" * ROOM]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT,
                pass_fds=[theirs.fileno()], env=env,
            )  # fmt: skip
        atexit.register(self._end)
        ours.settimeout(ANSWER_S)
        try:
            self._maker = Maker(ours) if ours.recv(16) == b"ready" else None
        except TimeoutError:
            # Else the warning about a process that still runs would fail whichever test comes next.
            self._end()
            ours.close()
            raise

    def _end(self) -> None:
        """End the process before its owner ends. Otherwise the run may find it a moment later."""
        if os.getpid() == self._owner:
            self._process.kill()
            self._process.wait()

    def make(self, job: Job, fds: list[int]) -> int | None:
        """The process id; None: only exec will do."""
        here = surroundings(dict(job.env))
        same = os.getpid() == self._owner and here == self._surroundings
        return self._maker.make(job, fds) if self._maker is not None and same else None


def surroundings(env: Mapping[str, str]) -> object:
    """What a process has from its parent, or looks at once."""
    status = Path("/proc/thread-self/status").read_text().splitlines()
    variables = {name: value for name, value in env.items() if name.startswith(_STARTUP)}
    limits = Path("/proc/self/limits").read_text()
    return variables, limits, [line for line in status if line.startswith(_OWNED)]


programs: set[str] = set()
"""Folders of programs that are started often enough for a template of their own."""
_lock = threading.Lock()
_templates: dict[tuple[str, str], Template] = {}


def _template(path: str = "") -> Template:
    """Return the template of the program to which PYTHONPATH leads now, or of this tree's."""
    program = os.path.realpath(path)
    name = (path, program) if program in programs else ("", "")
    with _lock:
        if name not in _templates:
            more = {"PYTHONPATH": path} if name[0] else {}
            _templates[name] = Template({**os.environ, **more})
        return _templates[name]


def home() -> Path:
    """Where a login to a local shell begins: a folder of our own, and after an exec(2) the account's."""
    return Path(_template().home) if _is_installed() else Path.home()


def fork_exec(*arguments: object) -> int:
    found = job_of(arguments)
    if found is not None:
        job = found[0]
        pid = _template(dict(job.env).get("PYTHONPATH", "")).make(*found)
        if pid is not None:
            return pid
    return real_fork_exec(*arguments)  # type: ignore[no-any-return]


@contextmanager
def by_exec() -> Iterator[None]:
    """All processes are started by exec(2) meanwhile."""
    before = subprocess._fork_exec  # type: ignore[attr-defined]
    subprocess._fork_exec = real_fork_exec  # type: ignore[attr-defined]
    try:
        yield
    finally:
        subprocess._fork_exec = before  # type: ignore[attr-defined]


def _is_installed() -> bool:
    return subprocess._fork_exec is fork_exec  # type: ignore[attr-defined]


def install() -> None:
    """From now on."""
    if SYS_CLONE is not None and not os.environ.get("STAGEDOOR_TESTS_EXEC"):
        # Since 3.13 subprocess would start most programs by posix_spawn(3), and ask nobody here.
        subprocess._USE_POSIX_SPAWN = False  # type: ignore[attr-defined]
        subprocess._fork_exec = fork_exec  # type: ignore[attr-defined]
