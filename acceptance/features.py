"""Checks of the things that developers do over ssh beside logging in, each with the real programs.

Every check takes an access method and an empty folder, and raises FailedError or NotHereError. Those in
`ELSEWHERE` also work with a shell that is not on this machine.
"""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from acceptance.forwards import dynamic_forward, local_forward, remote_forward
from acceptance.prompted import Done, Prompted
from acceptance.reach import Reach
from acceptance.verdict import FailedError, NotHereError, expect, need
from stagedoor.model.units import KIB, MIB

BOUND_S = 60.0
"""The longest wait here, in seconds; ssh itself gives up before."""
EXIT_CODE = 7
Feature = Callable[[Reach, Path], None]


def login(reach: Reach, _: Path) -> None:
    """Check that a command in the shell reads its stdin, and that its output and exit code come back."""
    word = secrets.token_hex(8)
    done = reach.ssh(f"cat; exit {EXIT_CODE}", stdin=word.encode())
    expect(done.code == EXIT_CODE, f"the exit code was {done.code}, not {EXIT_CODE}: {done.said}")
    expect(done.stdout == word.encode(), "what was sent did not come back")


def scp(reach: Reach, folder: Path) -> None:
    """Copy a file there and back by the SFTP protocol, scp's default since OpenSSH 9.0."""
    _scp(reach, folder, "-s")


def scp_legacy(reach: Reach, folder: Path) -> None:
    """Copy a file there and back by the old scp protocol."""
    _scp(reach, folder, "-O")


def _scp(reach: Reach, folder: Path, protocol: str) -> None:
    sent, there, back = folder / "sent", reach.there(folder, "there"), folder / "back"
    sent.write_bytes(os.urandom(MIB))
    reach.must(reach.argv("scp", protocol, "-q", sent, f"{reach.host}:{there}"))
    reach.must(reach.argv("scp", protocol, "-q", f"{reach.host}:{there}", back))
    _expect_same(sent, back, *([there] if reach.near else []))


def sftp(reach: Reach, folder: Path) -> None:
    """Put, rename, list and get a file by sftp."""
    sent, there, back = folder / "sent", reach.there(folder, "there"), folder / "back"
    sent.write_bytes(os.urandom(MIB))
    batch = (
        f"put {sent} {there}.part\nrename {there}.part {there}\nls -l {there}\nget {there} {back}\n"
    )
    shown = reach.must(reach.argv("sftp", "-q", "-b", "-", reach.host), stdin=batch.encode())
    expect(str(MIB).encode() in shown, "ls did not show the file's size")
    _expect_same(sent, back, *([there] if reach.near else []))


def rsync(reach: Reach, folder: Path) -> None:
    """Copy a tree by rsync, then check that a second run sends only a changed file."""
    tree, there = folder / "tree", folder / "there"
    for name in ("a", "b/c", "b/d e"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(os.urandom(20 * KIB))
    argv = ["rsync", "-ai", "-e", f"ssh -F {reach.config}", f"{tree}/", f"{reach.host}:{there}/"]
    reach.must([*argv])
    _expect_same(tree / "b/d e", there / "b/d e")
    (tree / "a").write_bytes(b"changed")
    listed = reach.must([*argv]).decode().split("\n")
    files = [line.split()[1] for line in listed if line[1:2] == "f"]
    expect(files == ["a"], f"the second time it sent {files}, not only what had changed")
    _expect_same(tree / "a", there / "a")


def sshfs(reach: Reach, folder: Path) -> None:
    """Mount a folder by sshfs, then write, read, list and unmount."""
    need("sshfs", "fusermount3")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise NotHereError("/dev/fuse is missing or not ours to open")
    there, mounted = folder / "there", folder / "mounted"
    there.mkdir()
    mounted.mkdir()
    content = os.urandom(MIB)
    with reach.start(reach.argv("sshfs", "-f", f"{reach.host}:{there}", mounted)) as mount:
        try:
            _wait_until(lambda: mounted.is_mount() or mount.ended)
            if not mounted.is_mount():
                _did_not_mount(mount.kill())
            (mounted / "file").write_bytes(content)
            _expect_content((there / "file").read_bytes(), content, "what was written is not there")
            (there / "other").write_bytes(content)
            _expect_content(
                (mounted / "other").read_bytes(), content, "what is there reads otherwise"
            )
            names = sorted(path.name for path in mounted.iterdir())
            expect(names == ["file", "other"], f"it lists {names}")
        finally:
            if mounted.is_mount():
                # -z unmounts even with open files, so that no mount is left behind.
                subprocess.run(["fusermount3", "-uz", mounted], check=False, capture_output=True)
        _wait_until(lambda: mount.ended)
        done = mount.wait()
        expect(not mounted.is_mount(), "it cannot be unmounted")
        expect(done.code == 0, f"sshfs ended with {done.code}: {done.said}")


def _expect_content(content: bytes, wanted: bytes, otherwise: str) -> None:
    if content != wanted:
        right = sum(a == b for a, b in zip(content, wanted, strict=False))
        raise FailedError(
            f"{otherwise}: {len(content)} bytes of {len(wanted)}, {right} of them right"
        )


def _did_not_mount(done: Done) -> NoReturn:
    if "mount failed: Operation not permitted" in done.stderr:
        raise NotHereError("nobody may mount here (fusermount3: Operation not permitted)")
    raise FailedError(f"sshfs ended with {done.code}: {done.said}")


def control_master(reach: Reach, _: Path) -> None:
    """Run ten sessions over one tunnel, each with its own exit code."""
    # Not below TMPDIR: the path of a Unix socket may have 107 characters (unix(7)).
    with tempfile.TemporaryDirectory(prefix="stagedoor-", dir="/tmp") as folder:
        path = Path(folder) / "master"
        with reach.inside("-M", "-S", path):
            # Without the master, these sessions cannot connect.
            options = ("-S", path, "-o", "ProxyCommand=false")
            command = "cat; echo $SSH_CONNECTION; exit "
            clients = [
                reach.start(reach.argv("ssh", *options, reach.host, f"{command}{code}"))
                for code in range(10)
            ]
            ended = [client.wait() for client in clients]
    codes = [done.code for done in ended]
    expect(codes == list(range(10)), f"the exit codes were {codes}: {ended[-1].said}")
    expect(len({done.stdout for done in ended}) == 1, "they did not all go through one tunnel")


def tmux(reach: Reach, _: Path) -> None:
    """Run `ssh -t` with tmux, drop the connection, and check that the next one finds the session again."""
    if reach.near:
        need("tmux")
    # A separate server, so that the tmux of the person who runs this is not touched.
    name = f"stagedoor-{secrets.token_hex(4)}"
    there = f"tmux -L {name} -f /dev/null"
    try:
        with _on_terminal(reach, f"{there} new-session -s demo 'exec sh'") as first:
            # Wait for its status line: a client that asks for a password would take earlier input.
            first.expect("[demo]", BOUND_S)
            first.type("echo $((40+2))-lives\r")
            first.expect("42-lives", BOUND_S)
        # The connection is dropped without a goodbye, as when a laptop is closed.
        with _on_terminal(reach, f"{there} attach -t demo") as second:
            second.expect("42-lives", BOUND_S)
            second.type("exit\r")
            done = second.wait()
        expect(done.code == 0, f"ssh ended with {done.code}")
    except TimeoutError as error:
        raise FailedError(str(error)) from None
    finally:
        if reach.near:
            subprocess.run(["tmux", "-L", name, "kill-server"], check=False, capture_output=True)


def _on_terminal(reach: Reach, command: str) -> Prompted:
    # Our terminal is an xterm, whatever terminal this runs in.
    argv = ["env", "TERM=xterm", *reach.argv("ssh", "-t", reach.host, command)]
    return reach.start(argv, on_terminal=True)


def git_clone(reach: Reach, folder: Path) -> None:
    """Clone a repository over ssh, commit, push and clone again."""
    need("git")
    there, clone = folder / "there.git", folder / "clone"
    env = {
        "GIT_SSH_COMMAND": f"ssh -F {reach.config}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "dev",
        "GIT_AUTHOR_EMAIL": "dev@app01.example",
        "GIT_COMMITTER_NAME": "dev",
        "GIT_COMMITTER_EMAIL": "dev@app01.example",
    }

    def git(*words: str | Path) -> bytes:
        return reach.must(["git", *words], env=env)

    git("init", "-q", "--bare", "-b", "main", there)
    git("clone", "-q", f"{reach.host}:{there}", clone)
    (clone / "file").write_bytes(os.urandom(MIB))
    git("-C", clone, "add", "file")
    git("-C", clone, "commit", "-q", "-m", "first")
    git("-C", clone, "push", "-q", "origin", "HEAD:main")
    git("clone", "-q", f"ssh://{reach.host}{there}", folder / "again")
    _expect_same(clone / "file", folder / "again" / "file")


def _wait_until(true: Callable[[], bool]) -> None:
    """Poll for a state that gives no notification, such as a mount. Raises FailedError after `BOUND_S`."""
    deadline = time.monotonic() + BOUND_S
    while not true():
        expect(time.monotonic() < deadline, f"nothing happened for {BOUND_S:g} s")
        time.sleep(0.01)


def _expect_same(*files: Path) -> None:
    contents = [file.read_bytes() if file.exists() else None for file in files]
    names = " and ".join(file.name for file in files)
    expect(contents[0] and contents.count(contents[0]) == len(files), f"{names} differ")


FEATURES: dict[str, Feature] = {
    "scp (sftp protocol)": scp,
    "scp -O (scp protocol)": scp_legacy,
    "sftp put, get": sftp,
    "rsync": rsync,
    "sshfs mount, read, write, unmount": sshfs,
    "LocalForward": local_forward,
    "RemoteForward": remote_forward,
    "DynamicForward": dynamic_forward,
    "ControlMaster, 10 sessions in one tunnel": control_master,
    "ssh -t with tmux, left and come back": tmux,
    "git clone, push": git_clone,
}
ELSEWHERE = (
    "scp (sftp protocol)",
    "scp -O (scp protocol)",
    "sftp put, get",
    "ControlMaster, 10 sessions in one tunnel",
    "ssh -t with tmux, left and come back",
)
"""The features that need neither local files at the other end nor programs that an image may lack."""
