import subprocess
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError
from tests.cli.conftest import Desk
from tests.fixtures.laptop import new_key


def make_key(folder: Path, name: str, *options: str) -> Path:
    """The public half of a new key."""
    return new_key(folder / name, *options).with_suffix(".pub")


def test_a_key_is_registered_listed_and_removed(alice: Desk, tmp_path: Path) -> None:
    file = make_key(tmp_path, "laptop")
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    assert alice.out("key", "add", "alice", str(file)) == f"{fingerprint} laptop\n"
    assert alice.json("key", "list", "alice") == [
        {"user": "alice", "type": "ssh-ed25519", "fingerprint": fingerprint, "comment": "laptop"}
    ]
    alice.out("key", "remove", fingerprint)
    assert alice.json("key", "list") == []
    with pytest.raises(NotFoundError):
        alice.out("key", "remove", fingerprint)


def test_all_keys_of_an_agent_come_by_stdin(alice: Desk, tmp_path: Path) -> None:
    keys = [make_key(tmp_path, name).read_text() for name in ("one", "two")]
    alice.out("key", "add", "alice", "-", stdin="# mine\n\n" + "".join(keys))
    assert {row["comment"] for row in alice.json("key", "list")} == {"one", "two"}


def test_of_several_keys_all_are_taken_or_none(
    alice: Desk, service: AdminService, tmp_path: Path
) -> None:
    good = make_key(tmp_path, "good").read_text()
    with pytest.raises(RefusedError):
        alice.out("key", "add", "alice", "-", stdin=good + "ssh-dss AAAAB3NzaC1kc3M= old\n")
    assert admin.read_policy(service).keys == {}


def test_weak_keys_are_refused_with_the_reason(alice: Desk, tmp_path: Path) -> None:
    weak = make_key(tmp_path, "weak", "-t", "rsa", "-b", "1024")
    with pytest.raises(RefusedError, match="1024 bits is too weak"):
        alice.out("key", "add", "alice", str(weak))
    with pytest.raises(RefusedError, match="DSA"):
        alice.out("key", "add", "alice", "-", stdin="ssh-dss AAAAB3NzaC1kc3M= old\n")


def test_a_revoked_key_is_refused_and_so_is_every_key_where_that_is_not_known(
    alice: Desk, tmp_path: Path
) -> None:
    bad, good = (make_key(tmp_path, name) for name in ("bad", "good"))
    revoked = tmp_path / "revoked"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", revoked, bad], check=True)
    with alice.settings_file.open("a") as file:
        file.write(f'[ssh]\nrevoked_keys_file = "{revoked}"\n')
    with pytest.raises(RefusedError, match=r"was revoked \(ssh.revoked_keys_file\)"):
        alice.out("key", "add", "alice", "-", stdin=good.read_text() + bad.read_text())
    assert alice.json("key", "list") == [], "all are taken, or none"
    alice.out("key", "add", "alice", str(good))
    revoked.unlink()
    with pytest.raises(RefusedError, match="cannot be read"):
        alice.out("key", "add", "alice", str(make_key(tmp_path, "other")))


def test_a_private_key_given_by_mistake_is_refused_and_not_repeated(
    alice: Desk, tmp_path: Path
) -> None:
    file = make_key(tmp_path, "oops").with_suffix("")
    with pytest.raises(RefusedError) as e:
        alice.out("key", "add", "alice", str(file))
    body = file.read_text().splitlines()[1]
    assert body not in str(e.value)


def test_one_key_cannot_be_two_users(alice: Desk, tmp_path: Path) -> None:
    file = make_key(tmp_path, "laptop")
    alice.out("user", "add", "bob", "--no-password")
    alice.out("key", "add", "alice", str(file))
    with pytest.raises(ConflictError, match="registered already, for alice"):
        alice.out("key", "add", "bob", str(file))


@pytest.mark.parametrize("junk", ["", "\xff\xfe", "hello\n", "\x00" * 10])
def test_what_is_no_key_is_refused(alice: Desk, junk: str) -> None:
    result = alice.run("key", "add", "alice", "-", stdin=junk)
    assert isinstance(result.exception, RefusedError)
