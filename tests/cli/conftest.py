import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stagedoor.admin.service import AdminService, open_service
from stagedoor.cli.app import stagedoor


@dataclass
class Desk:
    """An administrator at a terminal, or a script, in one installation."""

    settings_file: Path
    data_dir: Path

    def run(self, *argv: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            stagedoor,
            ["--config", str(self.settings_file), *argv],
            input=stdin,
            standalone_mode=False,
        )

    def out(self, *argv: str, stdin: str | None = None) -> str:
        """Return what a command that works prints on stdout."""
        result = self.run(*argv, stdin=stdin)
        if result.exception:
            raise result.exception
        return result.stdout

    def notes(self, *argv: str) -> str:
        """Return what a command that works prints on stderr."""
        result = self.run(*argv)
        if result.exception:
            raise result.exception
        return result.stderr

    def json(self, *argv: str) -> Any:
        return json.loads(self.out(*argv, "--json"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    file = tmp_path / "stagedoor.toml"
    data_dir = tmp_path / "data"
    file.write_text(f'data_dir = "{data_dir}"\n')
    return Desk(file, data_dir)


@pytest.fixture
def alice(desk: Desk) -> Desk:
    """An installation in which there is a user alice, who has no password."""
    desk.out("user", "add", "alice", "--no-password")
    return desk


@pytest.fixture
def service(alice: Desk) -> Iterator[AdminService]:
    with open_service(alice.data_dir, clock=time.time) as opened:
        yield opened
