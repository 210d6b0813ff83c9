"""A small disk of a test's own, which can be filled to the last byte and kept so."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE_MIB = 24


class SmallDisk:
    """A tmpfs at `folder`. What `fill` starts takes each byte that becomes free, as a program that
    logs without end does, until `free`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        self._eating: threading.Thread | None = None
        self._enough = threading.Event()
        self._full = threading.Event()

    def fill(self) -> None:
        """Return once nothing is left."""
        self._enough.clear()
        self._full.clear()
        self._eating = threading.Thread(target=self._eat, daemon=True)
        self._eating.start()
        assert self._full.wait(60)

    def is_full(self) -> bool:
        return os.statvfs(self.folder).f_bavail == 0

    def _eat(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            while not self._enough.is_set():
                try:
                    file.write(b"\0" * 4096)
                except OSError:
                    self._full.set()
                    self._enough.wait(0.0005)

    def free(self) -> None:
        self._enough.set()
        if self._eating is not None:
            self._eating.join(60)
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int = SIZE_MIB) -> Iterator[SmallDisk]:
    folder.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "tmpfs", folder],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.free()
        subprocess.run(["umount", "--lazy", folder], check=True)
