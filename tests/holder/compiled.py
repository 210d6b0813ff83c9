"""The kit's holder, compiled for this machine: the same sources by the same compiler."""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "deploy/kit/source"


def compiled(folder: Path, *options: str) -> Path:
    """The program `hold` in `folder`, with further `options` for the compiler."""
    files = [
        *SOURCE.glob("[!p]*.c"),
        *SOURCE.glob("holder/*.c"),
    ]  # passwd.c is a library of its own
    program = folder / "hold"
    compiler = os.environ.get("CC", "gcc")
    flags = ("-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", *options)
    subprocess.run([compiler, *flags, "-o", program, *sorted(files)], check=True)
    return program
