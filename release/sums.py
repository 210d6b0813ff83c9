"""SHA256SUMS of a folder, its signature, and what differs between two of them."""

import hashlib
import subprocess
from pathlib import Path

from release.source import ReleaseError

SUMS = "SHA256SUMS"
NAMESPACE = "stagedoor-release"
"""Of the signature (ssh-keygen(1), -n): one for something else does not count for a release."""


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_sums(folder: Path) -> Path:
    """The form that `sha256sum --check` reads."""
    files = sorted(one for one in folder.iterdir() if not one.name.startswith(SUMS))
    target = folder / SUMS
    target.write_text("".join(f"{digest(one)}  {one.name}\n" for one in files), "ascii")
    return target


def sign(sums: Path, key: Path) -> Path:
    """Sign with an SSH key, or with one of the agent's if `key` is a public one.

    Raises:
        ReleaseError: ssh-keygen refused; says what it said.
    """
    signature = sums.with_name(f"{sums.name}.sig")
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(sums)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"the signature failed: {done.stderr.strip()}")
    return signature


def differing(one: Path, other: Path) -> list[str]:
    """The names of files that are not the same in two folders."""
    names = {file.name for folder in (one, other) for file in folder.iterdir()}
    return sorted(
        name
        for name in names
        if not ((one / name).exists() and (other / name).exists())
        or digest(one / name) != digest(other / name)
    )
