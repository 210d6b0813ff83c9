"""The use of ssh that VS Code's Remote-SSH makes, without VS Code.

It runs a command without a terminal, which starts a server on a free port of the shell's loopback and
prints the port; then it reaches that server by a SOCKS forward of the same ssh (`-D`), or by a port
forward of another one (`-L`). The command stays as long as the editor does.
"""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.fixtures.laptop import Laptop
from tests.ports import free_port
from tests.stopped import killed
from tests.waiting import BOUND_S, wait_until

# As the installer's script does: in the background, out of the way of the command's output.
_SCRIPT = """
python3 - > "$FOLDER/port" 2>/dev/null <<'END' &
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        visitor, _ = server.accept()
        with visitor:
            visitor.recv(100)
            visitor.sendall(b"hello from the editor's server")
END
started=$!
trap 'kill $started' EXIT
until [ -s "$FOLDER/port" ]; do sleep 0.05; done
echo "listeningOn==$(cat "$FOLDER/port")=="
cat
"""


def talk_to_editor(laptop: Laptop, option: str, *to: str) -> bytes:
    """Return what the server says, reached by `-D` or by `-L`."""
    near = free_port()
    folder = laptop.folder / f"editor{near}"
    folder.mkdir()
    forward = ["-D", str(near)] if option == "-D" else []
    with _command(laptop, folder, *forward, *to) as port:
        if option == "-D":
            return _by_socks(near, port)
        with _forward(laptop, near, port, *to):
            return _asked(near)


@contextlib.contextmanager
def _command(laptop: Laptop, folder: Path, *words: str) -> Iterator[int]:
    """Yield the port that the command's server listens on; the command ends with its input."""
    process = subprocess.Popen(
        ["ssh", "-F", laptop.config(), "-T", *words, f"FOLDER={folder} sh"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    with killed(process):
        process.stdin.write(_SCRIPT.encode())
        process.stdin.flush()
        line = process.stdout.readline().decode()
        yield int(line.split("==")[1])
        process.stdin.close()
        process.stdin = None
        assert process.wait(BOUND_S) == 0


@contextlib.contextmanager
def _forward(laptop: Laptop, near: int, far: int, *to: str) -> Iterator[None]:
    command = ["ssh", "-F", laptop.config(), "-N", "-L", f"{near}:127.0.0.1:{far}", *to]
    process = subprocess.Popen(command)
    with killed(process):
        wait_until(lambda: _listening(near))
        yield


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def _asked(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), BOUND_S) as sock:
        return _said(sock)


def _said(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /")
    return b"".join(iter(lambda: sock.recv(1000), b""))


def _by_socks(near: int, far: int) -> bytes:
    """RFC 1928, without a login."""
    with socket.create_connection(("127.0.0.1", near), BOUND_S) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(2) == b"\x05\x00"
        sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + far.to_bytes(2, "big"))
        assert sock.recv(10)[1] == 0
        return _said(sock)
