"""The kit's holder, compiled for this machine: the same sources by the same compiler."""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "deploy/kit/source"
KEPT = ROOT / ".cache/holder"


def compiled(folder: Path, *options: str) -> Path:
    """Compile the program `hold` into `folder`, with further `options` for the compiler.

    It is compiled once for all the tests' processes, and again when a source or the compiler has changed.
    """
    files = [
        *SOURCE.glob("[!p]*.c"),
        *SOURCE.glob("holder/*.c"),
        *SOURCE.glob("tunnel/*.c"),
    ]  # passwd.c is a library of its own
    compiler = os.environ.get("CC", "gcc")
    flags = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", *options)
    made = KEPT / hashlib.sha256(" ".join(flags).encode()).hexdigest()[:16]
    digest = made.with_suffix(".digest")
    now, program = _digest(compiler), folder / "hold"
    KEPT.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not made.exists() or not digest.exists() or digest.read_text() != now:
            subprocess.run([compiler, *flags, "-o", made, *sorted(files)], check=True)
            digest.write_text(now)
        # By a process of its own: what another one started meanwhile would hold it open for writing.
        subprocess.run(["cp", made, program], check=True)
    return program


def _digest(compiler: str) -> str:
    """Return a digest of the sources and of the compiler's version."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    digest = hashlib.sha256(version)
    for file in sorted(SOURCE.rglob("*.[ch]")):
        digest.update(str(file.relative_to(SOURCE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
