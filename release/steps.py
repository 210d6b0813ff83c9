"""A runner of other programs for the steps of a release."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from release.source import ReleaseError, Source

UV = str(Path(sys.executable).with_name("uv"))


def run(
    source: Source, command: Sequence[str | Path], *, folder: Path | None = None, says: bool = False
) -> str:
    """Run a program with the source's own code and time, and return its stdout.

    Args:
        source: the code on PYTHONPATH, and the time.
        command: the program and its arguments.
        folder: where it runs; the source's top by default.
        says: stderr is shown as it comes, for the person who waits, and is in no error.

    Raises:
        ReleaseError: it failed; with the end of its stderr.
    """
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(source.epoch),
        "STAGEDOOR_COMMIT": source.commit,
        "PYTHONPATH": f"{source.folder}/src:{source.folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        **_index(),
    }
    done = subprocess.run(
        command, cwd=folder or source.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=None if says else subprocess.PIPE,
    )  # fmt: skip
    if done.returncode != 0:
        said = f": {done.stderr.strip()[-2000:]}" if done.stderr else ""
        raise ReleaseError(f"{Path(command[0]).name} {command[1]} failed{said}")
    return done.stdout


def _index() -> dict[str, str]:
    """Return the variables that make uv use pip's index and certificates."""
    of_pip = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    return {ours: os.environ[theirs] for theirs, ours in of_pip.items() if theirs in os.environ}
