"""People who signed in come by stock OpenSSH, by the key of the sign-in or its certificate, until it ends."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import Laptop, new_key, open_laptop, public
from tests.fixtures.people import log_in_at
from tests.keys.test_ca import shown
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("openssh")
SOON_S = 5.0


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """`alice` has no key, password or token; `dev` has a key that an administrator registered."""
    settings = SSH_TABLE + local("app01")
    with open_laptop(tmp_path_factory.mktemp("sign-ins"), settings) as one:
        with one.gateway.changed() as service:
            admin.add_user(service, "alice", groups=["crew"])
            admin.add_grant(service, "group:crew", "app01")
        yield one


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "laptop")


def certificate(laptop: Laptop, key: Path) -> Path:
    """Return a copy of the key with its certificate, as a person makes it by `cert`."""
    done = laptop.ssh("gw", "cert", config=laptop.config(key=key, user="alice"), check=True)
    copy = key.with_name("certified")
    copy.write_bytes(key.read_bytes())
    copy.chmod(0o600)
    copy.with_name("certified-cert.pub").write_bytes(done.stdout)
    return copy


def audit(laptop: Laptop, kind: str) -> list[dict[str, object]]:
    return [event for event in laptop.gateway.audit() if event["kind"] == kind]


@pytest.mark.identity(16, 21)
def test_the_key_of_a_sign_in_enters_every_way(laptop: Laptop, key: Path) -> None:
    log_in_at(laptop.gateway, "alice", key)
    config = laptop.config(key=key, user="alice")
    for words in (("app01.ssh",), ("app01@gw",)):
        done = laptop.ssh(*words, "echo $((6*7))", config=config)
        assert (done.returncode, done.stdout) == (0, b"42\n"), done.stderr
        assert done.stderr == b""
    copied = key.with_name("copied")
    copied.write_bytes(b"x" * 1000)
    scp = ["scp", "-q", "-F", config, copied, f"app01.ssh:{copied}.there"]
    subprocess.run(scp, check=True, timeout=60)
    assert Path(f"{copied}.there").read_bytes() == b"x" * 1000
    # Another user's name does not fit, and neither does another key.
    denied = laptop.ssh("gw", "whoami", config=laptop.config(key=new_key(key.with_name("other"))))
    assert b"Permission denied" in denied.stderr


@pytest.mark.identity(20, 21, 26)
def test_cert_signs_the_key_of_this_connection_and_that_logs_in(laptop: Laptop, key: Path) -> None:
    sign_in = log_in_at(laptop.gateway, "alice", key)
    before = len(audit(laptop, "certificate.signed"))
    copy = certificate(laptop, key)
    lines = shown(key.parent, copy.with_name("certified-cert.pub").read_text())
    assert f"Serial: {sign_in.number}" in lines
    at = lines.index("Principals:")
    assert lines[at + 1 : at + 3] == ["alice", "Critical Options: (none)"]
    [event] = audit(laptop, "certificate.signed")[before:]
    assert event["identity"] == "alice"
    # The certificate alone, without the key offered by itself, at the jump host.
    done = laptop.ssh(
        "gw", "whoami",
        config=laptop.config("PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com",
                            key=copy, user="alice"),
        check=True,
    )  # fmt: skip
    name, groups, _, until = done.stdout.decode().splitlines()
    assert (name, groups) == ("alice", "groups: crew")
    assert until.startswith("until: 2")
    # And both together into the shell, as a person has them.
    config = laptop.config(key=copy, user="alice")
    assert laptop.ssh("app01.ssh", "echo in", config=config).stdout == b"in\n"


@pytest.mark.identity(20)
def test_cert_takes_no_other_key_and_none_without_a_sign_in(laptop: Laptop, key: Path) -> None:
    log_in_at(laptop.gateway, "alice", key)
    other = public(new_key(key.with_name("other"))).encode()
    config = laptop.config(key=key, user="alice")
    done = laptop.ssh("gw", f"cert {other.decode()}", config=config, input=other)
    assert (done.returncode, done.stdout) == (127, b"")
    # A key on its input is not a request.
    done = laptop.ssh("gw", "cert", config=config, input=other, check=True)
    assert (
        shown(key.parent, done.stdout.decode())[2]
        == shown(key.parent, laptop.ssh("gw", "cert", config=config, check=True).stdout.decode())[2]
    )
    for command in ("cert", "logout"):
        done = laptop.ssh("gw", command)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"an administrator gave you, not with a sign-in" in done.stderr
    assert laptop.ssh("gw", "whoami", check=True).stdout.startswith(
        b"dev\ngroups: none\nby: SHA256:"
    )


@pytest.mark.identity(23, 27)
def test_the_end_of_the_sign_in_shuts_out_key_and_certificate_and_closes_what_is_open(
    laptop: Laptop, key: Path
) -> None:
    sign_in = log_in_at(laptop.gateway, "alice", key)
    copy = certificate(laptop, key)
    config = laptop.config(key=copy, user="alice")
    open_ones = [
        subprocess.Popen(
            ["ssh", "-F", config, *words, "echo up; cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for words in (["app01.ssh"], ["app01@gw"])
    ]  # fmt: skip
    try:
        for process in open_ones:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        laptop.gateway.command(
            "sign-in", "end", sign_in.id.hex(), "--reason", "laptop stolen", "--yes"
        )
        ended = time.monotonic()
        for process in open_ones:
            _, said = process.communicate(timeout=60)
            assert process.returncode == 255
            assert b"laptop stolen" in said
        assert time.monotonic() - ended < SOON_S
    finally:
        for process in open_ones:
            process.kill()
            process.wait(10)
    for words in (("gw", "ls"), ("app01.ssh", "true"), ("app01@gw", "true")):
        done = laptop.ssh(*words, config=config)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr
    # A thief of both gets past the gateway by a way of their own: the shell itself refuses.
    mine = laptop.config(f"CertificateFile {copy}-cert.pub").read_text()
    own = key.with_name("own")
    own.write_text(
        mine.replace("Host *\n", f"Host app01.ssh\n  User alice\n  IdentityFile {copy}\nHost gw\n"
                     f"  IdentityFile {laptop.key}\nHost *\n")
        .replace(f"  IdentityFile {laptop.key}\n  IdentitiesOnly", "  IdentitiesOnly")
    )  # fmt: skip
    done = laptop.ssh("app01.ssh", "true", config=own)
    assert b"alice@app01.ssh: Permission denied (publickey)" in done.stderr


@pytest.mark.identity(23, 27)
def test_logout_ends_it_everywhere(laptop: Laptop, key: Path) -> None:
    log_in_at(laptop.gateway, "alice", key)
    config = laptop.config(key=key, user="alice")
    done = laptop.ssh("gw", "logout", config=config, check=True)
    assert done.stdout == b"Your sign-in has ended, and its sessions are being closed.\n"
    wait_until(lambda: laptop.ssh("gw", "ls", config=config).returncode == 255, SOON_S)
    [*_, event] = audit(laptop, "policy.changed")
    assert event["identity"] == "alice (ssh)"
