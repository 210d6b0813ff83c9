"""Moving data: nothing lost, nothing buffered without bound. `tests/path` has scp, rsync and git."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from stagedoor.model.units import MIB
from tests.fixtures.laptop import Ssh
from tests.pace import allow

SIZE = 24 * MIB
"""Ten times what a channel's window lets be on its way."""


def run(*words: str | Path, input: bytes | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(
        words, input=input, capture_output=True, timeout=allow(110), check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes that compress badly and repeat nowhere near."""
    path = tmp_path_factory.mktemp("bulk") / "bulk"
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for n in range(SIZE // MIB):
            file.write(hashlib.sha256(b"%d" % n).digest() + block[32:])
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_bulk_goes_in_and_comes_back_the_same(config: Path, bulk: Path) -> None:
    with bulk.open("rb") as file:
        sent = subprocess.run(
            ["ssh", "-F", config, "shell", "sha256sum"],
            stdin=file, capture_output=True, timeout=allow(110), check=True,
        )  # fmt: skip
    assert sent.stdout.split()[0].decode() == digest(bulk)
    assert hashlib.sha256(run("ssh", "-F", config, "shell", f"cat {bulk}")).hexdigest() == digest(
        bulk
    )


def test_keys_change_on_the_way_and_nothing_is_lost(config: Path, bulk: Path) -> None:
    got = run("ssh", "-F", config, "-o", "RekeyLimit=3M", "shell", f"cat {bulk}")
    assert got == bulk.read_bytes()


@pytest.mark.parametrize(
    "cipher", ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]
)
def test_each_cipher_carries_data(ssh: Ssh, cipher: str) -> None:
    block = os.urandom(3 * MIB)
    assert ssh("cat", "-c", cipher, input=block).stdout == block


def test_a_client_that_does_not_read_is_not_buffered_for(config: Path) -> None:
    def resident_kib(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])

    pid = int(run("ssh", "-F", config, "shell", "echo $PPID"))
    client = subprocess.Popen(
        ["ssh", "-F", config, "shell", "dd if=/dev/zero bs=1M count=600 2>/dev/null"],
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    try:
        client.stdout.read(MIB)
        before = resident_kib(pid)
        # Whatever the sshd would take from dd without a reader, it takes while others are served.
        for _ in range(10):
            run("ssh", "-F", config, "shell", "true")
        assert resident_kib(pid) - before < 16 * 1024
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


def test_sftp_lists_puts_gets_renames_and_removes(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    there = tmp_path / "there"
    batch = [
        f"mkdir {there}", f"cd {there}", f"put {tmp_path}/file one", "rename one two",
        "chmod 600 two", "symlink two link", f"get two {tmp_path}/back", "ls -la", "df", "rm link",
    ]  # fmt: skip
    shown = run("sftp", "-F", config, "-b", "-", "shell", input="\n".join(batch).encode()).decode()
    assert (tmp_path / "back").read_bytes() == b"content"
    assert "-rw-------" in shown
    assert [path.name for path in there.iterdir()] == ["two"]
