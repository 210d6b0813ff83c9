"""SHA256SUMS of a folder, its signature, and the differences between two folders."""

import hashlib
import subprocess
from pathlib import Path

from release.source import ReleaseError

SUMS = "SHA256SUMS"
NAMESPACE = "stagedoor-release"
"""The signature's namespace (ssh-keygen(1), -n): signatures for other purposes are no proof of a release."""


def digest(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_sums(folder: Path) -> Path:
    """Write the folder's SHA256SUMS, as `sha256sum --check` reads it, and return its path."""
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(SUMS))
    target = folder / SUMS
    target.write_text("".join(f"{digest(file)}  {file.name}\n" for file in files), "ascii")
    return target


def sign(sums: Path, key: Path) -> Path:
    """Sign with an SSH key, or with a key of the agent if `key` is a public key; return the signature's path.

    Raises:
        ReleaseError: ssh-keygen failed; with its stderr.
    """
    signature = sums.with_name(f"{sums.name}.sig")
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(sums)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise ReleaseError(f"the signature failed: {done.stderr.strip()}")
    return signature


def differing(one: Path, other: Path) -> list[str]:
    """Return the names of files that differ between two folders, sorted."""
    names = {file.name for folder in (one, other) for file in folder.iterdir()}
    return sorted(
        name
        for name in names
        if not ((one / name).exists() and (other / name).exists())
        or digest(one / name) != digest(other / name)
    )
