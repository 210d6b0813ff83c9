"""Which version this is, and of which commit."""

from pathlib import Path

import stagedoor

COMMIT_FILE = Path(stagedoor.__file__).with_name("commit")
"""Written by `hatch_build.py` into the sdist and the wheel; a checkout has none."""


def full_version(commit_file: Path = COMMIT_FILE) -> str:
    """`0.2.0 (commit 0123456789ab)`, or `0.2.0` where nothing was built."""
    try:
        commit = commit_file.read_text("ascii").strip()
    except FileNotFoundError:
        return stagedoor.__version__
    return f"{stagedoor.__version__} (commit {commit})"
