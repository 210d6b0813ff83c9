"""Programs of several versions, and a gateway that runs the one that is installed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stagedoor.serve.supervisor.gateway_file import GatewayNote, read_notes
from tests.fixtures.gateway import PATIENCE_S, Gateway
from tests.missing import missing
from tests.waiting import wait_until

SOURCE = Path(__file__).resolve().parents[2] / "src/stagedoor"


class Programs:
    """A folder of programs, and a link to the one that is installed.

    An installation is replaced at once by the next, as by a link to a folder for each version.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.link = folder / "installed"

    def make(self, version: str, source: Path = SOURCE, **edits: tuple[str, str]) -> None:
        """Make a program of this version. An edit replaces a text in a module, `serve__worker` for one."""
        place = self._folder / version / "stagedoor"
        # With what is compiled, but for drafts of it that another process may be about to rename.
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("*.pyc.*"))
        _replace(place / "__init__.py", r'^__version__ = ".*"$', f'__version__ = "{version}"')
        for module, (before, after) in edits.items():
            _replace(place / f"{module.replace('__', '/')}.py", re.escape(before), after)

    def make_commit(self, version: str, commit: str) -> None:
        """Make a program of the tree of a commit, with today's built pages."""
        tree = self._folder / commit
        tree.mkdir()
        archive = subprocess.run(
            ["git", "-C", SOURCE.parents[1], "archive", f"{commit}:src/stagedoor"],
            capture_output=True,
        )
        if archive.returncode:
            missing(f"git fetch --unshallow  # {archive.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
        pages = Path("listeners/web/static")
        if (SOURCE / pages).is_dir():
            shutil.copytree(SOURCE / pages, tree / pages)
        self.make(version, tree)

    def install(self, version: str) -> None:
        draft = self.link.with_name("draft")
        draft.symlink_to(self._folder / version)
        draft.replace(self.link)


class UpgradedGateway(Gateway):
    """A gateway of the program that is installed."""

    def __init__(
        self, folder: Path, programs: Programs, settings: str = "", *, workers: int = 1
    ) -> None:
        self.programs = programs
        self.environment = {"PYTHONPATH": str(programs.link)}
        super().__init__(folder, settings, workers=workers)

    def notes(self) -> list[GatewayNote]:
        """Return the notes of all supervisors that run, those with sessions of the past too."""
        return list(read_notes(self.data_dir).values())

    def current(self) -> GatewayNote:
        [note] = [note for note in self.notes() if not note.retired]
        return note

    def upgrade(self, version: str, *options: str) -> dict[str, Any]:
        """Install another program and hand over to it; return what the command prints."""
        self.programs.install(version)
        done = self.command("upgrade", "--json", *options, check=False)
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return {**answer, "code": done.returncode, "stderr": done.stderr}

    @contextlib.contextmanager
    def of_version(self, version: str) -> Iterator[None]:
        """Run commands of this version meanwhile, whichever is installed."""
        before = self.environment
        self.environment = {"PYTHONPATH": str(self.programs.link.with_name(version))}
        yield
        self.environment = before

    def begin_upgrade(self, version: str) -> "subprocess.Popen[str]":
        """Install another program and begin to hand over to it."""
        self.programs.install(version)
        return subprocess.Popen(
            [sys.executable, "-m", "stagedoor", "--config", self.file, "upgrade"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )

    def stop(self) -> int:
        if self.process is not None and self.process.poll() is not None:
            self._stop_others()
        try:
            return super().stop()
        finally:
            self._stop_others()

    def _stop_others(self) -> None:
        """End supervisors whose first was killed."""
        for note in self.notes():
            for _ in range(2):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(note.pid, signal.SIGTERM)
        wait_until(lambda: not self.notes(), PATIENCE_S)


def _replace(file: Path, pattern: str, text: str) -> None:
    """Replace the one place in a file that matches `pattern`."""
    source, places = re.subn(pattern, lambda _: text, file.read_text(), flags=re.MULTILINE)
    assert places == 1, (file, pattern)
    file.write_text(source)


def children(pid: int) -> list[int]:
    """Return the child processes, none if it has ended."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[tuple[int, str]]:
    """Yield the exit code and stderr of a command, once it has ended."""
    _, stderr = process.communicate(timeout=PATIENCE_S)
    yield process.returncode, stderr
