"""The container images as OCI archives (image-layout.md), by deploy/image/build and deploy/kit/build."""

import os
import shutil
from pathlib import Path

from release.deb import MACHINES
from release.source import Source
from release.steps import run

REGISTRY = "localhost"
"""The registry of the names in the archives; images get another one when they are pushed."""
_COMPILERS = {"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}


def why_not_gateway(architecture: str) -> str | None:
    """Return the reason that the gateway's image cannot be built here, or None."""
    if os.geteuid() != 0:
        return "only root may run debootstrap and buildah's chroot"
    if MACHINES[architecture] != os.uname().machine:
        return "Debian's packages are set up by running them; build it on such a machine"
    return missing("buildah", "debootstrap")


def why_not_kit(architecture: str) -> str | None:
    """Return the reason that the kit's image, for which C is compiled, cannot be built here, or None."""
    if os.geteuid() != 0:
        return "buildah is run as root"
    return missing("buildah", "patchelf", "readelf", _COMPILERS[architecture])


def missing(*programs: str) -> str | None:
    """Return a text that names the programs that are not on PATH, or None."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"missing: {', '.join(absent)}" if absent else None


def build_gateway(source: Source, architecture: str, out: Path) -> Path:
    """Build the gateway's image and return its archive. Raises ReleaseError."""
    tag = f"{REGISTRY}/stagedoor:{source.version.replace('+', '-')}"
    archive = out / f"stagedoor-image-{source.version}-{architecture}.oci.tar"
    build = source.folder / "deploy/image/build"
    run(source, [build, "--tag", tag, "--oci", archive], says=True)
    return archive


def build_kit(source: Source, architecture: str, work: Path, out: Path) -> Path:
    """Build the kit's image and its bill of materials; return its tree. Raises ReleaseError."""
    tag = f"{REGISTRY}/stagedoor-kit:{source.version.replace('+', '-')}"
    folder = work / f"kit-{architecture}"
    build = ("env", f"CC={_COMPILERS[architecture]}", source.folder / "deploy/kit/build")
    run(source, [*build, "--arch", architecture, "--image", tag, "--out", folder], says=True)
    for name, suffix in (("image.tar", "oci.tar"), ("kit.spdx.json", "spdx.json")):
        shutil.move(folder / name, out / f"stagedoor-kit-{source.version}-{architecture}.{suffix}")
    return folder / "kit"
