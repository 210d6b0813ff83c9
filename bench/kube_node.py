"""The times of the steps of a pod's start, from the node's containerd log."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from stagedoor.shells.kubernetes.names import CONTAINER

STEPS = ("volumes", "sandbox", "kit", "shell")
"""The steps end when the kubelet requests the sandbox, the sandbox exists, the kit was copied, and the
shell's container runs."""

_TIME = re.compile(r'time="([^"Z]{26})\d*Z"')


class NodeLog:
    """The part of containerd's log that is written from now on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._from = file.stat().st_size

    def read(self, pod: str) -> dict[str, float]:
        """Return the end of each of STEPS that the log has for a pod, in seconds since the epoch."""
        ends: dict[str, float] = {}
        sandbox = shell = "none yet"
        for at, line in self._lines():
            if f'RunPodSandbox for name:\\"{pod}\\"' in line:
                match = re.search(r'returns sandbox id \\"(\w+)', line)
                sandbox = match[1] if match else sandbox
                ends["sandbox" if match else "volumes"] = at
            elif f'name:\\"{CONTAINER}\\"' in line and sandbox in line:
                match = re.search(r'returns container id \\"(\w+)', line)
                shell = match[1] if match else shell
                if not match:
                    ends["kit"] = at
            elif f'StartContainer for \\"{shell}\\" returns' in line:
                ends["shell"] = at
        return ends

    def _lines(self) -> Iterator[tuple[float, str]]:
        with self._file.open("rb") as log:
            log.seek(self._from)
            for line in log.read().decode(errors="replace").splitlines():
                if when := _TIME.match(line):
                    yield datetime.fromisoformat(f"{when[1]}+00:00").timestamp(), line
