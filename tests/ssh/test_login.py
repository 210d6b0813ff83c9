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
from tests.fixtures.gateway import PASSWORD, EchoServer, static
from tests.fixtures.laptop import Laptop, new_key, open_laptop
from tests.listeners.wire import basic, head, said
from tests.waiting import BOUND_S, wait_until

AUDIT = Path(sys.executable).with_name("ssh-audit")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, echo: EchoServer) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("login")
    revoked = folder / "revoked"
    revoked.write_text("# nothing yet\n")
    foreign = new_key(folder / "foreign_ca")
    settings = (
        '[ssh]\naddresses = ["127.0.0.1:0", "[::1]:0"]\npasswords = true\n'
        f'revoked_keys_file = "{revoked}"\n'
        f'trusted_user_ca_files = ["{foreign}.pub"]\nhost_names = ["127.0.0.1", "gw.test"]\n'
    )
    with open_laptop(folder, settings + static("echo", echo.port), ("echo",)) as one:
        yield one


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a key that no user has registered."""
    return new_key(tmp_path / "key")


def certified(laptop: Laptop, key: Path, *options: str, ca: Path | None = None) -> Path:
    """Return the key, with a certificate of the gateway's user CA beside it, as `ssh-keygen -s` makes it."""
    ca = ca or laptop.gateway.data_dir / "keys" / "user_ca"
    command = ["ssh-keygen", "-q", "-s", ca, "-I", "dev's laptop", *options, f"{key}.pub"]
    subprocess.run(command, check=True)
    return key


def with_certificate(laptop: Laptop, key: Path) -> Path:
    return laptop.config(f"CertificateFile {key}-cert.pub", key=key)


def let_in(laptop: Laptop, key: Path) -> bool:
    """Return whether the certificate lets in; the refusal always has the same words."""
    done = laptop.ssh("gw", "ls", config=with_certificate(laptop, key))
    if done.returncode:
        assert b"Permission denied (publickey" in done.stderr, done.stderr
    return done.returncode == 0


def why(laptop: Laptop, reason: str) -> bool:
    """Return whether the log gives this reason for a refusal; its line comes when the connection goes."""

    def said() -> bool:
        lines = laptop.gateway.sessions("denied")[-3:]
        return any(reason in str(line["detail"]) for line in lines)

    wait_until(said)
    return True


def test_a_registered_key_lets_its_owner_in(laptop: Laptop) -> None:
    assert laptop.ssh("gw", "ls").stdout.startswith(b"echo.ssh")


@pytest.mark.parametrize(
    "options",
    [("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "521"), ("-t", "rsa", "-b", "2048")],
    ids=" ".join,
)
def test_keys_of_every_usual_type_let_their_owner_in(
    laptop: Laptop, tmp_path: Path, options: tuple[str, ...]
) -> None:
    key = new_key(tmp_path / "other", *options)
    with laptop.gateway.changed() as service:
        admin.add_keys(service, "dev", [Path(f"{key}.pub").read_text()])
    assert laptop.ssh("gw", "ls", config=laptop.config(key=key)).returncode == 0


def test_an_RSA_signature_with_SHA_1_is_refused(laptop: Laptop, tmp_path: Path) -> None:
    key = new_key(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    with laptop.gateway.changed() as service:
        admin.add_keys(service, "dev", [Path(f"{key}.pub").read_text()])
    config = laptop.config("PubkeyAcceptedAlgorithms ssh-rsa", key=key)
    assert laptop.ssh("gw", "ls", config=config).returncode == 255


def test_a_key_does_not_let_in_under_another_users_name(laptop: Laptop) -> None:
    with laptop.gateway.changed() as service:
        admin.add_user(service, "other.person-x@example")
    config = laptop.config(user="other.person-x@example")
    assert laptop.ssh("gw", "ls", config=config).returncode == 255


def test_a_valid_certificate_lets_its_principal_in(laptop: Laptop, key: Path) -> None:
    certified(laptop, key, "-n", "dev", "-V", "-1m:+1h", "-z", "77")
    assert let_in(laptop, key)
    config = with_certificate(laptop, key)
    laptop.ssh("-W", "echo.ssh:22", "gw", config=config, input=b"hi", check=True)
    laptop.gateway.wait_for(
        lambda line: (
            line.get("method") == "certificate"
            and line["credential"] == "certificate 77 (dev's laptop)"
            and line["outcome"] == "closed"
        )
    )


def test_an_expired_certificate_and_one_to_come_are_refused(laptop: Laptop, key: Path) -> None:
    assert not let_in(laptop, certified(laptop, key, "-n", "dev", "-V", "-2h:-1h"))
    assert why(laptop, "has expired")
    assert not let_in(laptop, certified(laptop, key, "-n", "dev", "-V", "+1h:+2h"))
    assert why(laptop, "is not valid yet")


def test_a_certificate_for_another_user_or_for_none_is_refused(laptop: Laptop, key: Path) -> None:
    assert not let_in(laptop, certified(laptop, key, "-n", "root"))
    assert not let_in(laptop, certified(laptop, key))
    assert why(laptop, "names no principal")


def test_a_host_certificate_is_no_users(laptop: Laptop, key: Path) -> None:
    assert not let_in(laptop, certified(laptop, key, "-h", "-n", "dev"))


def test_a_certificate_is_good_only_from_its_source_addresses(laptop: Laptop, key: Path) -> None:
    assert let_in(laptop, certified(laptop, key, "-n", "dev", "-O", "source-address=127.0.0.0/8"))
    elsewhere = "source-address=192.0.2.0/24,10.0.0.0/8"
    assert not let_in(laptop, certified(laptop, key, "-n", "dev", "-O", elsewhere))
    assert why(laptop, "may not be used from 127.0.0.1")


def test_an_unknown_critical_option_forbids_the_certificate(laptop: Laptop, key: Path) -> None:
    option = "critical:only-on-fridays@example.com=yes"
    assert not let_in(laptop, certified(laptop, key, "-n", "dev", "-O", option))
    assert why(laptop, "critical option that is not understood")


def test_a_certificate_without_port_forwarding_may_not_jump(laptop: Laptop, key: Path) -> None:
    certified(laptop, key, "-n", "dev", "-O", "no-port-forwarding")
    config = with_certificate(laptop, key)
    assert laptop.ssh("gw", "ls", config=config).returncode == 0
    done = laptop.ssh("-W", "echo.ssh:22", "gw", config=config)
    assert b"administratively prohibited: your certificate does not permit" in done.stderr


def test_a_forged_certificate_is_refused(laptop: Laptop, key: Path, tmp_path: Path) -> None:
    forger = new_key(tmp_path / "forger")
    assert not let_in(laptop, certified(laptop, key, "-n", "dev", ca=forger))
    assert why(laptop, "is not trusted here")


def test_another_CA_that_the_settings_trust_lets_in_too(laptop: Laptop, key: Path) -> None:
    assert let_in(laptop, certified(laptop, key, "-n", "dev", ca=laptop.folder / "foreign_ca"))


def revoke(laptop: Laptop, *arguments: str, spec: str = "") -> None:
    """Replace the list, whole, by one of `ssh-keygen -k`, or by `spec` as plain text."""
    draft, file = laptop.folder / "draft", laptop.folder / "revoked"
    if arguments:
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", draft, *arguments], check=True)
    else:
        draft.write_text(spec or "# nothing\n")
    draft.rename(file)


@pytest.fixture
def unrevoked(laptop: Laptop) -> Iterator[None]:
    yield
    revoke(laptop)


@pytest.mark.usefixtures("unrevoked")
def test_what_was_revoked_is_refused_from_then_on(
    laptop: Laptop, key: Path, tmp_path: Path
) -> None:
    certified(laptop, key, "-n", "dev", "-z", "1234")
    assert let_in(laptop, key)
    specification = tmp_path / "spec"
    ca = laptop.gateway.data_dir / "keys" / "user_ca.pub"
    for text in ("serial: 1234", "serial: 1000-2000", "id: dev's laptop"):
        specification.write_text(text + "\n")
        revoke(laptop, "-s", str(ca), str(specification))
        assert not let_in(laptop, key), text
        assert why(laptop, "was revoked")
    specification.write_text("serial: 99\n")
    revoke(laptop, "-s", str(ca), str(specification))
    assert let_in(laptop, key)
    revoke(laptop, f"{key}.pub")
    assert not let_in(laptop, key)
    revoke(laptop, spec=Path(f"{laptop.key}.pub").read_text())
    assert let_in(laptop, key)
    assert laptop.ssh("gw", "ls").returncode == 255


@pytest.mark.usefixtures("unrevoked")
def test_a_revocation_list_that_cannot_be_read_lets_no_key_in(laptop: Laptop) -> None:
    (laptop.folder / "revoked").unlink()
    assert laptop.ssh("gw", "ls").returncode == 255
    revoke(laptop, spec="SSHKRL but not really\n")
    assert laptop.ssh("gw", "ls").returncode == 255
    assert why(laptop, "cannot be read")


@pytest.mark.usefixtures("unrevoked")
def test_revoking_a_certificate_ends_what_it_has_open_and_says_why(
    laptop: Laptop, key: Path
) -> None:
    certified(laptop, key, "-n", "dev", "-z", "4711")
    command = ["ssh", "-F", with_certificate(laptop, key), "-W", "echo.ssh:22", "gw"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"here\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"here\n"
    revoke(laptop, f"{key}.pub")
    process.wait(BOUND_S)
    assert process.stderr
    said = process.stderr.read()
    assert b"was revoked" in said, said
    process.communicate()
    wait_until(lambda: laptop.gateway.sessions("revoked"))


async def test_a_password_or_a_token_in_its_place_lets_in_where_the_settings_say_so(
    laptop: Laptop,
) -> None:
    for secret in (PASSWORD, laptop.gateway.token()):
        for methods in ("password", "keyboard-interactive"):
            async with asyncssh.connect(
                "127.0.0.1", laptop.port, username="dev", password=secret, known_hosts=None,
                config=None, client_keys=None, agent_path=None, preferred_auth=methods,
            ) as conn:  # fmt: skip
                assert str((await conn.run("ls")).stdout).startswith("echo.ssh")


async def test_wrong_passwords_are_refused_counted_and_written_down(laptop: Laptop) -> None:
    def denied() -> int:
        return sum(
            line["reason"] == "credential_wrong" for line in laptop.gateway.sessions("denied")
        )

    before = denied()
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1", laptop.port, username="nobody.there-at@all", password="wrong password",
            known_hosts=None, config=None, client_keys=None, agent_path=None,
            preferred_auth="password",
        )  # fmt: skip
    wait_until(lambda: denied() > before)


async def attempt(laptop: Laptop, name: str, secret: str) -> bool:
    """Return whether a password lets in."""
    try:
        async with asyncssh.connect(
            "127.0.0.1", laptop.port, username=name, password=secret, known_hosts=None,
            config=None, client_keys=None, agent_path=None, preferred_auth="password",
        ):  # fmt: skip
            return True
    except asyncssh.PermissionDenied:
        return False


LONG_S = 7
"""The wait doubles; one that is not over before the next question was asked, on a busy machine too."""


def wait_at_connect(laptop: Laptop, name: str, secret: str) -> int:
    """For how many seconds more CONNECT lets this name try no password; 0: it was tried, and is wrong."""
    answer = said(laptop.gateway.port(), head("echo.ssh:22", basic(name, secret)))
    assert answer.status in (407, 429), answer
    return int(answer.one("Retry-After") or 0)


async def test_guessing_is_slowed_down_as_at_CONNECT_by_the_same_count(laptop: Laptop) -> None:
    with laptop.gateway.changed() as service:
        admin.add_user(service, "guessed", password=PASSWORD)
    assert await attempt(laptop, "guessed", PASSWORD)
    wrong = (f"wrong password {n}" for n in count())
    for _ in range(5):
        assert not await attempt(laptop, "guessed", next(wrong))
    while wait_at_connect(laptop, "guessed", next(wrong)) < LONG_S:
        assert not await attempt(laptop, "guessed", next(wrong))
    assert not await attempt(laptop, "guessed", PASSWORD)
    assert why(laptop, "too many")
    assert wait_at_connect(laptop, "guessed", PASSWORD)


def test_no_client_gets_in_without_a_credential(laptop: Laptop) -> None:
    for name in ("dev", "nobody-there", "echo"):
        config = laptop.config("PreferredAuthentications none", user=name)
        done = laptop.ssh("gw", "ls", config=config)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr


def conversation(laptop: Laptop, user: str, key: Path) -> list[str]:
    """Return the numbers of the packets of a login that fails, in order (RFC 4250 §4.1.2)."""
    config = laptop.config("PreferredAuthentications publickey", key=key, user=user)
    done = laptop.ssh("-vvv", "gw", "ls", config=config)
    assert done.returncode == 255
    packets = re.findall(r"debug3: (send|receive) packet: type (\d+)", done.stderr.decode())
    assert ("receive", "51") in packets
    return [f"{way} {number}" for way, number in packets]


def test_an_unknown_user_and_a_wrong_key_cannot_be_distinguished(laptop: Laptop, key: Path) -> None:
    wrong_key = conversation(laptop, "dev", key)
    assert conversation(laptop, "no.such@user-here", key) == wrong_key
    assert conversation(laptop, "also-unknown", key) == wrong_key
    # An unknown user with the key of a user is answered the same way, too.
    assert conversation(laptop, "no.such@user-here", laptop.key) == wrong_key


def test_too_many_keys_end_the_connection_with_a_hint(laptop: Laptop, tmp_path: Path) -> None:
    keys = [new_key(tmp_path / f"k{number}") for number in range(10)]

    def try_keys(wrong_count: int) -> subprocess.CompletedProcess[bytes]:
        lines = [f"IdentityFile {key}" for key in keys[:wrong_count]]
        return laptop.ssh("gw", "ls", config=laptop.config(*lines))

    assert try_keys(9).returncode == 0
    assert b"too many tries to log in" in try_keys(10).stderr


def test_the_host_certificate_is_signed_for_every_name_and_nothing_is_asked(laptop: Laptop) -> None:
    alias = laptop.config("HostKeyAlias gw.test")
    assert laptop.ssh("gw", "ls", config=alias).returncode == 0
    other = laptop.config("HostKeyAlias elsewhere.test")
    assert (
        b"Certificate invalid: name is not a listed principal"
        in laptop.ssh("gw", "ls", config=other).stderr
    )


def test_a_client_that_knows_no_CA_can_pin_the_plain_host_key(laptop: Laptop) -> None:
    scanned = subprocess.run(
        ["ssh-keyscan", "-T", "10", "-p", str(laptop.port), "-t", "ed25519", "127.0.0.1"],
        capture_output=True, timeout=BOUND_S,
    ).stdout.split()  # fmt: skip
    key = (laptop.gateway.data_dir / "keys" / "ssh_host_key.pub").read_text().split()
    assert scanned[-2:] == [word.encode() for word in key[:2]]


def test_the_gateway_offers_only_modern_algorithms_and_strict_kex(laptop: Laptop) -> None:
    said = laptop.ssh("-vvv", "gw", "ls").stderr.decode()
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
def test_ssh_audit_fails_nothing(laptop: Laptop) -> None:
    audit = [AUDIT, "--json", "-4", "-p", str(laptop.port), "127.0.0.1"]
    done = subprocess.run(audit, capture_output=True, text=True, timeout=100)
    assert '"fail"' not in done.stdout, done.stdout


def test_a_client_that_shows_no_version_is_cut_off_and_others_see_ours_alone(
    laptop: Laptop,
) -> None:
    with socket.create_connection(("127.0.0.1", laptop.port), 10) as sock:
        assert sock.recv(100) == b"SSH-2.0-Stagedoor\r\n"
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(100))
        while sock.recv(1000):
            pass
