"""The keys, certificates and passwords that let in; and what a client learns that is refused."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import asyncssh
import pytest

from stagedoor.admin import service as admin
from tests.listeners.wire import basic, head, said
from tests.path.gateway import PASSWORD
from tests.ssh.world import BOUND_S, Echo, World, new_key, open_world, static, wait_until

AUDIT = Path(sys.executable).with_name("ssh-audit")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("login")
    revoked = folder / "revoked"
    revoked.write_text("# nothing yet\n")
    foreign = new_key(folder / "foreign_ca")
    settings = (
        '[ssh]\naddresses = ["127.0.0.1:0", "[::1]:0"]\npasswords = true\n'
        f'revoked_keys_file = "{revoked}"\n'
        f'trusted_user_ca_files = ["{foreign}.pub"]\nhost_names = ["127.0.0.1", "gw.test"]\n'
    )
    with open_world(folder, settings + static("echo", echo.port), ("echo",)) as one:
        yield one


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a key that no user has registered."""
    return new_key(tmp_path / "key")


def certified(world: World, key: Path, *options: str, ca: Path | None = None) -> Path:
    """Return the key, with a certificate of the gateway's user CA beside it, as `ssh-keygen -s` makes it."""
    ca = ca or world.gateway.data_dir / "keys" / "user_ca"
    command = ["ssh-keygen", "-q", "-s", ca, "-I", "dev's laptop", *options, f"{key}.pub"]
    subprocess.run(command, check=True)
    return key


def with_certificate(world: World, key: Path) -> Path:
    return world.config(f"CertificateFile {key}-cert.pub", key=key)


def let_in(world: World, key: Path) -> bool:
    """Return whether the certificate lets in; the refusal always has the same words."""
    done = world.ssh("gw", "ls", config=with_certificate(world, key))
    if done.returncode:
        assert b"Permission denied (publickey" in done.stderr, done.stderr
    return done.returncode == 0


def why(world: World, reason: str) -> bool:
    """Return whether the log gives this reason for a refusal; its line comes when the connection goes."""

    def said() -> bool:
        lines = world.gateway.sessions("denied")[-3:]
        return any(reason in str(line["detail"]) for line in lines)

    wait_until(said)
    return True


def test_a_registered_key_lets_its_owner_in(world: World) -> None:
    assert world.ssh("gw", "ls").stdout.startswith(b"echo.ssh")


@pytest.mark.parametrize(
    "options",
    [("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "521"), ("-t", "rsa", "-b", "2048")],
    ids=" ".join,
)
def test_keys_of_every_usual_type_let_their_owner_in(
    world: World, tmp_path: Path, options: tuple[str, ...]
) -> None:
    key = new_key(tmp_path / "other", *options)
    with world.service() as service:
        admin.add_keys(service, "dev", [Path(f"{key}.pub").read_text()])
    assert world.ssh("gw", "ls", config=world.config(key=key)).returncode == 0


def test_an_RSA_signature_with_SHA_1_is_refused(world: World, tmp_path: Path) -> None:
    key = new_key(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    with world.service() as service:
        admin.add_keys(service, "dev", [Path(f"{key}.pub").read_text()])
    config = world.config("PubkeyAcceptedAlgorithms ssh-rsa", key=key)
    assert world.ssh("gw", "ls", config=config).returncode == 255


def test_a_key_does_not_let_in_under_another_users_name(world: World) -> None:
    with world.service() as service:
        admin.add_user(service, "other.person-x@example")
    config = world.config(user="other.person-x@example")
    assert world.ssh("gw", "ls", config=config).returncode == 255


def test_a_valid_certificate_lets_its_principal_in(world: World, key: Path) -> None:
    certified(world, key, "-n", "dev", "-V", "-1m:+1h", "-z", "77")
    assert let_in(world, key)
    config = with_certificate(world, key)
    world.ssh("-W", "echo.ssh:22", "gw", config=config, input=b"hi", check=True)
    world.gateway.wait_for(
        lambda line: (
            line.get("method") == "certificate"
            and line["credential"] == "certificate 77 (dev's laptop)"
            and line["outcome"] == "closed"
        )
    )


def test_an_expired_certificate_and_one_to_come_are_refused(world: World, key: Path) -> None:
    assert not let_in(world, certified(world, key, "-n", "dev", "-V", "-2h:-1h"))
    assert why(world, "has expired")
    assert not let_in(world, certified(world, key, "-n", "dev", "-V", "+1h:+2h"))
    assert why(world, "is not valid yet")


def test_a_certificate_for_another_user_or_for_none_is_refused(world: World, key: Path) -> None:
    assert not let_in(world, certified(world, key, "-n", "root"))
    assert not let_in(world, certified(world, key))
    assert why(world, "names no principal")


def test_a_host_certificate_is_no_users(world: World, key: Path) -> None:
    assert not let_in(world, certified(world, key, "-h", "-n", "dev"))


def test_a_certificate_is_good_only_from_its_source_addresses(world: World, key: Path) -> None:
    assert let_in(world, certified(world, key, "-n", "dev", "-O", "source-address=127.0.0.0/8"))
    elsewhere = "source-address=192.0.2.0/24,10.0.0.0/8"
    assert not let_in(world, certified(world, key, "-n", "dev", "-O", elsewhere))
    assert why(world, "may not be used from 127.0.0.1")


def test_an_unknown_critical_option_forbids_the_certificate(world: World, key: Path) -> None:
    option = "critical:only-on-fridays@example.com=yes"
    assert not let_in(world, certified(world, key, "-n", "dev", "-O", option))
    assert why(world, "critical option that is not understood")


def test_a_certificate_without_port_forwarding_may_not_jump(world: World, key: Path) -> None:
    certified(world, key, "-n", "dev", "-O", "no-port-forwarding")
    config = with_certificate(world, key)
    assert world.ssh("gw", "ls", config=config).returncode == 0
    done = world.ssh("-W", "echo.ssh:22", "gw", config=config)
    assert b"administratively prohibited: your certificate does not permit" in done.stderr


def test_a_forged_certificate_is_refused(world: World, key: Path, tmp_path: Path) -> None:
    forger = new_key(tmp_path / "forger")
    assert not let_in(world, certified(world, key, "-n", "dev", ca=forger))
    assert why(world, "is not trusted here")


def test_another_CA_that_the_settings_trust_lets_in_too(world: World, key: Path) -> None:
    assert let_in(world, certified(world, key, "-n", "dev", ca=world.folder / "foreign_ca"))


def revoke(world: World, *arguments: str, spec: str = "") -> None:
    """Replace the list, whole, by one of `ssh-keygen -k`, or by `spec` as plain text."""
    draft, file = world.folder / "draft", world.folder / "revoked"
    if arguments:
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", draft, *arguments], check=True)
    else:
        draft.write_text(spec or "# nothing\n")
    draft.rename(file)


@pytest.fixture
def unrevoked(world: World) -> Iterator[None]:
    yield
    revoke(world)


@pytest.mark.usefixtures("unrevoked")
def test_what_was_revoked_is_refused_from_then_on(world: World, key: Path, tmp_path: Path) -> None:
    certified(world, key, "-n", "dev", "-z", "1234")
    assert let_in(world, key)
    specification = tmp_path / "spec"
    ca = world.gateway.data_dir / "keys" / "user_ca.pub"
    for text in ("serial: 1234", "serial: 1000-2000", "id: dev's laptop"):
        specification.write_text(text + "\n")
        revoke(world, "-s", str(ca), str(specification))
        assert not let_in(world, key), text
        assert why(world, "was revoked")
    specification.write_text("serial: 99\n")
    revoke(world, "-s", str(ca), str(specification))
    assert let_in(world, key)
    revoke(world, f"{key}.pub")
    assert not let_in(world, key)
    revoke(world, spec=Path(f"{world.key}.pub").read_text())
    assert let_in(world, key)
    assert world.ssh("gw", "ls").returncode == 255


@pytest.mark.usefixtures("unrevoked")
def test_a_revocation_list_that_cannot_be_read_lets_no_key_in(world: World) -> None:
    (world.folder / "revoked").unlink()
    assert world.ssh("gw", "ls").returncode == 255
    revoke(world, spec="SSHKRL but not really\n")
    assert world.ssh("gw", "ls").returncode == 255
    assert why(world, "cannot be read")


@pytest.mark.usefixtures("unrevoked")
def test_revoking_a_certificate_ends_what_it_has_open_and_says_why(world: World, key: Path) -> None:
    certified(world, key, "-n", "dev", "-z", "4711")
    command = ["ssh", "-F", with_certificate(world, key), "-W", "echo.ssh:22", "gw"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"here\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"here\n"
    revoke(world, f"{key}.pub")
    process.wait(BOUND_S)
    assert process.stderr
    said = process.stderr.read()
    assert b"was revoked" in said, said
    process.communicate()
    wait_until(lambda: world.gateway.sessions("revoked"))


async def test_a_password_or_a_token_in_its_place_lets_in_where_the_settings_say_so(
    world: World,
) -> None:
    for secret in (PASSWORD, world.gateway.token()):
        for methods in ("password", "keyboard-interactive"):
            async with asyncssh.connect(
                "127.0.0.1", world.port, username="dev", password=secret, known_hosts=None,
                config=None, client_keys=None, agent_path=None, preferred_auth=methods,
            ) as conn:  # fmt: skip
                assert str((await conn.run("ls")).stdout).startswith("echo.ssh")


async def test_wrong_passwords_are_refused_counted_and_written_down(world: World) -> None:
    def denied() -> int:
        return sum(
            line["reason"] == "credential_wrong" for line in world.gateway.sessions("denied")
        )

    before = denied()
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1", world.port, username="nobody.there-at@all", password="wrong password",
            known_hosts=None, config=None, client_keys=None, agent_path=None,
            preferred_auth="password",
        )  # fmt: skip
    wait_until(lambda: denied() > before)


async def attempt(world: World, name: str, secret: str) -> bool:
    """Return whether a password lets in."""
    try:
        async with asyncssh.connect(
            "127.0.0.1", world.port, username=name, password=secret, known_hosts=None,
            config=None, client_keys=None, agent_path=None, preferred_auth="password",
        ):  # fmt: skip
            return True
    except asyncssh.PermissionDenied:
        return False


LONG_S = 7
"""The wait doubles; one that is not over before the next question was asked, on a busy machine too."""


def wait_at_connect(world: World, name: str, secret: str) -> int:
    """For how many seconds more CONNECT lets this name try no password; 0: it was tried, and is wrong."""
    answer = said(world.gateway.port(), head("echo.ssh:22", basic(name, secret)))
    assert answer.status in (407, 429), answer
    return int(answer.one("Retry-After") or 0)


async def test_guessing_is_slowed_down_as_at_CONNECT_by_the_same_count(world: World) -> None:
    with world.service() as service:
        admin.add_user(service, "guessed", password=PASSWORD)
    assert await attempt(world, "guessed", PASSWORD)
    wrong = (f"wrong password {n}" for n in count())
    for _ in range(5):
        assert not await attempt(world, "guessed", next(wrong))
    while wait_at_connect(world, "guessed", next(wrong)) < LONG_S:
        assert not await attempt(world, "guessed", next(wrong))
    assert not await attempt(world, "guessed", PASSWORD)
    assert why(world, "too many")
    assert wait_at_connect(world, "guessed", PASSWORD)


def test_no_client_gets_in_without_a_credential(world: World) -> None:
    for name in ("dev", "nobody-there", "echo"):
        config = world.config("PreferredAuthentications none", user=name)
        done = world.ssh("gw", "ls", config=config)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr


def conversation(world: World, user: str, key: Path) -> list[str]:
    """Return the numbers of the packets of a login that fails, in order (RFC 4250 §4.1.2)."""
    config = world.config("PreferredAuthentications publickey", key=key, user=user)
    done = world.ssh("-vvv", "gw", "ls", config=config)
    assert done.returncode == 255
    packets = re.findall(r"debug3: (send|receive) packet: type (\d+)", done.stderr.decode())
    assert ("receive", "51") in packets
    return [f"{way} {number}" for way, number in packets]


def test_an_unknown_user_and_a_wrong_key_cannot_be_distinguished(world: World, key: Path) -> None:
    wrong_key = conversation(world, "dev", key)
    assert conversation(world, "no.such@user-here", key) == wrong_key
    assert conversation(world, "also-unknown", key) == wrong_key
    # An unknown user with the key of a user is answered the same way, too.
    assert conversation(world, "no.such@user-here", world.key) == wrong_key


def test_too_many_keys_end_the_connection_with_a_hint(world: World, tmp_path: Path) -> None:
    keys = [new_key(tmp_path / f"k{number}") for number in range(11)]
    lines = [f"IdentityFile {key}" for key in keys]
    config = world.config(*lines, key=keys[0])
    done = world.ssh("gw", "ls", config=config)
    assert b"too many tries to log in" in done.stderr


def test_the_host_certificate_is_signed_for_every_name_and_nothing_is_asked(world: World) -> None:
    alias = world.config("HostKeyAlias gw.test")
    assert world.ssh("gw", "ls", config=alias).returncode == 0
    other = world.config("HostKeyAlias elsewhere.test")
    assert (
        b"Certificate invalid: name is not a listed principal"
        in world.ssh("gw", "ls", config=other).stderr
    )


def test_a_client_that_knows_no_CA_can_pin_the_plain_host_key(world: World) -> None:
    scanned = subprocess.run(
        ["ssh-keyscan", "-T", "10", "-p", str(world.port), "-t", "ed25519", "127.0.0.1"],
        capture_output=True, timeout=BOUND_S,
    ).stdout.split()  # fmt: skip
    key = (world.gateway.data_dir / "keys" / "ssh_host_key.pub").read_text().split()
    assert scanned[-2:] == [word.encode() for word in key[:2]]


def test_the_gateway_offers_only_modern_algorithms_and_strict_kex(world: World) -> None:
    said = world.ssh("-vvv", "gw", "ls").stderr.decode()
    server = said.partition("peer server KEXINIT proposal")[2]
    # OpenSSH 10 lists the client's own once more, further down: the first of each name counts.
    offered = dict(reversed(re.findall(r"debug2: ([a-zA-Z ]+): (\S+)", server)))
    everything = ",".join(offered.values())
    assert "kex-strict-s-v00@openssh.com" in offered["KEX algorithms"]
    for weak in (
        "sha1",
        "nistp",
        "cbc",
        "ssh-rsa",
        "umac-64",
        "arcfour",
        "3des",
        "group14",
        "zlib",
    ):
        assert weak not in everything.replace("mlkem768nistp256", ""), weak
    assert offered["ciphers stoc"].startswith("aes128-gcm@openssh.com")
    assert "will use strict KEX ordering" in said


@pytest.mark.skipif(not AUDIT.exists(), reason="ssh-audit is not installed (PyPI)")
def test_ssh_audit_fails_nothing(world: World) -> None:
    audit = [AUDIT, "--json", "-4", "-p", str(world.port), "127.0.0.1"]
    done = subprocess.run(audit, capture_output=True, text=True, timeout=100)
    assert '"fail"' not in done.stdout, done.stdout


def test_a_client_that_shows_no_version_is_cut_off_and_others_see_ours_alone(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), 10) as sock:
        assert sock.recv(100) == b"SSH-2.0-Stagedoor\r\n"
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(100))
        while sock.recv(1000):
            pass
