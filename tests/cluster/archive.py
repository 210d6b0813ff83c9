"""Write a container image as one file, from folders and single files.

The form is an OCI image layout in a tar (OCI image spec 1.0, image-layout.md), which containerd,
buildah, podman and skopeo read. Nothing has to run and nothing is stored anywhere else, so an image
of one program takes as long as copying it.
"""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_TYPE = "application/vnd.oci.image"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Files:
    """A layer of single files: absolute paths in the image, to files of this machine or to bytes.

    All are root's and executable. `links` maps symbolic links to what they point at, `open_folders`
    are those that all may write to.
    """

    files: Mapping[str, Path | bytes]
    links: Mapping[str, str] = field(default_factory=dict)
    open_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """How a container of the image starts (OCI image spec, config.md)."""

    command: list[str]
    entrypoint: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    directory: str = "/"
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True)
class Layer:
    """A gzipped tar on this machine, and the digest of the tar (the image's diff ID)."""

    path: Path
    diff_id: str


def layer(content: Files | Path, target: Path) -> Layer:
    """Write the layer of `content`, single files or a whole folder, to `target`."""
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as squeezed:
        hashed = _Hashed(squeezed)
        # A stream: it is hashed as it goes by, and never read again.
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            if isinstance(content, Path):
                tar.add(content, ".", filter=_no_devices)
            else:
                _add_files(tar, content)
        return Layer(target, f"sha256:{hashed.digest.hexdigest()}")


def image(name: str, layers: list[Layer], start: Start, target: Path) -> None:
    """Write an image of `layers`, the lowest first, to `target`: whole or not at all."""
    beside = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(beside, "w") as archive:
            manifest = {
                "schemaVersion": 2,
                "mediaType": f"{_TYPE}.manifest.v1+json",
                "config": _add_json(archive, _config(layers, start), "config"),
                "layers": [_add_blob(archive, layer.path) for layer in layers],
            }
            described = _add_json(archive, manifest, "manifest")
            described["annotations"] = {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name,
            }
            index = {"schemaVersion": 2, "manifests": [described]}
            _add(archive, "index.json", json.dumps(index).encode())
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        beside.rename(target)
    finally:
        beside.unlink(missing_ok=True)


def _config(layers: list[Layer], start: Start) -> dict[str, object]:
    environment = {"PATH": _PATH, **start.environment}
    return {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "User": start.user,
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": start.entrypoint or None,
            "Cmd": start.command,
            "WorkingDir": start.directory,
            "StopSignal": start.stop_signal,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }


class _Hashed:
    """Writes through to `below` and hashes what passes."""

    def __init__(self, below: IO[bytes] | gzip.GzipFile) -> None:
        self._below = below
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._below.write(data)


def _no_devices(about: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if about.isdev() else about


def _add_files(tar: tarfile.TarFile, content: Files) -> None:
    for folder in content.open_folders:
        about = tarfile.TarInfo(folder.lstrip("/"))
        about.type, about.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(about)
    for path, what in content.files.items():
        about = tarfile.TarInfo(path.lstrip("/"))
        about.mode = 0o755
        data = what if isinstance(what, bytes) else what.read_bytes()
        about.size = len(data)
        tar.addfile(about, io.BytesIO(data))
    for path, goal in content.links.items():
        about = tarfile.TarInfo(path.lstrip("/"))
        about.type, about.linkname = tarfile.SYMTYPE, goal
        tar.addfile(about)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))


def _add_json(archive: tarfile.TarFile, thing: object, kind: str) -> dict[str, object]:
    content = json.dumps(thing).encode()
    digest = hashlib.sha256(content).hexdigest()
    _add(archive, f"blobs/sha256/{digest}", content)
    media = f"{_TYPE}.{kind}.v1+json"
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}


def _add_blob(archive: tarfile.TarFile, path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        about = tarfile.TarInfo(f"blobs/sha256/{digest}")
        about.size = path.stat().st_size
        file.seek(0)
        archive.addfile(about, file)
    media = f"{_TYPE}.layer.v1.tar+gzip"
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": about.size}
