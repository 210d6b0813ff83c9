"""The sdist, the wheel made of it, and the packages that an installation brings."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from release.source import ReleaseError, Source
from release.steps import UV, run


@dataclass(frozen=True)
class Distributions:
    sdist: Path
    wheel: Path


def build_distributions(source: Source, work: Path, out: Path) -> Distributions:
    """The wheel is built of the sdist alone, so that the sdist is known to have everything."""
    hatchling = (sys.executable, "-m", "hatchling", "build", "-d", str(out))
    run(source, [*hatchling, "-t", "sdist"])
    [sdist] = out.glob("*.tar.gz")
    (work / "sdist").mkdir()
    # tar(1) and not tarfile: Debian 12's Python has no filter that keeps members inside the folder.
    run(source, ["tar", "-xf", str(sdist), "-C", str(work / "sdist")])
    [unpacked] = (work / "sdist").iterdir()
    run(source, [*hatchling, "-t", "wheel"], folder=unpacked)
    [wheel] = out.glob("*.whl")
    return Distributions(sdist, wheel)


@dataclass(frozen=True)
class Platform:
    """For what an environment is installed: nothing of it runs while it is made."""

    python: str
    """`3.13`."""
    machine: str
    """`x86_64` or `aarch64`."""
    glibc: str
    """The newest that wheels may ask for, `2_36`."""


def lock_requirements(source: Source, target: Path) -> Path:
    """What an installation with all extras brings, with hashes, by uv.lock."""
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
    """Unpack the locked wheels, each checked against its hash, and ours into the folder `target`.

    Only wheels: nothing is compiled, so any machine can do it for any other.
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
    # Scripts and records name paths of the machine that installs.
    shutil.rmtree(target / "bin")
    (target / ".lock").unlink(missing_ok=True)
    for name in ("RECORD", "direct_url.json", "uv_cache.json", "INSTALLER", "REQUESTED"):
        for file in target.glob(f"*.dist-info/{name}"):
            file.unlink()
    if list(target.rglob("*.pyc")):
        raise ReleaseError(f"{target} has compiled files, which differ from machine to machine")
