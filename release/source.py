"""The source of a release: a clone that has only tracked files."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSION_FILE = "src/stagedoor/__init__.py"
"""The only file that has the version."""
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """A release cannot be made; the message says why, and how to fix it."""


@dataclass(frozen=True)
class Source:
    """A checkout in which nothing has been built."""

    folder: Path
    version: str
    """The version (PEP 440); it ends in `+dirty` if the source has uncommitted changes."""
    commit: str
    """The first 12 digits of the commit's hash, with `-dirty` for uncommitted changes."""
    epoch: int
    """The time of the commit, seconds since the epoch: SOURCE_DATE_EPOCH (reproducible-builds.org)."""


def take_source(root: Path, folder: Path, *, dirty: bool) -> Source:
    """Clone `root` into `folder`; `dirty` includes the changes that are not committed.

    Raises:
        ReleaseError: there are such changes and `dirty` is False, or `root` is not a git checkout.
    """
    changed = _git(root, "status", "--porcelain", "--untracked-files=all")
    if changed and not dirty:
        count = len(changed.splitlines())
        raise ReleaseError(
            f"the checkout has {count} changes that are not committed, {changed.split()[1]} among "
            "them: commit or stash them, or try the release with --dirty"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    _git(root, "clone", "--quiet", "--shared", "--no-tags", str(root), str(folder))
    if changed:
        _copy_changes(root, folder)
        _mark_dirty(folder / VERSION_FILE)
    return Source(
        folder,
        version_in(folder),
        _git(folder, "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"),
        int(_git(folder, "log", "-1", "--format=%ct")),
    )


def version_in(folder: Path) -> str:
    """Return the version of a checkout. Raises ReleaseError."""
    match = _VERSION.search((folder / VERSION_FILE).read_text("utf-8"))
    if match is None:
        raise ReleaseError(f"{VERSION_FILE} has no line __version__ = …")
    return match[1]


def _copy_changes(root: Path, folder: Path) -> None:
    differing = _git(root, "diff", "--name-only", "-z", "--no-renames", "HEAD")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    for name in filter(None, f"{differing}\0{new}".split("\0")):
        (folder / name).unlink(missing_ok=True)
        if (root / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)


def _mark_dirty(file: Path) -> None:
    file.write_text(_VERSION.sub(r'__version__ = "\1+dirty"', file.read_text("utf-8")), "utf-8")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
