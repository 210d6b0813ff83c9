"""Reproducible archives: members are sorted by name and have the time of the release."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def add_file(archive: tarfile.TarFile, name: str, content: bytes, at: int) -> None:
    """Add a file to an archive. `at` is its time, seconds since the epoch."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), at, 0o644
    archive.addfile(member, io.BytesIO(content))


def write_tar_gz(target: Path, files: Iterable[tuple[str, bytes]], at: int) -> Path:
    """Write files, as pairs of name and content, in the given order; return `target`."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files:
            add_file(archive, name, content, at)
    return target


def files_of(folder: Path) -> Iterable[tuple[str, bytes]]:
    """Yield the files of a folder, sorted, as pairs of relative name and content."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file.relative_to(folder).as_posix(), file.read_bytes()
