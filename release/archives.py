"""Archives that are the same bytes each time: in the order of names, with the times of the release."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def add_file(archive: tarfile.TarFile, name: str, content: bytes, at: int) -> None:
    """`at` is its time, seconds since the epoch."""
    about = tarfile.TarInfo(name)
    about.size, about.mtime, about.mode = len(content), at, 0o644
    archive.addfile(about, io.BytesIO(content))


def write_tar_gz(made: Path, files: Iterable[tuple[str, bytes]], at: int) -> Path:
    """Names with their content, as they come."""
    with (
        made.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files:
            add_file(archive, name, content, at)
    return made


def files_of(folder: Path) -> Iterable[tuple[str, bytes]]:
    """Each file of a folder by its name in there, in the order of names."""
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        yield file.relative_to(folder).as_posix(), file.read_bytes()
