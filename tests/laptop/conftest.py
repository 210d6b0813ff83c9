"""The client as ssh starts it: its own process, an empty home, no proxy variable of this machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pace import allow

TUNNEL = (sys.executable, "-m", "stagedoor", "tunnel")
PATIENCE_S = allow(60.0)

Tunnel = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LOGNAME": "anna"}


@pytest.fixture
def tunnel_to(env: dict[str, str]) -> Tunnel:
    """`tunnel_to(gateway, *options, stdin=b"", **variables)`: one run to app01.ssh, to its end."""

    def run(
        gateway: str, *options: str, stdin: bytes = b"", **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*TUNNEL, "--gateway", gateway, *options, "app01.ssh", "22"],
            input=stdin,
            capture_output=True,
            env=env | variables,
            timeout=PATIENCE_S,
            start_new_session=True,  # without a terminal to ask
        )

    return run
