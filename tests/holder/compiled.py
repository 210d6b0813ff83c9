"""Programs of the kit's sources, compiled for this machine by the same compiler as the kit's."""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.place import cache

SOURCE = Path(__file__).parents[2] / "deploy/kit/source"


def compiled(folder: Path, *options: str) -> Path:
    """Compile the program `hold` into `folder`, with further `options` for the compiler."""
    files = [
        *SOURCE.glob("[!p]*.c"),
        *SOURCE.glob("holder/*.c"),
        *SOURCE.glob("tunnel/*.c"),
    ]  # passwd.c is a library of its own
    return compiled_of(folder / "hold", sorted(files), "-O2", *options)


def compiled_of(program: Path, sources: Sequence[Path], *options: str) -> Path:
    """Compile sources into a program, with further `options` for the compiler.

    They are compiled once for all runs, and again when one of them or the compiler has changed.
    """
    compiler = os.environ.get("CC", "gcc")
    flags = ("-std=gnu17", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", *options)
    kept = cache().parent / "compiled"
    made = kept / hashlib.sha256(" ".join((program.name, *flags)).encode()).hexdigest()[:16]
    digest = made.with_suffix(".digest")
    now = _digest(compiler, sources)
    kept.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not made.exists() or not digest.exists() or digest.read_text() != now:
            digest.unlink(missing_ok=True)
            subprocess.run([compiler, *flags, "-o", made, *sources], check=True)
            digest.write_text(now)
        # By a process of its own: what another one started meanwhile would hold it open for writing.
        subprocess.run(["cp", made, program], check=True)
    return program


def _digest(compiler: str, sources: Sequence[Path]) -> str:
    """Return a digest of the sources, of the kit's headers and of the compiler's version."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    digest = hashlib.sha256(version)
    for file in (*sources, *sorted(SOURCE.rglob("*.h"))):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
