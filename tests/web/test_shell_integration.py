"""The lines of the how-to, read by real shells: their prompts are marked, and exit codes arrive."""

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.fixtures.shell import InteractiveShell

PAGE = (ROOT / "docs/how-to/shell-integration.md").read_text(encoding="utf-8")
FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


@pytest.mark.parametrize("name", FILES)
def test_prompts_are_marked_and_exit_codes_arrive(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"as root: apt-get install {name}")
    [lines] = re.findall(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / FILES[name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(lines)
    shell = InteractiveShell(name, tmp_path)
    try:
        shell.until(rb"\x1b\]133;A[^\a]*\a")
        shell.type("cd / && sh -c 'exit 7'\r")
        shell.until(rb"\x1b\]133;C[^\a]*\a")
        assert b"D;7" in shell.until(rb"\x1b\]133;D[^\a]*\a")
        assert re.fullmatch(rb"\x1b\]7;file://[^/]*/\a", shell.until(rb"\x1b\]7;[^\a]*\a"))
        shell.until(rb"\x1b\]133;A[^\a]*\a")
        shell.type("true\r")
        shell.until(rb"\x1b\]133;C[^\a]*\a")
        assert b"D;0" in shell.until(rb"\x1b\]133;D[^\a]*\a")
    finally:
        shell.close_terminal()
