"""Key files: one key however many start at once, and none that others could read."""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stagedoor.keys.files import (
    KeyFileError,
    format_public_line,
    load,
    load_or_create,
    read_public_line,
)

MAKE = """
import sys
from pathlib import Path
from stagedoor.keys.files import load_or_create, format_public_line
sys.stdin.readline()
print(format_public_line(load_or_create(Path(sys.argv[1]))))
"""


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "user_ca"
    key = load_or_create(path, "user CA")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert format_public_line(load_or_create(path)) == format_public_line(key)
    assert (path.parent / "user_ca.pub").read_text() == f"{format_public_line(key)} user CA\n"
    assert sorted(p.name for p in path.parent.iterdir()) == ["user_ca", "user_ca.pub"]


def test_openssh_reads_the_key_and_we_read_openssh_s(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    key = load_or_create(ours)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", ours], check=True, capture_output=True, text=True
    )
    assert shown.stdout.split()[:2] == format_public_line(key).split()
    theirs = tmp_path / "theirs"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", theirs], check=True)
    expected = (tmp_path / "theirs.pub").read_text().split()[:2]
    assert format_public_line(load(theirs)).split() == expected


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "host_ca"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("\n")
        start.stdin.flush()
    lines = {start.communicate(timeout=60)[0] for start in starts}
    assert all(start.returncode == 0 for start in starts)
    assert lines == {format_public_line(load(path)) + "\n"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o601])
def test_a_key_that_others_could_use_is_refused_with_what_mends_it(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "user_ca"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}.*chmod 600 {path}"):
        load_or_create(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["-t", "rsa", "-b", "2048", "-N", ""], "not an ed25519"), (["-N", "secret"], "passphrase")],
)
def test_another_kind_of_key_is_refused(tmp_path: Path, options: list[str], said: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", *options, "-f", path], check=True)
    with pytest.raises(KeyFileError, match=said):
        load(path)


@pytest.mark.parametrize("content", [b"", b"not a key\n", b"\x00" * 100, b"-----BEGIN"])
def test_a_damaged_key_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="no OpenSSH private key"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="cannot"):
        load_or_create(tmp_path / "file" / "key")


def test_pkcs8_is_read_as_helm_and_openssl_write_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    path.chmod(0o600)
    key = load(path)
    shown = subprocess.run(
        ["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    # RFC 8410: the last 32 bytes of the SubjectPublicKeyInfo; the last of an OpenSSH blob as well.
    assert base64.b64decode(format_public_line(key).split()[1])[-32:] == shown.stdout[-32:]


def test_another_pkcs8_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed448", "-out", path], check=True)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not an ed25519"):
        load(path)


LOAD = """
import os, sys
from pathlib import Path
from stagedoor.keys.files import load, KeyFileError
# Only now: others may not be let into the folder of this interpreter.
os.setgroups([int(group) for group in sys.argv[2:]])
os.setgid(65532)
os.setuid(65532)
try:
    load(Path(sys.argv[1]))
except KeyFileError as error:
    print(error)
else:
    print("loaded")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root's files are the matter")
@pytest.mark.parametrize(
    ("mode", "groups", "said"),
    [
        (0o440, [4242], "loaded"),
        (0o640, [4242], "loaded"),
        (0o444, [4242], "can be used by others"),
        (0o660, [4242], "can be used by others"),
        (0o440, [], "cannot read"),
    ],
)
def test_a_group_of_ours_may_read_what_is_roots(
    tmp_path: Path, mode: int, groups: list[int], said: str
) -> None:
    """As kubelet mounts a Secret for a pod with `fsGroup`: root's, the group's to read."""
    with tempfile.TemporaryDirectory(prefix="stagedoor-") as name:  # tmp_path is closed to others
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "user_ca"
        load_or_create(path)
        os.chown(path, 0, 4242)
        path.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", LOAD, path, *map(str, groups)],
            capture_output=True,
            text=True,
        )
    assert said in done.stdout, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_in_a_folder_of_the_gateways_account_is_that_accounts_and_root_can_use_it(
    tmp_path: Path,
) -> None:
    """An administrator shows the CA before the gateway's first start, and afterwards."""
    os.chown(tmp_path, 4242, 4243)
    path = tmp_path / "keys" / "host_ca"
    key = load_or_create(path)
    for made in (path.parent, path, path.with_name("host_ca.pub")):
        assert (made.stat().st_uid, made.stat().st_gid) == (4242, 4243), made
    assert format_public_line(load(path)) == format_public_line(key)
    os.chown(path, 4244, 4243)
    with pytest.raises(KeyFileError, match="belongs to another user"):
        load(path)


def test_a_public_file_is_read_without_its_comment(tmp_path: Path) -> None:
    key = load_or_create(tmp_path / "ca", "a comment")
    assert read_public_line(tmp_path / "ca.pub") == format_public_line(key)
    for content in ("", "ssh-ed25519", "ssh-ed25519 AAAA", "hello world", "\u00e4 \u00f6"):
        (tmp_path / "bad.pub").write_text(content)
        with pytest.raises(KeyFileError, match="holds no OpenSSH public key"):
            read_public_line(tmp_path / "bad.pub")
    with pytest.raises(KeyFileError, match="No such file"):
        read_public_line(tmp_path / "none.pub")
