"""A process that has imported the program, of which others are made: `tests.forks` starts it and asks.

What it makes is a child of the process that asked (CLONE_PARENT of clone(2)), and runs a module as
`python -m` does, without a second of imports. It has one thread: so no lock is held in what it makes.
A gateway and each of its workers will have threads and a store open, which SQLite takes over no fork(2):
so each gets a template of its own before.
"""

import asyncio
import atexit
import contextvars
import ctypes
import fcntl
import gc
import json
import os
import platform
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tests import hashing

SYS_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
CLONE_PARENT = 0x8000
MAX_REQUEST = 1 << 17
ROOM = 4096
"""Bytes for the words of a command, which take the place of the template's own in proc_pid_cmdline(5)."""
IDLE = {"_worker", "_do_waitpid"}
"""In these functions of concurrent.futures and asyncio a thread waits, and holds no lock."""
SOON_S = 0.3
"""How long a thread that does something is given to come back to where it waits."""
STARTS = (["-m"], ["-P", "-m"])
PACKAGES = ("stagedoor", "acceptance")
WORKER, SHELL, HOLDER = "stagedoor.serve.worker", "stagedoor.shells.local", "stagedoor.holder"
CONTROLLER, CHECK = "stagedoor.serve.controller", "acceptance.check"
LATE = ("stagedoor.serve.parts.web", "stagedoor.admin.kubernetes")
"""A worker imports these where the settings ask for them."""
APART = "tests.store.apart"
"""The one module of the tests that is started as the program is."""
ANSWER_S = 120.0

real_fork_exec = subprocess._fork_exec  # type: ignore[attr-defined]
real_posix_spawn = os.posix_spawn


@dataclass(frozen=True)
class Job:
    """What is to run. `fds` are the numbers that it has open; the first three are 0, 1 and 2."""

    words: Sequence[str]
    cwd: str
    env: Sequence[Sequence[str]]
    fds: Sequence[int]
    session: bool
    group: int
    umask: int

    @property
    def module(self) -> int:
        """Where among the words the module's name is."""
        return list(self.words).index("-m") + 1

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def job_of(arguments: Sequence[object]) -> tuple[Job, list[int]] | None:
    """Of what `subprocess` gives to its `_fork_exec`, and which fds it is to get; None: only exec will do."""
    args, _, close_fds, kept, cwd, env, stdin, _, _, stdout, _, stderr, _, error = arguments[:14]
    _, session, group, gid, groups, uid, umask, before = arguments[14:22]
    words = [os.fsdecode(word) for word in args]  # type: ignore[attr-defined]
    at = words.index("-m") if "-m" in words[:3] else 0
    ours = words[0] == sys.executable and words[1 : at + 1] in STARTS
    ours = ours and (words[at + 1].partition(".")[0] in PACKAGES or words[at + 1] == APART)
    plain = close_fds and all(one is None for one in (gid, groups, uid, before))
    where = str(Path.cwd()) if cwd is None else os.fsdecode(cwd)  # type: ignore[arg-type]
    if not ours or not plain or _size(words) > ROOM or not os.access(where, os.X_OK):
        return None
    pairs = list(os.environ.items())
    if env is not None:
        pairs = [os.fsdecode(one).partition("=")[::2] for one in env]  # type: ignore[attr-defined]
    if "STAGEDOOR_HANDOVER" in dict(pairs):  # an upgrade: it may be another program
        return None
    passed = [fd for fd in kept if fd != error]  # type: ignore[attr-defined]
    given = [number if fd == -1 else fd for number, fd in enumerate((stdin, stdout, stderr))]
    job = Job(words, where, pairs, (0, 1, 2, *passed), bool(session), group, umask)  # type: ignore[arg-type]
    return job, [*given, *passed]  # type: ignore[list-item]


def _size(words: Sequence[str]) -> int:
    return sum(len(os.fsencode(one)) + 1 for one in words)


_kept: list[object] = []
"""Files whose end would close a number that is another's now."""


def become(job: Job, fds: Sequence[int], ready: Callable[[], object]) -> None:
    """What execve(2) and the start of Python change in a process; `ready` is called once others see it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if job.session:
        os.setsid()
    elif job.group != -1:
        os.setpgid(0, job.group)
    if job.umask != -1:
        os.umask(job.umask)
    os.chdir(job.cwd)
    _show_words(job.words)
    ready()
    _take(job.fds, fds)
    os.environ.clear()
    os.environ.update(job.env)  # type: ignore[arg-type]
    tempfile.tempdir = None  # it keeps what TMPDIR was
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, f"__{name}__")
        made = open(  # noqa: SIM115 - it stays open
            number, "w" if number else "r", encoding=before.encoding, errors=before.errors,
            closefd=False,
        )  # fmt: skip
        made.reconfigure(line_buffering=name == "stderr" or made.isatty())
        _kept.extend((before, getattr(sys, name)))
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    sys.argv, sys.orig_argv = list(job.words[job.module :]), list(job.words)
    if "-P" in job.words[: job.module]:
        del sys.path[0]
    else:
        sys.path[0] = job.cwd


def _take(numbers: Sequence[int], fds: Sequence[int]) -> None:
    """Have these fds at these numbers, and nothing else open."""
    above = max(*numbers, *fds) + 1
    held = [fcntl.fcntl(fd, fcntl.F_DUPFD, above) for fd in fds]
    for number, fd in zip(numbers, held, strict=True):
        os.dup2(fd, number)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in numbers:
            with suppress(OSError):
                os.close(int(entry.name))


def _show_words(words: Sequence[str]) -> None:
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    text = b"".join(os.fsencode(one) + b"\0" for one in words)
    if len(text) <= end - begin:
        ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def run_module(name: str) -> None:
    """As `python -m NAME` does."""
    package, _, last = name.rpartition(".")
    if package and sys.modules.pop(name, None) is not None:
        vars(sys.modules[package]).pop(last, None)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


class Maker:
    """A template, as the one sees it who asks."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(ANSWER_S)
        self._line = line
        self._turn = threading.Lock()

    def make(self, job: Job, fds: Sequence[int]) -> int | None:
        """The process id; None: only exec will do."""
        request = job.encoded()
        if len(request) > MAX_REQUEST:
            return None
        with self._turn:
            try:
                socket.send_fds(self._line, [request], fds)
                return int(self._line.recv(16))
            except (OSError, ValueError):  # a closed fd is to be inherited; or it has gone
                return None


_own: Maker | None = None
"""A gateway's or a worker's own template."""


def make_own() -> None:
    """Of this process, while it has one thread. It ends when this process does."""
    global _own
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            _show_words(["template"])
            null, line = os.open(os.devnull, os.O_RDWR), theirs.fileno()
            _take((0, 1, 2, line), (null, null, null, line))
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    _own = Maker(ours)


def fork_here(*arguments: object) -> int:
    """In what was made of the template: its own processes are made of its own template, or of itself where
    no lock can be held."""
    job = job_of(arguments) if _own is not None or _others_wait() else None
    if job is None:
        return real_fork_exec(*arguments)  # type: ignore[no-any-return]
    if _own is not None:
        made = _own.make(*job)
        return real_fork_exec(*arguments) if made is None else made
    pid = fork_apart()
    if pid == 0:
        _run_and_exit(*job)
    return pid


def spawn_here(
    path: str,
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    file_actions: Sequence[tuple[Any, ...]],
    setsid: bool = False,
    setsigmask: Sequence[int] = (),
    setsigdef: Sequence[int] = (),
) -> int:
    """As os.posix_spawn, in a local shell that was made of a template: so are the holders in it."""
    ours = path == sys.executable and list(words[1:3]) == ["-m", HOLDER]
    if not ours or not setsid or _size(words) > ROOM or not _others_wait():
        return real_posix_spawn(
            path, words, env, file_actions=file_actions, setsid=setsid, setsigmask=setsigmask,
            setsigdef=setsigdef,
        )  # fmt: skip
    pid = fork_apart()
    if pid == 0:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, setsigmask)
            for number in setsigdef:  # of which a Python that starts ignores two
                ignored = number in (signal.SIGPIPE, signal.SIGXFSZ)
                signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
            for action, fd, *more in file_actions:
                opens = action == os.POSIX_SPAWN_OPEN
                os.dup2(os.open(*more) if opens else fd, fd if opens else more[0])
            numbers = (0, 1, 2)
            job = Job(words, str(Path.cwd()), list(env.items()), numbers, False, -1, -1)  # type: ignore[arg-type]
            _run_and_exit(job, numbers)
        finally:
            os._exit(127)
    return pid


def fork_apart() -> int:
    """As os.fork(), but what this process does at its end and about signals is not the new one's. As in
    posix_spawn, signals wait meanwhile: by the wakeup fd, which both have, we would take its for ours."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: of threads, but they wait
            pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals():
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.SIG_DFL)
            atexit._clear()  # the parent's, as are the files that finalizers would remove
            weakref.finalize._registry.clear()
            weakref.finalize._registered_with_atexit = False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid


def _others_wait() -> bool:
    """Or will soon: one that has woken us with its result is not back yet. Any other thread may have a store
    open."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        frames = sys._current_frames()
        frames.pop(threading.get_ident())
        if not all(_comes_back(frame) for frame in frames.values()):
            return False
        idle = all(frame.f_code.co_name in IDLE for frame in frames.values())
        if idle and len(list(Path("/proc/self/task").iterdir())) == len(frames) + 1:
            return True
        time.sleep(0.002)
    return False


def _comes_back(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name not in IDLE:
        frame = frame.f_back
    return frame is not None


def _run_and_exit(
    job: Job, fds: Sequence[int], ready: Callable[[], object] = lambda: None
) -> NoReturn:
    """In the middle of what the parent did, of which nothing may go on or be cleared away."""
    code = 1
    try:
        gc.freeze()
        asyncio._set_running_loop(None)
        become(job, fds, ready)
        module = job.words[job.module]
        if module == WORKER or "serve" in job.words:
            make_own()
        elif module == SHELL:
            os.posix_spawn = spawn_here  # type: ignore[assignment]
        code = contextvars.Context().run(_status_of, module)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _status_of(module: str) -> int:
    try:
        run_module(module)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    return 0


def fork_sibling() -> int:
    """As os.fork(), but the new process is a child of our parent."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = python.syscall(SYS_CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return int(pid)


def serve(asked: socket.socket) -> None:
    """Make what is asked for, until nobody is there to ask. What was made answers with its process id."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    while True:
        request, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 250)
        if not request:
            return
        if fork_sibling() == 0:
            signal.signal(signal.SIGINT, handler)
            subprocess._fork_exec = fork_here  # type: ignore[attr-defined]
            _run_and_exit(Job(**json.loads(request)), fds, partial(_answer, asked))
        for fd in fds:
            os.close(fd)


def _answer(asked: socket.socket) -> None:
    asked.send(str(os.getpid()).encode())


def have_a_home(folder: str) -> None:
    """As the account's, for local shells. What the person who runs the tests has in ~/.bashrc is not tested,
    may print, and may take longer than a test: `pyenv init` starts sixty processes."""
    from stagedoor.shells.local.process import LocalAccount

    real = LocalAccount.of_process()
    LocalAccount.of_process = lambda: replace(real, home=folder)  # type: ignore[method-assign]


def serve_once() -> None:
    """Be a gateway for a moment, in a thread: what that loads late, compiles and caches, whatever is made of
    this process has."""
    from stagedoor.serve import worker
    from tests import stores
    from tests.fixtures.gateway import SSH_TABLE, local
    from tests.fixtures.people import PlainBrowser
    from tests.fixtures.worker import LimitedGateway

    async def load_lazy_modules() -> None:
        worker._load_lazy_modules()

    asyncio.run(load_lazy_modules())
    stores.share_statements()
    settings = SSH_TABLE + local("app01") + '[web]\naddresses = ["127.0.0.1:0"]\n'
    with tempfile.TemporaryDirectory() as folder, LimitedGateway(Path(folder), settings) as gateway:
        gateway.add_user("dev", "app01")
        gateway.start()
        browser = PlainBrowser(gateway.port("web"))
        browser.sign_in()
        browser.get("/")


def main() -> None:
    from stagedoor.cli.app import COMMANDS

    modules = set(COMMANDS.values())
    modules |= {WORKER, CONTROLLER, CHECK, f"{SHELL}.sshd", APART, *LATE}
    for name in sorted(
        modules | {f"{HOLDER}.{part}" for part in ("attach", "process", "tmux_session")}
    ):
        import_module(name)
    asked = socket.socket(fileno=int(sys.argv[1]))
    hashing.install()
    have_a_home(sys.argv[2])
    serve_once()
    # Since Python 3.13 click's module for tests loads readline, which handles it for good.
    signal.signal(signal.SIGWINCH, signal.SIG_DFL)
    gc.collect()
    gc.freeze()
    asked.send(b"ready")
    serve(asked)


if __name__ == "__main__":
    main()
