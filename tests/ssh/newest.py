"""OpenSSH, client and server, and tmux of Debian's newest release, beside the machine's own.

Its packages are fetched by debootstrap once, unpacked into a folder outside the checkout, and run
with their own libraries, so nothing is installed and no root is needed to run them. `python -m
tests.ssh.newest` does it before the tests: beside them it takes longer than a test may.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = "trixie"
PROGRAMS = ("ssh", "scp", "sftp", "ssh-add", "ssh-agent", "ssh-keygen", "ssh-keyscan")
_WRAPPER = """\
#!/bin/sh
exec {loader} --argv0 "$0" --library-path {libraries} {program} "$@"
"""
"""ssh starts itself again for a jump, by the name that it was called by."""
PACKAGES = ("openssh-client", "openssh-server", "tmux")
SERVER_PROGRAMS = ("sshd-session", "sshd-auth")
"""Since OpenSSH 9.8 sshd runs the first for each connection, and that one the second (10.0)."""
_RUN_SSH = ("scp", "sftp")
"""They run /usr/bin/ssh unless an option names another."""


class MissingError(Exception):
    """It cannot be had here; says why."""


def folder() -> Path:
    """Return a folder for PATH, with the programs under their usual names. Raises MissingError."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = home / "stagedoor" / f"debian-{SUITE}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (kept.parent / f"debian-{SUITE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and it is made once
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=kept.parent) as beside:
                _make(Path(beside))
                (Path(beside) / "root").rename(kept)
    return _wrappers(kept)


def tmux() -> Path:
    """Return the program. Raises MissingError."""
    return folder() / "tmux"


def _make(beside: Path) -> None:
    for needed in ("debootstrap", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise MissingError(f"{needed} is missing; apt install debootstrap")
    if os.geteuid() != 0:
        raise MissingError("debootstrap wants to be root, once")
    # Packages only: no script of a package runs, and no chroot is made.
    options = ("--download-only", "--variant=minbase", f"--include={','.join(PACKAGES)}")
    fetched = subprocess.run(
        ["debootstrap", *options, SUITE, beside / "tree"], capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    if fetched.returncode:
        said = (fetched.stdout + fetched.stderr).strip().splitlines()
        raise MissingError(f"debootstrap failed: {said[-1] if said else fetched.returncode}")
    for package in (beside / "tree").glob("var/cache/apt/archives/*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, beside / "root"], check=True)
    for left_out in ("usr/share", "var", "boot"):
        shutil.rmtree(beside / "root" / left_out, ignore_errors=True)


def _wrappers(root: Path) -> Path:
    loader = next(root.glob("usr/lib/*/ld-linux*.so.*"), None) or next(
        root.glob("usr/lib/ld-linux*.so.*")
    )
    libraries = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu*")))
    place = root / "run-here"
    place.mkdir(exist_ok=True)

    def wrap(name: str, program: str) -> None:
        wrapper = place / name
        text = _WRAPPER.format(loader=loader, libraries=libraries, program=program)
        if not wrapper.exists() or wrapper.read_text() != text:
            made = wrapper.with_name(f"{name}.{os.getpid()}")
            made.write_text(text)
            made.chmod(0o755)
            made.replace(wrapper)

    for name in (*PROGRAMS, "tmux"):
        program = f"{root / 'usr' / 'bin' / name}"
        wrap(name, f"{program} -S {place / 'ssh'}" if name in _RUN_SSH else program)
    wrap("sshd", f"{root / 'usr' / 'sbin' / 'sshd'}")
    for name in SERVER_PROGRAMS:
        wrap(name, f"{root / 'usr' / 'lib' / 'openssh' / name}")
    return place


def server_settings(programs: Path) -> tuple[str, ...]:
    """Return lines for its sshd_config: where the other programs of `sshd` are."""
    return (
        f"SshdSessionPath {programs / 'sshd-session'}",
        f"SshdAuthPath {programs / 'sshd-auth'}",
    )


if __name__ == "__main__":
    try:
        print(folder())
    except MissingError as missing:  # the tests say so as well, and are skipped
        print(missing, file=sys.stderr)
