"""The container images as OCI archives (image-layout.md), by deploy/image/build and deploy/kit/build."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from release.deb import MACHINES
from release.source import Source
from release.steps import run

REGISTRY = "localhost"
"""Of the names in the archives. Whoever pushes them gives them another."""
_COMPILERS = {"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}


def why_not_gateway(architecture: str) -> str | None:
    """What is missing here for building the gateway's image."""
    if os.geteuid() != 0:
        return "only root may run debootstrap and buildah's chroot"
    if MACHINES[architecture] != os.uname().machine:
        return "Debian's packages are set up by running them; build it on such a machine"
    return missing("buildah", "debootstrap")


def why_not_kit(architecture: str) -> str | None:
    """What is missing here for building the kit's image: its own two programs are compiled."""
    if os.geteuid() != 0:
        return "buildah is run as root"
    return missing("buildah", "patchelf", "readelf", _COMPILERS[architecture])


def missing(*programs: str) -> str | None:
    absent = [one for one in programs if shutil.which(one) is None]
    return f"missing: {', '.join(absent)}" if absent else None


def build_gateway(source: Source, architecture: str, out: Path) -> Path:
    tag = f"{REGISTRY}/stagedoor:{source.version.replace('+', '-')}"
    made = out / f"stagedoor-image-{source.version}-{architecture}.oci.tar"
    build = source.folder / "deploy/image/build"
    run(source, [build, "--tag", tag, "--oci", made], says=True)
    return made


def build_kit(source: Source, architecture: str, work: Path, out: Path) -> Iterator[Path]:
    """The image, and the list of what is in it."""
    tag = f"{REGISTRY}/stagedoor-kit:{source.version.replace('+', '-')}"
    folder = work / f"kit-{architecture}"
    build = ("env", f"CC={_COMPILERS[architecture]}", source.folder / "deploy/kit/build")
    run(source, [*build, "--arch", architecture, "--image", tag, "--out", folder], says=True)
    for name, suffix in (("image.tar", "oci.tar"), ("kit.spdx.json", "spdx.json")):
        made = out / f"stagedoor-kit-{source.version}-{architecture}.{suffix}"
        shutil.move(folder / name, made)
        yield made
