"""Private key files: OpenSSH's format, mode 0600, created once however many processes start together.

Keys from other sources may also be PKCS #8 in PEM (RFC 7468), as openssl and Helm write it.
"""

import errno
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_identity,
)

from stagedoor.model.errors import StagedoorError
from stagedoor.settings.safe_files import hold_open, is_planted, open_unplanted, refuse_link

PrivateKey = Ed25519PrivateKey
"""The type for code that only passes a key on."""

_PKCS8 = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


class KeyFileError(StagedoorError):
    """A key file cannot be used; the message has the reason and the remedy."""

    exit_code = 2


def load_or_create(path: Path, comment: str = "stagedoor") -> Ed25519PrivateKey:
    """Load the ed25519 key at `path`, or create it there, with its public key in `path`.pub.

    Any number of processes may do this concurrently, and all get the same key, because a new file is linked
    into place once complete, and only if there is none. If root creates the files in a folder of the account
    that runs the gateway, they are given to that account. Raises KeyFileError.
    """
    try:
        return load(path)
    except FileNotFoundError:
        pass
    try:
        _make_folder(path.parent)
        key = Ed25519PrivateKey.generate()
        is_new = _write(path, encode_private(key), 0o600)
        key = key if is_new else load(path)
        _write(
            path.with_name(path.name + ".pub"),
            f"{format_public_line(key)} {comment}\n".encode(),
            0o644,
        )
    except OSError as error:
        raise KeyFileError(f"cannot make the key {path}: {error.strerror or error}") from error
    return key


def load(path: Path) -> Ed25519PrivateKey:
    """Load an unencrypted ed25519 key, in OpenSSH's format or PKCS #8.

    Raises FileNotFoundError if there is none. Raises KeyFileError if the file cannot be read, if users other
    than its owner may read or write it, if its owner is neither this user nor root, or if it is another kind
    of key. There are two exceptions. Root may use the keys of the folder's owner, as when an administrator
    runs commands with the gateway's keys. A file owned by root may be readable by one of this process's
    groups, as a Secret is in a Kubernetes pod with an `fsGroup`.
    """
    content = read_private_file(path)
    if content is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    read = load_pem_private_key if content.startswith(_PKCS8) else load_ssh_private_key
    try:
        key = read(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # TypeError: the key is encrypted and no passphrase was given.
        kind = "has a passphrase" if isinstance(error, TypeError) else "is no OpenSSH private key"
        raise KeyFileError(
            f"the key {path} {kind}; one that can be used is made with: "
            f"ssh-keygen -t ed25519 -N '' -f FILE"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(
            f"the key {path} is not an ed25519 key; make one with: "
            "ssh-keygen -t ed25519 -N '' -f FILE"
        )
    return key


def read_private_file(path: Path) -> bytes | None:
    """Return the contents of a private file, at most 64 KiB, or None if there is none.

    Raises KeyFileError as `load` does.
    """
    try:
        with os.fdopen(open_unplanted(path, os.O_RDONLY), "rb") as file:
            _refuse_if_exposed(path, os.fstat(file.fileno()))
            return file.read(64 * 1024)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"cannot read the key {path}: {error.strerror or error}") from error


def write_private_file(path: Path, content: bytes) -> None:
    """Create a private file, complete and durable, unless it exists. Raises KeyFileError."""
    try:
        _make_folder(path.parent)
        _write(path, content, 0o600)
    except OSError as error:
        raise KeyFileError(f"cannot make the key {path}: {error.strerror or error}") from error


def make_key() -> Ed25519PrivateKey:
    """Return a new key, which is not in a file."""
    return Ed25519PrivateKey.generate()


def format_public_line(key: Ed25519PrivateKey) -> str:
    """Return the public key in OpenSSH's form: `ssh-ed25519 AAAA…`."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def read_public_line(path: Path) -> str:
    """Return the public key or certificate in a `.pub` file without its comment: `type base64`.

    Raises KeyFileError.
    """
    try:
        with path.open("rb") as file:
            text = file.read(64 * 1024).decode("ascii")
        key_type, encoded = text.split()[:2]
        load_ssh_public_identity(f"{key_type} {encoded}".encode())
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no OpenSSH public key or certificate") from error
    return f"{key_type} {encoded}"


def encode_private(key: Ed25519PrivateKey) -> bytes:
    """Return the key in OpenSSH's format, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _refuse_if_exposed(path: Path, seen: os.stat_result) -> None:
    exposed = stat.S_IRWXG | stat.S_IRWXO
    if seen.st_uid == 0 != os.geteuid() and seen.st_gid in (os.getegid(), *os.getgroups()):
        exposed &= ~stat.S_IRGRP
    if seen.st_mode & exposed:
        raise KeyFileError(
            f"the private key {path} can be used by others (mode {stat.S_IMODE(seen.st_mode):04o}); "
            f"close it with: chmod 600 {path}"
        )
    owners = {os.geteuid(), 0}
    if os.geteuid() == 0:
        owners.add(path.parent.stat().st_uid)
    if seen.st_uid not in owners:
        raise KeyFileError(
            f"the private key {path} belongs to another user (uid {seen.st_uid}); "
            f"take it with: chown {os.geteuid()} {path}"
        )


def _make_folder(folder: Path) -> None:
    """Create `folder` and its parents if they do not exist. Raises OSError, also for a planted link."""
    if is_planted(folder):
        raise refuse_link(folder)
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    # No link is followed, since another user owns the parent folder and could replace this one by a link.
    with hold_open(
        os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    ) as fd:
        _give(fd, folder)


def _give(fd: int, path: Path) -> None:
    """Give a file or folder that root creates to the owner of its parent folder.

    Otherwise the gateway could not read it.
    """
    around = path.parent.stat()
    if os.geteuid() == 0 and around.st_uid != 0:
        os.fchown(fd, around.st_uid, around.st_gid)


def _write(path: Path, content: bytes, mode: int) -> bool:
    """Create a complete, durable file at `path`. Return False if there was one already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            _give(file.fileno(), path)
            os.fsync(file.fileno())
        try:
            # link, unlike rename, never replaces a file that another process has created.
            os.link(draft, path)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    with hold_open(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
        os.fsync(folder)
    return True
