"""Speed and memory of one file's upload and download through the WebShell's HTTP.

python bench/files.py [MIB]      # default 1024 MiB; it starts its own gateway and shell

For comparison, scp moves the same bytes by direct login: the same gateway and sftp, without HTTP.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.path.gateway import Gateway
from tests.web.mover import MIB, Mover, Sent, content, digest, digest_of

SETTINGS = """
[web]
addresses = ["127.0.0.1:0"]

[ssh]
addresses = ["127.0.0.1:0"]
host_names = ["127.0.0.1"]

[[shells.local]]
app = "app01"
"""


def memory(pid: int, what: str) -> int:
    """Return VmRSS or VmHWM of a process, in KiB."""
    match = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


@contextmanager
def timed(name: str, size: int, pid: int) -> Iterator[None]:
    """Measure the block, which moves `size` bytes, and print its time, speed and memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the high-water mark (proc(5))
    before, began = memory(pid, "VmRSS"), time.monotonic()
    yield
    took = time.monotonic() - began
    grown = memory(pid, "VmHWM") - before
    print(f"{name:10} {took:6.1f} s  {size / MIB / took:6.1f} MiB/s  worker +{grown} KiB at most")


def main() -> None:
    """Run the benchmark."""
    size = int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 1024 * MIB
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gateway = Gateway(folder, SETTINGS)
        gateway.add_user("dev", "app01")
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True
        )
        gateway.command("key", "add", "dev", str(folder / "id.pub"))
        gateway.start()
        try:
            expected = digest(content(size))
            mover = Mover(gateway.port("web"))
            mover.about("")
            (pid,) = gateway.worker_pids()
            sent = Sent(folder, b"up", size)
            with timed("upload", size, pid):
                answer = mover.pour(sent, mover.offset(sent))
            assert answer is not None
            assert answer.status == 200, answer.body
            assert digest_of(folder / "up") == expected
            with timed("download", size, pid):
                line = mover.connect()
                path = mover.files(f"path={quote(str(folder / 'up'))}")
                line.request("GET", path, headers=mover.headers("GET"))
                response = line.getresponse()
                received = digest(iter(lambda: response.read(MIB), b""))
                line.close()
            assert received == expected
            scp = [
                "scp", "-q", "-P", str(gateway.port("ssh")), "-i", str(folder / "id"),
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "BatchMode=yes",
            ]  # fmt: skip
            with timed("scp up", size, pid):
                subprocess.run([*scp, folder / "up", f"app01@127.0.0.1:{folder}/scp"], check=True)
            with timed("scp down", size, pid):
                subprocess.run([*scp, f"app01@127.0.0.1:{folder}/scp", folder / "down"], check=True)
            print(f"{size} bytes each way, SHA-256 {expected[:16]}… equal")
        finally:
            gateway.stop()
            gateway.stop_shells()


if __name__ == "__main__":
    main()
