"""Scenes that a terminal is asked to show: an inner tmux whose windows are splits, vim, htop and mc."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

PROGRAMS = ("vim", "htop", "mc", "vttest")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

_CELLS = r"""
end() { printf '\033[m\n'; }
printf 'CJK 你好 한국 emoji 😀🚀 box ─│┌╬ é ü e\314\201\n'
i=0; while [ $i -lt 256 ]; do printf "\033[48;5;${i}m "; i=$((i+1)); [ $((i%32)) = 0 ] && end; done
i=0; while [ $i -lt 50 ]; do printf "\033[48;2;$((i*5));100;$((250-i*5))m "; i=$((i+1)); done; end
printf '\033[38;2;255;100;0mtrue colour\033[m \033[1;3;4mbold italic\033[m \033[1;31mbold red\033[m\n'
printf '\033[7mreverse\033[m \033[7;32;44mreverse colours\033[m \033[9mstruck\033[m \033[2mdim\033[m\n'
"""
_CONF = """
set -g status-right ''
set -g automatic-rename off
set -g default-terminal tmux-256color
set -as terminal-features ',*:RGB'
set -g escape-time 0
"""


@dataclass
class Scenes:
    """The inner tmux. What shows it runs `attach`."""

    folder: Path

    def tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-S", self.folder / "inner", "-f", self.folder / "conf", *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LANG": "C.UTF-8", "TMUX": "", "HOME": str(self.folder)},
        ).stdout

    @property
    def attach(self) -> str:
        """The command, for a shell."""
        return f"exec tmux -u -S {self.folder / 'inner'} attach -t x"

    def start(self) -> None:
        """All windows, of 120 by 40 with the status line, drawn and at rest."""
        (self.folder / "conf").write_text(_CONF)
        cells = self.folder / "cells.sh"
        cells.write_text(_CELLS)
        files = self.folder / "files"
        files.mkdir()
        for name in ("one.txt", "zwei-é.txt", "你好.txt"):
            (files / name).write_text(name)
            os.utime(files / name, (1e9, 1e9))
        show = f"sh {cells}; exec sleep 600"
        self.tmux("new-session", "-d", "-x", "120", "-y", "40", "-s", "x", "-n", "splits", show)
        self.tmux("split-window", "-t", "x:splits", "-h", show)
        self.tmux("split-window", "-t", "x:splits", "-v", f"sh {cells}; exec sleep 600")
        vim = f"vim -u NONE -N -c 'syntax on' -c 'set number' -c 'set list' {cells}"
        self.tmux("new-window", "-t", "x", "-n", "vim", vim)
        self.tmux("new-window", "-t", "x", "-n", "htop", "htop -d 100; :")
        self.tmux("new-window", "-t", "x", "-n", "mc", f"exec mc -u -d {files} {self.folder}")
        for window, text in (
            ("splits", "struck"),
            ("vim", "printf"),
            ("htop", "Quit"),
            ("mc", "10Quit"),
        ):
            wait_until(lambda: text in self.tmux("capture-pane", "-p", "-t", f"x:{window}"))  # noqa: B023
        # It would go on, and what is compared has to stand still. A child of its own tmux lets go on.
        shell = self.tmux("display", "-p", "-t", "x:htop", "#{pane_pid}").strip()
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text()
        os.kill(int(children), signal.SIGSTOP)

    def show(self, window: str) -> None:
        """Go there, and draw all of it again: of what a terminal can do a client may hear late."""
        self.tmux("select-window", "-t", f"x:{window}")
        for client in self.tmux("list-clients", "-F", "#{client_name}").split():
            self.tmux("refresh-client", "-t", client)

    def stop(self) -> None:
        subprocess.run(
            ["tmux", "-S", self.folder / "inner", "kill-server"], capture_output=True, check=False
        )


WINDOWS = ("splits", "vim", "htop", "mc")
