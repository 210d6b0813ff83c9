"""Machines of minimal Debian: fresh roots above a tree that debootstrap made once.

The machines of one `Site` share a network of their own, which nothing leads into. A command that installs
something runs in this machine's network instead. There is no systemd (`booted.py` has one), and no kernel
of their own.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.cluster.place import cache
from tests.waiting import wait_until

PROGRAMS = ("debootstrap", "unshare", "nsenter", "setpriv", "ip")
APART = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
)
"""Begins a command whose mounts and processes end with it, and it with this process."""
_CALM = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def base(suite: str, kind: str = "bare", packages: Sequence[str] = ()) -> Path:
    """The tree of a minimal Debian, made once for this machine. This takes a minute or two.

    Args:
        kind: begins the name under which the tree is kept.
        packages: are installed in it.

    Raises:
        CalledProcessError: debootstrap failed; its `stdout` says why.
    """
    kept = cache().parent / f"{kind}-{suite}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_name(f"{kept.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            unfinished = kept.with_name(f"{kept.name}.new")
            shutil.rmtree(unfinished, ignore_errors=True)
            included = ["--include=" + ",".join(packages)] if packages else []
            command = ["debootstrap", "--variant=minbase", *included, suite, str(unfinished)]
            subprocess.run(
                [*APART, *command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            unfinished.rename(kept)
    return kept


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what its terminal showed."""

    status: int
    text: str


class Place(Protocol):
    """The place of a machine, from which a command reaches its inside."""

    def command(self, root: Path, command: Sequence[str], *, outside: bool) -> list[str]:
        """As argv of this machine; `outside`: in this machine's network."""
        ...


class Site:
    """Machines with addresses in one network. `close` ends whatever runs on them."""

    def __init__(
        self, suite: str, machines: Mapping[str, Sequence[str]], folder: Path, hosts: str
    ) -> None:
        self.suite = suite
        self._folder = folder
        tree = base(suite)
        script = ["set -e", "mount --make-rprivate /", "ip link set lo up"]
        for name, addresses in machines.items():
            place = folder / name
            for part in ("upper", "work", "root"):
                (place / part).mkdir(parents=True)
            layers = f"lowerdir={tree},upperdir={place}/upper,workdir={place}/work"
            script += [f"ip address add {one}/32 dev lo" for one in addresses]
            script += [f"mount -t overlay overlay -o {layers} {place}/root"]
            script += [
                f"mount -t proc proc {place}/root/proc",
                f"mount --bind /dev/pts {place}/root/dev/pts",
                f"mount -t tmpfs -o mode=1777 tmpfs {place}/root/dev/shm",
                f"mknod -m 666 {place}/root/dev/fuse c 10 229",
            ]
        # The first process of a PID namespace has to reap what others leave; bash does.
        script += ["echo ready", "sleep infinity & wait"]
        self._holder = subprocess.Popen(
            [*APART, "--net", "bash", "-c", "\n".join(script)], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._first = int(children.read_text().split()[0])
        for name in machines:
            self._set_up(self.machine(name), hosts)

    def machine(self, name: str) -> "Machine":
        return Machine(self, self._folder / name / "root")

    def _set_up(self, machine: "Machine", hosts: str) -> None:
        machine.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
        machine.write("/etc/resolv.conf", Path("/etc/resolv.conf").read_text())
        # systemd makes it elsewhere, and fusermount3 reads it.
        machine.succeed("ln -sf ../proc/self/mounts /etc/mtab")
        # A power cut takes all of it.
        machine.write("/etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n")
        # Indexes and certificates as here.
        given = {
            k: v for k, v in os.environ.items() if re.match(r"(PIP|NPM_CONFIG)_|https?_proxy", k)
        }
        given.pop("PIP_FIND_LINKS", None)
        certificate = given.get("PIP_CERT")
        if certificate:
            machine.write("/etc/index-ca.crt", Path(certificate).read_text())
            given |= dict.fromkeys(("PIP_CERT", "NODE_EXTRA_CA_CERTS"), "/etc/index-ca.crt")
        exports = "".join(f"export {name}='{value}'\n" for name, value in given.items())
        machine.write("/etc/profile.d/indexes.sh", exports)

    def command(self, root: Path, command: Sequence[str], *, outside: bool) -> list[str]:
        """As argv of this machine."""
        spaces = ["--mount", "--pid", *(() if outside else ("--net",))]
        return ["nsenter", f"--target={self._first}", *spaces, "chroot", str(root), *command]

    def close(self) -> None:
        os.kill(self._first, signal.SIGKILL)  # the first of a PID namespace takes all others along
        wait_until(lambda: not Path(f"/proc/{self._first}").exists())
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Machine:
    site: Place
    root: Path
    """Outside of the site it is empty."""

    def run(
        self,
        line: str,
        *,
        user: str = "root",
        folder: str = "~",
        typed: str = "",
        answers: Mapping[str, str] | None = None,
        outside: bool = False,
        until: Callable[[str], bool] | None = None,
        within_s: float = 900,
    ) -> Ended:
        """Run a line of shell at a terminal of its own, as after a login.

        Args:
            typed: what is typed at once.
            answers: what is typed when the terminal shows something (a regular expression).
            outside: whether it runs in this machine's network.
            until: for a line that does not end: of what the terminal showed, whether to type Ctrl-C now.

        Raises:
            TimeoutError: it took longer than `within_s`.
        """
        goes = f"cd {folder} && {line}" if folder != "~" else line
        login = ["runuser", "--login", user, f"--session-command={goes}"]
        ours, theirs = pty.openpty()
        os.write(ours, typed.encode())
        process = subprocess.Popen(
            self.site.command(self.root, login, outside=outside),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={"PATH": os.environ["PATH"], "TERM": "xterm"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        try:
            text = _converse(ours, answers or {}, until, time.monotonic() + within_s)
            return Ended(process.wait(10), text)
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def start(self, line: str) -> None:
        """Run a line that goes on until the site is closed."""
        subprocess.run(
            self.site.command(self.root, ["bash", "-c", f"{line} & disown"], outside=False),
            check=True, stdin=subprocess.DEVNULL, env=_CALM,
        )  # fmt: skip

    def succeed(self, line: str, *, outside: bool = False) -> str:
        """Run a line that must succeed, without a terminal, and return what it prints."""
        done = subprocess.run(
            self.site.command(self.root, ["bash", "-lc", line], outside=outside),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
            env={**_CALM, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def answers_at(self, address: str, port: int) -> bool:
        """Return whether a program listens there."""
        knock = ["bash", "-c", f"</dev/tcp/{address}/{port}"]
        command = self.site.command(self.root, knock, outside=False)
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        command = self.site.command(
            self.root, ["install", "-D", "-m", f"{mode:o}", "/dev/stdin", path], outside=False
        )
        subprocess.run(command, input=text, text=True, check=True)


def _converse(
    terminal: int, answers: Mapping[str, str], until: Callable[[str], bool] | None, end: float
) -> str:
    """Read until the other side is closed; answer what it asks."""
    text, answered = "", 0
    interrupted = False
    while True:
        if time.monotonic() > end:
            raise TimeoutError(text[-2000:])
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # EIO: nobody has it open any more, see pty(7)
                return text
        for question, answer in answers.items():
            match = re.search(question, text[answered:])
            if match is not None:
                answered += match.end()
                os.write(terminal, answer.encode())
        if until is not None and not interrupted and until(text):
            interrupted = True
            os.write(terminal, b"\x03")
