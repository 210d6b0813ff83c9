"""Public keys as people paste them, judged beside the real ssh-keygen."""

import os
import struct
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagedoor.wire.ssh.key import KeyRefused, PublicKey, parse_public_key

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBR3e3VqVDxMIpVkhO9uzo6kooaNTAzVd7edXfwA/CIK"
DSA = (
    "ssh-dss AAAAB3NzaC1kc3MAAACBAP0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 x"
)


def string(*parts: bytes) -> bytes:
    return b"".join(struct.pack("!I", len(p)) + p for p in parts)


def line(key_type: str, *fields: bytes, comment: str = "") -> str:
    blob = string(key_type.encode(), *fields)
    return f"{key_type} {b64encode(blob).decode()} {comment}".strip()


def mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def keygen(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(text: str) -> str:
    outcome = parse_public_key(text)
    assert isinstance(outcome, KeyRefused), outcome
    assert outcome.reason.isprintable()
    return outcome.reason


def accepted(text: str) -> PublicKey:
    outcome = parse_public_key(text)
    assert isinstance(outcome, PublicKey), outcome
    return outcome


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One real key of each kind that needs no hardware; ssh-keygen's private files."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = {"ed25519": [], "rsa": ["-b", "2048"], "rsa-1024": ["-b", "1024"]} | {
        f"ecdsa-{bits}": ["-b", bits] for bits in ("256", "384", "521")
    }
    for kind, arguments in kinds.items():
        path = folder / kind
        result = keygen(
            "-q",
            "-t",
            kind.partition("-")[0],
            *arguments,
            "-N",
            "",
            "-C",
            "alice @ home",
            "-f",
            path,
        )
        assert result.returncode == 0, result.stderr
    return {kind: folder / kind for kind in kinds}


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"])
def test_a_real_key_has_the_fingerprint_and_size_that_ssh_keygen_prints(
    made: dict[str, Path], kind: str
) -> None:
    path = made[kind].with_suffix(".pub")
    text = path.read_text()
    key = accepted(text)
    bits, fingerprint, *_ = keygen("-l", "-f", path).stdout.split()
    assert (str(key.bits), key.fingerprint) == (bits, fingerprint)
    assert key.line == " ".join(text.split()[:2])
    assert key.type == text.split()[0]
    assert key.comment == "alice @ home"


def security_keys(made: dict[str, Path]) -> list[str]:
    """They need hardware to make, but not to write down (PROTOCOL.u2f)."""
    point = b64decode(made["ecdsa-256"].with_suffix(".pub").read_text().split()[1])[-65:]
    return [
        line("sk-ssh-ed25519@openssh.com", os.urandom(32), b"ssh:", comment="yubikey"),
        line(
            "sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, b"ssh:work", comment="yubikey"
        ),
    ]


def test_security_keys_are_taken_as_ssh_keygen_takes_them(
    made: dict[str, Path], tmp_path: Path
) -> None:
    for text in security_keys(made):
        path = tmp_path / "sk.pub"
        path.write_text(text + "\n")
        result = keygen("-l", "-f", path)
        assert result.returncode == 0, result.stderr
        key = accepted(text)
        assert result.stdout.split()[:2] == [str(key.bits), key.fingerprint]


def test_spelling_does_not_matter_to_the_line_and_comments_are_made_printable() -> None:
    key = accepted(ED25519)
    assert key.line == ED25519
    for text in (f"  {ED25519}\r\n", ED25519.replace(" ", "\t"), ED25519.replace(" ", "   ")):
        assert accepted(text) == key
    assert accepted(f"{ED25519}  zoë\x1b[2J\u202e ").comment == "zoë?[2J?"
    assert len(accepted(f"{ED25519} {'c' * 5000}").comment) == 200


def test_a_short_rsa_key_is_refused_with_its_size(made: dict[str, Path]) -> None:
    reason = refused(made["rsa-1024"].with_suffix(".pub").read_text())
    assert "1024 bits is too weak" in reason
    assert "ssh-keygen -t ed25519" in reason


def rsa(bits: int, exponent: int = 65537) -> str:
    return line("ssh-rsa", mpint(exponent), mpint((1 << (bits - 1)) | 1))


def test_rsa_sizes_at_the_limits() -> None:
    assert accepted(rsa(2048)).bits == 2048
    assert accepted(rsa(16384)).bits == 16384
    assert "too weak" in refused(rsa(2047))
    assert "too long" in refused(rsa(16385))


def test_an_rsa_exponent_that_makes_each_check_dear_is_refused() -> None:
    """With one of 3,072 bits a check takes 5 ms of the worker, and a stranger may ask for many."""
    assert accepted(rsa(3072, exponent=(1 << 32) - 1)).bits == 3072
    for exponent in ((1 << 32) | 1, (1 << 3070) | 1):
        reason = refused(rsa(3072, exponent))
        assert f"exponent of {exponent.bit_length()} bits" in reason
        assert "ssh-keygen -t ed25519" in reason


def test_dsa_is_refused_and_the_way_out_is_named() -> None:
    assert refused(DSA) == "DSA keys are broken and refused; make one with ssh-keygen -t ed25519"


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa-256"])
def test_a_private_key_pasted_by_mistake_is_named_and_not_repeated(
    made: dict[str, Path], kind: str
) -> None:
    text = made[kind].read_text()
    body = "".join(text.splitlines()[1:-1])
    for pasted in (text, body, text.replace("\n", " "), body[:70]):
        reason = refused(pasted)
        assert "private key" in reason
        assert body[:12] not in reason
    assert "private key" in refused("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none")
    assert "private key" in refused("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n")


def test_other_formats_are_named_with_the_command_that_turns_them(made: dict[str, Path]) -> None:
    path = made["ed25519"].with_suffix(".pub")
    assert "ssh-keygen -i -f" in refused(keygen("-e", "-f", path).stdout)
    assert "-m PKCS8" in refused(keygen("-e", "-m", "PKCS8", "-f", made["rsa"]).stdout)


def test_a_certificate_needs_no_registration(made: dict[str, Path], tmp_path: Path) -> None:
    public = tmp_path / "user.pub"
    public.write_text(made["ecdsa-256"].with_suffix(".pub").read_text())
    assert keygen("-q", "-s", made["ed25519"], "-I", "alice", "-n", "alice", public).returncode == 0
    assert "certificates need no registration" in refused((tmp_path / "user-cert.pub").read_text())


@pytest.mark.parametrize(
    "options",
    [
        "no-pty ",
        'from="10.0.0.0/8" ',
        'command="echo \\"hi\\" ssh-rsa x",no-pty ',
        "cert-authority ",
        "restrict,pty ",
    ],
)
def test_options_in_front_are_refused_and_named(options: str) -> None:
    assert "options in front of the key" in refused(options + ED25519)


@pytest.mark.parametrize("text", ["", "   ", "\n", "# ssh-ed25519 AAAA", "hello", "ssh-ed25519",
    "ssh-ed25519 ", "ssh-ed448 AAAA", "SSH-ED25519 AAAA", "ssh-rsa", "1024 65537 1234567 rsa1", "x" * 20000,
    ED25519 + "\n" + ED25519, f"{ED25519} {'c' * 20000}", "\x00", "ssh-ed25519\u2003AAAA"])  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    refused(text)


def cut_short(text: str) -> str:
    """The same key without the last byte of its blob."""
    key_type, encoded = text.split()
    return f"{key_type} {b64encode(b64decode(encoded)[:-1]).decode()}"


P256_ON_CURVE = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)  # the generator, FIPS 186-4 D.1.2.3


P384_ON_CURVE = bytes.fromhex(
    "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
    "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
)  # D.1.2.4


def test_the_points_used_below_are_on_their_curves() -> None:
    accepted(line("ecdsa-sha2-nistp256", b"nistp256", P256_ON_CURVE))
    accepted(line("ecdsa-sha2-nistp384", b"nistp384", P384_ON_CURVE))


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBR3e3VqVDxMIpVkhO9uzo6kooaNTAzVd7edXfwA/CI",
        "ssh-ed25519 AAAA",
        ED25519.replace("IBR3", "I!BR3"),
        cut_short(line("ssh-rsa", mpint(65537), mpint((1 << 2056) - 1))),
        "ssh-ed25519 é",
        line("ssh-ed25519", b"x" * 31),
        line("ssh-ed25519", b"x" * 33),
        line("ssh-ed25519", b"x" * 32, b""),
        line("ssh-ed25519", b"x" * 32).replace("ssh-ed25519", "ssh-rsa"),
        "ssh-ed25519 " + b64encode(b"\xff\xff\xff\xffssh-ed25519").decode(),
        line("ssh-rsa", mpint(65537), b""),
        line("ssh-rsa", mpint(65537), b"\x00\x00" + mpint((1 << 2047) | 1)),
        line("ssh-rsa", mpint(65537), b"\x80" + b"\x01" * 255),
        line("ssh-rsa", mpint(65537), mpint(1 << 2047)),
        line("ssh-rsa", mpint(1), mpint((1 << 2047) | 1)),
        line("ssh-rsa", mpint(65536), mpint((1 << 2047) | 1)),
        line("ssh-rsa", mpint((1 << 2048) | 1), mpint((1 << 2047) | 1)),
        line("ssh-rsa", mpint(65537), mpint((1 << 2047) | 1), b"more"),
        line("ecdsa-sha2-nistp256", b"nistp384", P256_ON_CURVE),
        line("ecdsa-sha2-nistp256", b"nistp384", P384_ON_CURVE),
        line("ecdsa-sha2-nistp256", b"\xff", P256_ON_CURVE),
        line("ecdsa-sha2-nistp256", b"nistp256", P256_ON_CURVE[:-1] + b"\x00"),
        line("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"\x00" * 64),
        line("ecdsa-sha2-nistp256", b"nistp256", b"\x00"),
        line("ecdsa-sha2-nistp256", b"nistp256", b""),
        line("ecdsa-sha2-nistp256", b"nistp256", b"\x03" + P256_ON_CURVE[1:33]),
        line("ecdsa-sha2-nistp256", b"nistp256", P256_ON_CURVE, b"x"),
        line("sk-ssh-ed25519@openssh.com", b"x" * 32),
        line("sk-ssh-ed25519@openssh.com", b"x" * 32, b""),
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    assert "damaged" in refused(text)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_key_that_is_taken_is_one_that_ssh_keygen_takes(
    made: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    """Real keys with a few bytes changed: what we take, ssh-keygen takes, with the same name."""
    texts = [p.with_suffix(".pub").read_text() for k, p in made.items() if k != "rsa-1024"]
    key_type, encoded = data.draw(st.sampled_from(texts + security_keys(made))).split()[:2]
    blob = bytearray(b64decode(encoded))
    for _ in range(data.draw(st.integers(0, 2))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    text = f"{key_type} {b64encode(blob).decode()} x"
    outcome = parse_public_key(text)
    if isinstance(outcome, PublicKey):
        path = tmp_path / "changed.pub"
        path.write_text(text + "\n")
        result = keygen("-l", "-f", path)
        assert result.stdout.split()[:2] == [str(outcome.bits), outcome.fingerprint], result.stderr


PIECES = st.sampled_from(
    [ED25519, "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", " ", "\t", "\n",
     "-----BEGIN", "PRIVATE KEY", "AAAA", "AAAAC3NzaC1lZDI1NTE5", "ssh-rsa-cert-v01@openssh.com",
     'command="', '"']
)  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=6).map("".join))
)
def test_any_text_gives_a_key_or_one_printable_line(text: str) -> None:
    outcome = parse_public_key(text)
    if isinstance(outcome, PublicKey):
        again = accepted(outcome.line)
        assert (again.line, again.fingerprint) == (outcome.line, outcome.fingerprint)
        assert outcome.comment.isprintable()
    else:
        assert outcome.reason.isprintable()
