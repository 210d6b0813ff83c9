"""Time is an argument below the edge: no stage reads the clock of the machine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "stagedoor"
PACKAGES = (
    "admin", "audit", "authn", "authz", "listeners", "model", "oidc", "recording", "relay", "session",
    "store", "wire",
)  # fmt: skip


def calls_of_time(source: str) -> list[int]:
    """Return the lines that call `time.time()`."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.time"
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stage_is_given_the_time(package: str) -> None:
    files = [*(ROOT / package).rglob("*.py")]
    assert files
    calls = {str(f.relative_to(ROOT)): calls_of_time(f.read_text()) for f in files}
    assert {file: lines for file, lines in calls.items() if lines} == {}


def test_a_call_is_found() -> None:
    assert calls_of_time(
        "import time\n\ndef f(now=time.time):\n    return now() + time.time()\n"
    ) == [4]
