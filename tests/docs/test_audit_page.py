"""The page on the audit elsewhere: its commands, as a shell runs them, one block after the other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, desk
from tests.docs import pages

PAGE = pages.ROOT / "docs/how-to/audit.md"
__all__ = ["desk"]


def test_the_commands_work_in_their_order(desk: Desk, tmp_path: Path) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    desk.out("user", "add", "alice", "--no-password")
    blocks = [block.text for block in pages.blocks("sh") if block.page == PAGE]
    script = "\n".join(["set -euo pipefail", *blocks])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "STAGEDOOR_CONFIG": str(desk.settings_file)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "confirmed up to seq 1" in done.stdout
    assert 'Good "stagedoor-audit" signature for gateway with ED25519 key' in done.stdout
