"""The sdist, the wheel built from it, and the packages of an installation."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from release.source import ReleaseError, Source
from release.steps import UV, run


@dataclass(frozen=True)
class Distributions:
    """The files of the sdist and the wheel."""

    sdist: Path
    wheel: Path


def build_distributions(source: Source, work: Path, out: Path) -> Distributions:
    """Build the sdist, and the wheel from the sdist alone, so that the sdist is known to be complete.

    Raises ReleaseError.
    """
    hatchling = (sys.executable, "-m", "hatchling", "build", "-d", str(out))
    run(source, [*hatchling, "-t", "sdist"])
    [sdist] = out.glob("*.tar.gz")
    (work / "sdist").mkdir()
    # tar(1), since Debian 12's tarfile has no filter that keeps members inside the folder.
    run(source, ["tar", "-xf", str(sdist), "-C", str(work / "sdist")])
    [unpacked] = (work / "sdist").iterdir()
    run(source, [*hatchling, "-t", "wheel"], folder=unpacked)
    [wheel] = out.glob("*.whl")
    return Distributions(sdist, wheel)


@dataclass(frozen=True)
class Platform:
    """The target of an installation, which need not be this machine: nothing of it runs during the build."""

    python: str
    """`3.13`."""
    machine: str
    """`x86_64` or `aarch64`."""
    glibc: str
    """The newest version that wheels may require, such as `2_36`."""


def lock_requirements(source: Source, target: Path) -> Path:
    """Write the requirements of an installation with all extras, with hashes from uv.lock; return `target`.

    Raises ReleaseError.
    """
    run(
        source,
        [
            UV, "export", "--quiet", "--frozen", "--no-default-groups", "--all-extras",
            "--no-emit-project", "--no-header", "--format", "requirements-txt", "--output-file", target,
        ],
    )  # fmt: skip
    return target


def install_packages(
    source: Source, wheel: Path, requirements: Path, platform: Platform, target: Path
) -> None:
    """Install the locked wheels, each checked against its hash, and our wheel into the folder `target`.

    It takes only wheels and compiles nothing, so any machine can do it for any other. Raises ReleaseError.
    """
    into = (
        *(UV, "pip", "install", "--quiet", "--target", target, "--no-deps", "--link-mode", "copy"),
        *(
            "--python",
            sys.executable,
            "--python-version",
            platform.python,
            "--only-binary",
            ":all:",
        ),
        *("--python-platform", f"{platform.machine}-manylinux_{platform.glibc}"),
    )
    run(source, [*into, "--require-hashes", "--requirement", requirements])
    run(source, [*into, "--no-index", wheel])
    # Scripts and records have paths of this machine.
    shutil.rmtree(target / "bin")
    (target / ".lock").unlink(missing_ok=True)
    for name in ("RECORD", "direct_url.json", "uv_cache.json", "INSTALLER", "REQUESTED"):
        for file in target.glob(f"*.dist-info/{name}"):
            file.unlink()
    if list(target.rglob("*.pyc")):
        raise ReleaseError(f"{target} has compiled files, which differ from machine to machine")
