"""OpenSSH public keys in their one-line form, as `ssh-keygen` writes them to a `.pub` file.

Sources: RFC 4253 §6.6 (RSA), RFC 5656 §3.1 (ECDSA), RFC 8709 §4 (Ed25519), OpenSSH's PROTOCOL.u2f
(security keys) and PROTOCOL.certkeys, sshd(8) AUTHORIZED_KEYS FILE FORMAT.
"""

import re
from base64 import b64encode
from binascii import a2b_base64
from dataclasses import dataclass

from stagedoor.wire.ssh.blob import Reader, TruncatedError, format_fingerprint

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384
"""The maximum that OpenSSH accepts."""
MAX_RSA_EXPONENT_BITS = 32
"""The time to verify a signature is proportional to the exponent's bits, and a stranger can make up the
key. Key programs use 3, 17, 37 or 65537 (RFC 8017 §3.1 allows any)."""
MAX_LINE_CHARS = 16 * 1024
MAX_COMMENT_CHARS = 200


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may be registered.

    `line` is `type base64` without comment, the same for every spelling of one key. `fingerprint` is
    `SHA256:…` as `ssh-keygen -lf` prints it. `comment` has printable characters only.
    """

    type: str
    bits: int
    fingerprint: str
    line: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """A refused key. `reason` is one line for the person, and never repeats their input."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Curve:
    """y² = x³ - 3x + b over the field of p elements (FIPS 186-4 D.1.2); `p` has `bits` bits."""

    bits: int
    p: int
    b: int


_CURVES = {
    b"nistp256": _Curve(
        256,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    b"nistp384": _Curve(
        384,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    b"nistp521": _Curve(
        521,
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}

_OURS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# A key type after other text, which is then the key's options.
_TYPE_INSIDE = re.compile(r"[\s,](?:ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+\s")
# The start of a private key's body, "openssh-key-v1", in base64.
_PRIVATE_BODY = "b3BlbnNzaC1rZXktdj"
_MALFORMED = "the key is damaged: {}; copy the whole line of the .pub file again"


class _DamagedError(ValueError):
    pass


class _ExponentError(Exception):
    """An RSA key's public exponent is too large; the text is one line for the person."""


def parse_public_key(line: str) -> PublicKey | KeyRefused:
    """Parse one line of a `.pub` file; white space around it is ignored."""
    text = line.strip()
    if not text or text.startswith("#"):
        return KeyRefused("there is no key; give the line of a .pub file, such as id_ed25519.pub")
    if (
        "PRIVATE KEY" in text
        or text.startswith("PuTTY-User-Key-File")
        or text.replace("\n", "").startswith(_PRIVATE_BODY)
    ):
        return KeyRefused(
            "this is a private key, which must never leave its owner's machine;"
            " give the .pub file beside it (ssh-keygen -y -f FILE prints it)"
        )
    if text.startswith("---- BEGIN SSH2 PUBLIC KEY"):
        return KeyRefused(
            "this is the format of RFC 4716; ssh-keygen -i -f FILE turns it into one line"
        )
    if text.startswith("-----BEGIN"):
        return KeyRefused("this is PEM; ssh-keygen -i -m PKCS8 -f FILE turns it into one line")
    if "\n" in text or "\r" in text:
        return KeyRefused("there is more than one line; give one key at a time")
    if len(text) > MAX_LINE_CHARS:
        return KeyRefused(f"the line is longer than {MAX_LINE_CHARS} characters")
    key_type, _, rest = text.replace("\t", " ").partition(" ")
    if "-cert-v0" in key_type and key_type.endswith("@openssh.com"):
        return KeyRefused(
            "this is a certificate; certificates need no registration, their CA is trusted"
        )
    if key_type in ("ssh-dss", "ssh-dsa"):
        return KeyRefused("DSA keys are broken and refused; make one with ssh-keygen -t ed25519")
    if key_type not in _OURS:
        if _TYPE_INSIDE.search(text):
            return KeyRefused(
                "there are options in front of the key, which are not supported here;"
                " give the key alone, beginning with its type"
            )
        return KeyRefused(
            "this is no OpenSSH public key of a type that is taken: ed25519, ecdsa, rsa (2048 bits"
            " or more), sk-ed25519, sk-ecdsa; make one with ssh-keygen -t ed25519"
        )
    encoded, _, comment = rest.lstrip(" ").partition(" ")
    if not encoded:
        return KeyRefused(_MALFORMED.format("it ends after its type"))
    return _read(key_type, encoded, comment)


def _read(key_type: str, encoded: str, comment: str) -> PublicKey | KeyRefused:
    try:
        blob = a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return KeyRefused(_MALFORMED.format("what follows the type is not base64"))
    try:
        bits = _bits(key_type, Reader(blob))
    except TruncatedError:
        return KeyRefused(_MALFORMED.format("it is cut short"))
    except _DamagedError as damage:
        return KeyRefused(_MALFORMED.format(damage))
    except _ExponentError as error:
        return KeyRefused(str(error))
    if key_type == "ssh-rsa" and bits < MIN_RSA_BITS:
        return KeyRefused(
            f"an RSA key of {bits} bits is too weak; it needs {MIN_RSA_BITS} or more;"
            " make one with ssh-keygen -t ed25519"
        )
    if key_type == "ssh-rsa" and bits > MAX_RSA_BITS:
        return KeyRefused(f"an RSA key of {bits} bits is too long; at most {MAX_RSA_BITS}")
    shown = "".join(c if c.isprintable() else "?" for c in comment.strip()[:MAX_COMMENT_CHARS])
    line = f"{key_type} {b64encode(blob).decode('ascii')}"
    return PublicKey(key_type, bits, format_fingerprint(blob), line, shown)


def _read_positive(fields: Reader) -> int:
    """Read a positive mpint (RFC 4251 §5): two's complement, big-endian, in the shortest form."""
    text = fields.read_string()
    if not text or text[0] >= 0x80 or (text[0] == 0 and (len(text) == 1 or text[1] < 0x80)):
        raise _DamagedError("a number in it is not positive, or not in its shortest form")
    return int.from_bytes(text, "big")


def _bits(key_type: str, fields: Reader) -> int:
    """Return the key's size in bits, after checking that every field fits its type."""
    if fields.read_string() != key_type.encode("ascii"):
        raise _DamagedError("its base64 is that of another type")
    if key_type == "ssh-rsa":
        bits = _rsa_bits(exponent=_read_positive(fields), modulus=_read_positive(fields))
    elif "ed25519" in key_type:
        # RFC 8709 §4: 32 bytes, any of which may be a point's encoding.
        if len(fields.read_string()) != 32:
            raise _DamagedError("an Ed25519 key has 32 bytes")
        bits = 256
    else:
        bits = _ecdsa_bits(key_type, curve_name=fields.read_string(), point=fields.read_string())
    if key_type.startswith("sk-") and not fields.read_string():
        # PROTOCOL.u2f: the application, "ssh:" as a rule.
        raise _DamagedError("it names no application")
    if fields:
        raise _DamagedError("something follows the key in its base64")
    return bits


def _rsa_bits(exponent: int, modulus: int) -> int:
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0 or exponent >= modulus:
        raise _DamagedError("its numbers make no RSA key")
    if exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        raise _ExponentError(
            f"an RSA key with a public exponent of {exponent.bit_length()} bits is refused; at most"
            f" {MAX_RSA_EXPONENT_BITS}; make one with ssh-keygen -t ed25519"
        )
    return modulus.bit_length()


def _ecdsa_bits(key_type: str, curve_name: bytes, point: bytes) -> int:
    curve = _CURVES.get(curve_name)
    if curve is None or curve_name.decode("ascii") not in key_type:
        raise _DamagedError("its curve is not the one that its type names")
    # RFC 5656 §3.1, SEC 1 §2.3.3: 4, then x and y; OpenSSH accepts no compressed points.
    size = (curve.bits + 7) // 8
    x = int.from_bytes(point[1 : 1 + size], "big")
    y = int.from_bytes(point[1 + size :], "big")
    if (
        len(point) != 1 + 2 * size
        or point[0] != 4
        or max(x, y) >= curve.p
        or (y * y - (x * x * x - 3 * x + curve.b)) % curve.p
    ):
        raise _DamagedError("its point is not on its curve")
    return curve.bits
