"""How the steps of a release run other programs."""

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
    """Run a program on the source's own code and clock, and return what it prints.

    Args:
        folder: where it runs; the source's top by default.
        says: its output is for people and is not returned.

    Raises:
        ReleaseError: it failed; with the end of what it said.
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
    """uv asks the index that pip would, and trusts the same certificates."""
    of_pip = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    return {ours: os.environ[theirs] for theirs, ours in of_pip.items() if theirs in os.environ}
