"""A terminal that is flooded for a while.

A test floods for two seconds with fifty PINGs in them. The ten minutes of the acceptance list are
`STAGEDOOR_FLOOD_S=600 .venv/bin/pytest tests/web -k test_8`: then a PING comes each 5 s.
"""

import os
import subprocess
import time
from pathlib import Path

from tests.web.outer import attach_command

SHORT_S = 2.0
LONG_S = float(os.environ.get("STAGEDOOR_FLOOD_S", "0")) + 180
"""The bound that the test itself needs."""


def flood_bounds() -> tuple[float, float]:
    """How long it is flooded, and how often a PING comes: seconds."""
    wanted = float(os.environ.get("STAGEDOOR_FLOOD_S", "0"))
    return (wanted, 5.0) if wanted else (SHORT_S, SHORT_S / 50)


def flood(folder: Path, port: int, seconds: float) -> int:
    """By `attach` in a pipe that is read as fast as can be; then Ctrl-C ends it. How many bytes came."""
    process = subprocess.Popen(
        attach_command(folder, port, "app01", "--", "yes", "flood" * 20),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    descriptor = process.stdout.fileno()
    received, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        data = os.read(descriptor, 1 << 20)
        assert data, "it ended by itself"
        received += len(data)
    process.stdin.write(b"\x03")
    process.stdin.flush()
    while data := os.read(descriptor, 1 << 20):
        received += len(data)
    process.stdin.close()
    process.stdout.close()
    assert process.wait(60) == 130
    return received
