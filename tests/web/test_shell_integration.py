"""The lines of the how-to, read by real shells: their prompts are marked, and exit codes arrive."""

import os
import pty
import re
import select
import shutil
import time
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/how-to/shell-integration.md").read_text(encoding="utf-8")
FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
BOUND_S = 20.0


class Shell:
    """An interactive shell in a terminal of its own, whose home has the lines for it."""

    def __init__(self, name: str, home: Path) -> None:
        [lines] = re.findall(rf"```{name}\n(.*?)```", PAGE, re.DOTALL)
        file = home / FILES[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lines)
        pid, self._line = pty.fork()
        if pid == 0:
            os.chdir(home)
            environment = {"HOME": str(home), "TERM": "xterm-256color", "PATH": os.environ["PATH"]}
            os.execvpe(name, [name, "-i"], environment)
        self.pid = pid
        self._seen = b""

    def type(self, text: str) -> None:
        os.write(self._line, text.encode())

    def until(self, pattern: bytes) -> bytes:
        """Return what matches first in the output since the last match."""
        deadline = time.monotonic() + BOUND_S
        while (match := re.search(pattern, self._seen)) is None:
            ready, _, _ = select.select([self._line], [], [], max(0, deadline - time.monotonic()))
            assert ready, self._seen
            self._seen += os.read(self._line, 65536)
            # fish asks its terminal what it is, and waits for the answer.
            if b"\x1b[c" in self._seen or b"\x1b[0c" in self._seen:
                self._seen = self._seen.replace(b"\x1b[c", b"").replace(b"\x1b[0c", b"")
                os.write(self._line, b"\x1b[?62;c")
        self._seen = self._seen[match.end() :]
        return match[0]

    def close_terminal(self) -> None:
        os.close(self._line)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("name", FILES)
def test_prompts_are_marked_and_exit_codes_arrive(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"as root: apt-get install {name}")
    shell = Shell(name, tmp_path)
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
