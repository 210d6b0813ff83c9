"""Packets that no honest client sends, for some seconds; `fuzz/ssh_packets.py` alone goes on longer."""

import subprocess
import sys

from tests.docs.pages import ROOT


def test_odd_packets_before_and_after_a_login_harm_nobody() -> None:
    command = [sys.executable, str(ROOT / "fuzz" / "ssh_packets.py"), "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "well-behaved logins" in done.stdout
