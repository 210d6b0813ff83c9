"""A fault of the program takes one line, and a traceback is shown only on request."""

import os
import subprocess
import sys

import pytest

BROKEN = """
from stagedoor.cli import app
app.COMMANDS["audit"] = "stagedoor.cli.nowhere"
import sys; sys.argv = ["stagedoor", "audit"]
app.run()
"""


@pytest.mark.parametrize("asked", [False, True])
def test_a_fault_of_ours_is_one_line_unless_asked_for_more(asked: bool) -> None:
    env = {**os.environ, **({"STAGEDOOR_TRACEBACK": "1"} if asked else {})}
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, env=env, timeout=60
    )
    assert ("Traceback" in done.stderr) == asked
    if not asked:
        assert done.returncode == 70
        assert done.stderr.startswith("stagedoor: a fault in stagedoor: ModuleNotFoundError")
        assert done.stderr.count("\n") == 1
