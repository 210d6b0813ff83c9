"""People who signed in come by stock OpenSSH, by the key of the sign-in or its certificate, until it ends."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from tests.keys.test_ca import shown
from tests.ssh.signed_in import signed_in
from tests.ssh.world import SSH_TABLE, World, local, new_key, open_world, public, wait_until

pytestmark = pytest.mark.usefixtures("openssh")
SOON_S = 5.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """`alice` has no key, password or token; `dev` has a key that an administrator registered."""
    settings = SSH_TABLE + local("app01")
    with open_world(tmp_path_factory.mktemp("sign-ins"), settings) as one:
        with one.service() as service:
            admin.add_user(service, "alice", groups=["crew"])
            admin.add_grant(service, "group:crew", "app01")
        yield one


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "laptop")


def certificate(world: World, key: Path) -> Path:
    """Return a copy of the key with its certificate, as a person makes it by `cert`."""
    done = world.ssh("gw", "cert", config=world.config(key=key, user="alice"), check=True)
    copy = key.with_name("certified")
    copy.write_bytes(key.read_bytes())
    copy.chmod(0o600)
    copy.with_name("certified-cert.pub").write_bytes(done.stdout)
    return copy


def audit(world: World, kind: str) -> list[dict[str, object]]:
    return [event for event in world.gateway.audit() if event["kind"] == kind]


@pytest.mark.identity(16, 21)
def test_the_key_of_a_sign_in_enters_every_way(world: World, key: Path) -> None:
    signed_in(world, "alice", key)
    config = world.config(key=key, user="alice")
    for words in (("app01.ssh",), ("app01@gw",)):
        done = world.ssh(*words, "echo $((6*7))", config=config)
        assert (done.returncode, done.stdout) == (0, b"42\n"), done.stderr
        assert done.stderr == b""
    copied = key.with_name("copied")
    copied.write_bytes(b"x" * 1000)
    scp = ["scp", "-q", "-F", config, copied, f"app01.ssh:{copied}.there"]
    subprocess.run(scp, check=True, timeout=60)
    assert Path(f"{copied}.there").read_bytes() == b"x" * 1000
    # Another user's name does not fit, and neither does another key.
    denied = world.ssh("gw", "whoami", config=world.config(key=new_key(key.with_name("other"))))
    assert b"Permission denied" in denied.stderr


@pytest.mark.identity(20, 21, 26)
def test_cert_signs_the_key_of_this_connection_and_that_logs_in(world: World, key: Path) -> None:
    sign_in = signed_in(world, "alice", key)
    before = len(audit(world, "certificate.signed"))
    copy = certificate(world, key)
    lines = shown(key.parent, copy.with_name("certified-cert.pub").read_text())
    assert f"Serial: {sign_in.number}" in lines
    at = lines.index("Principals:")
    assert lines[at + 1 : at + 3] == ["alice", "Critical Options: (none)"]
    [event] = audit(world, "certificate.signed")[before:]
    assert event["identity"] == "alice"
    # The certificate alone, without the key offered by itself, at the jump host.
    done = world.ssh(
        "gw", "whoami",
        config=world.config("PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com",
                            key=copy, user="alice"),
        check=True,
    )  # fmt: skip
    name, groups, _, until = done.stdout.decode().splitlines()
    assert (name, groups) == ("alice", "groups: crew")
    assert until.startswith("until: 2")
    # And both together into the shell, as a person has them.
    config = world.config(key=copy, user="alice")
    assert world.ssh("app01.ssh", "echo in", config=config).stdout == b"in\n"


@pytest.mark.identity(20)
def test_cert_takes_no_other_key_and_none_without_a_sign_in(world: World, key: Path) -> None:
    signed_in(world, "alice", key)
    other = public(new_key(key.with_name("other"))).encode()
    config = world.config(key=key, user="alice")
    done = world.ssh("gw", f"cert {other.decode()}", config=config, input=other)
    assert (done.returncode, done.stdout) == (127, b"")
    # A key on its input is not a request.
    done = world.ssh("gw", "cert", config=config, input=other, check=True)
    assert (
        shown(key.parent, done.stdout.decode())[2]
        == shown(key.parent, world.ssh("gw", "cert", config=config, check=True).stdout.decode())[2]
    )
    for command in ("cert", "logout"):
        done = world.ssh("gw", command)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"an administrator gave you, and not by a sign-in" in done.stderr
    assert world.ssh("gw", "whoami", check=True).stdout.startswith(
        b"dev\ngroups: none\nby: SHA256:"
    )


@pytest.mark.identity(23, 27)
def test_the_end_of_the_sign_in_shuts_out_key_and_certificate_and_closes_what_is_open(
    world: World, key: Path
) -> None:
    sign_in = signed_in(world, "alice", key)
    copy = certificate(world, key)
    config = world.config(key=copy, user="alice")
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
        world.gateway.command(
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
        done = world.ssh(*words, config=config)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr
    # A thief of both gets past the gateway by a way of their own: the shell itself refuses.
    mine = world.config(f"CertificateFile {copy}-cert.pub").read_text()
    own = key.with_name("own")
    own.write_text(
        mine.replace("Host *\n", f"Host app01.ssh\n  User alice\n  IdentityFile {copy}\nHost gw\n"
                     f"  IdentityFile {world.key}\nHost *\n")
        .replace(f"  IdentityFile {world.key}\n  IdentitiesOnly", "  IdentitiesOnly")
    )  # fmt: skip
    done = world.ssh("app01.ssh", "true", config=own)
    assert b"alice@app01.ssh: Permission denied (publickey)" in done.stderr


@pytest.mark.identity(23, 27)
def test_logout_ends_it_everywhere(world: World, key: Path) -> None:
    signed_in(world, "alice", key)
    config = world.config(key=key, user="alice")
    done = world.ssh("gw", "logout", config=config, check=True)
    assert done.stdout == b"Your sign-in is over, and what it opened is being closed.\n"
    wait_until(lambda: world.ssh("gw", "ls", config=config).returncode == 255, SOON_S)
    [*_, event] = audit(world, "policy.changed")
    assert event["identity"] == "alice (ssh)"
