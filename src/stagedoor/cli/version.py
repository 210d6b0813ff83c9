"""The version of this program, with its commit."""

from pathlib import Path

import stagedoor

COMMIT_FILE = Path(stagedoor.__file__).with_name("commit")
"""The file that `hatch_build.py` writes into the sdist and the wheel. A checkout has none."""


def describe_version(commit_file: Path = COMMIT_FILE) -> str:
    """Return the version, such as `0.3.0 (commit 0123456789ab)`, or `0.3.0` in a checkout."""
    try:
        commit = commit_file.read_text("ascii").strip()
    except FileNotFoundError:
        return stagedoor.__version__
    return f"{stagedoor.__version__} (commit {commit})"
