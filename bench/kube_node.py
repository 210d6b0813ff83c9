"""What the node's containerd wrote down of one pod's start: when each of its steps was over."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from stagedoor.shells.kubernetes.names import CONTAINER

STEPS = ("volumes", "sandbox", "kit", "shell")
"""The kubelet asks for the sandbox; it is there; the kit was copied; the shell's container runs."""

_TIME = re.compile(r'time="([^"Z]{26})\d*Z"')


class NodeLog:
    """containerd's log from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._from = file.stat().st_size

    def read(self, pod: str) -> dict[str, float]:
        """The end of each of STEPS that is there, in seconds since the epoch."""
        found: dict[str, float] = {}
        sandbox = shell = "none yet"
        for at, line in self._lines():
            if f'RunPodSandbox for name:\\"{pod}\\"' in line:
                named = re.search(r'returns sandbox id \\"(\w+)', line)
                sandbox = named[1] if named else sandbox
                found["sandbox" if named else "volumes"] = at
            elif f'name:\\"{CONTAINER}\\"' in line and sandbox in line:
                named = re.search(r'returns container id \\"(\w+)', line)
                shell = named[1] if named else shell
                if not named:
                    found["kit"] = at
            elif f'StartContainer for \\"{shell}\\" returns' in line:
                found["shell"] = at
        return found

    def _lines(self) -> Iterator[tuple[float, str]]:
        with self._file.open("rb") as log:
            log.seek(self._from)
            for line in log.read().decode(errors="replace").splitlines():
                if when := _TIME.match(line):
                    yield datetime.fromisoformat(f"{when[1]}+00:00").timestamp(), line
