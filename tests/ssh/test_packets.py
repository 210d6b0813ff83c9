"""Packets that no honest client sends, the same each time; `fuzz/ssh_packets.py` goes on with others."""

import subprocess
import sys

from tests.docs.pages import ROOT
from tests.pace import allow


def test_odd_packets_before_and_after_a_login_do_no_harm() -> None:
    """Some clients are waited for: all take five seconds."""
    command = [sys.executable, str(ROOT / "fuzz" / "ssh_packets.py")]
    command += ["--seed", "1", "--clients", "60", "--seconds", f"{allow(100):g}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=allow(110), check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "well-behaved logins" in done.stdout
