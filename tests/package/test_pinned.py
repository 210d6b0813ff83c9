"""The scripts pin what they install from the Python index by hash, against a change on its way."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ("script/environment.sh", "deploy/image/Dockerfile")


def installs(text: str) -> list[str]:
    """The commands that have pip install something, each on one line."""
    joined = re.sub(r"\\\n\s*", " ", text)
    parts = [re.split(r"&&|\|\||;", line) for line in joined.splitlines()]
    return [
        part.strip() for line in parts for part in line if re.search(r"\bpip\b.* install ", part)
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_pip_install_is_by_hash_or_takes_nothing_from_the_index(script: str) -> None:
    commands = installs((ROOT / script).read_text())
    assert commands
    for command in commands:
        by_hash = "--require-hashes" in command
        nothing = "--no-deps" in command and (
            "--no-index" in command or "--no-build-isolation" in command
        )
        assert by_hash or nothing, command


def test_what_makes_the_environment_is_pinned_for_every_machine_that_has_a_wheel() -> None:
    text = (ROOT / "script/bootstrap.txt").read_text()
    for name in ("uv", "hatchling", "editables"):
        assert re.search(rf"^{name}==[0-9.]+ \\$", text, re.MULTILINE)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text)) > 10
