"""The installation's two certificate authorities, from the files that the settings name."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stagedoor.keys.ca import CertificateAuthority, SigningKey
from stagedoor.keys.files import (
    KeyFileError,
    PrivateKey,
    encode_private,
    format_public_line,
    load,
    load_or_create,
    read_public_line,
)
from stagedoor.model.errors import SettingsError
from stagedoor.net.ssh_agent import AgentKey
from stagedoor.settings.settings import Settings


def ensure_cas(settings: Settings) -> None:
    """Create the CAs that do not exist yet. Raises StagedoorError.

    Call this only when a gateway starts: no shell and no client would know a CA that was created elsewhere.
    """
    if settings.keys.user_ca_agent is None:
        load_or_create(settings.user_ca_file, "stagedoor user CA")
    if not settings.host_ca_public_only:
        load_or_create(settings.host_ca_file, "stagedoor host CA")


def check_keys(settings: Settings) -> None:
    """Check the keys that a start loads. Missing ones are fine, because the start creates them.

    Raises KeyFileError.
    """
    private = [settings.ssh_host_key_file] if settings.ssh.addresses else []
    if settings.keys.user_ca_agent is None:
        private.append(settings.user_ca_file)
    if not settings.host_ca_public_only:
        private.append(settings.host_ca_file)
    for file in private:
        with suppress(FileNotFoundError):
            load(file)


def load_user_ca(settings: Settings) -> CertificateAuthority:
    """Return the CA that signs user certificates. Signing blocks if the key is held by an ssh-agent.

    Raises KeyFileError, and SettingsError if the key is missing.
    """
    agent = settings.keys.user_ca_agent
    if agent is not None:
        key: PrivateKey | SigningKey = AgentKey(agent, read_user_ca(settings))
    else:
        key = _load_ca_key(settings.user_ca_file, "user CA")
    return CertificateAuthority(key, time.time, settings.keys.principal_prefix or "")


def read_user_ca(settings: Settings) -> str:
    """Return the user CA's public key, one line. Raises StagedoorError."""
    if settings.keys.user_ca_agent is not None:
        return read_public_line(settings.user_ca_file)
    return load_user_ca(settings).format_public_line()


def load_host_ca(settings: Settings) -> CertificateAuthority:
    """Return the CA that signs host certificates.

    Raises KeyFileError, and SettingsError if the key is missing or the settings name only its public half.
    """
    if settings.host_ca_public_only:
        raise SettingsError(
            f"nothing can be signed by the host CA here: keys.host_ca_file ({settings.host_ca_file}) "
            "is its public half"
        )
    return CertificateAuthority(_load_ca_key(settings.host_ca_file, "host CA"), time.time)


def load_ca(file: Path) -> CertificateAuthority:
    """Return the CA whose private key is in `file`, which must exist. Raises StagedoorError."""
    return CertificateAuthority(_load(file, f"there is no key file {file}"), time.time)


def read_public_half(file: Path) -> str:
    """Return the public line of a key, from its public or its private file. Raises StagedoorError."""
    try:
        return read_public_line(file)
    except KeyFileError:
        return format_public_line(_load(file, f"there is no key file {file}"))


def _load_ca_key(file: Path, which: str) -> PrivateKey:
    return _load(
        file,
        f"there is no {which} at {file}; `stagedoor serve` makes it at its first start, on the "
        "gateway, where its settings say (--config FILE)",
    )


def _load(file: Path, missing: str) -> PrivateKey:
    try:
        return load(file)
    except FileNotFoundError:
        raise SettingsError(missing) from None


def read_host_ca(settings: Settings) -> str:
    """Return the host CA's public key, `ssh-ed25519 AAAA…`. Raises StagedoorError."""
    if settings.host_ca_public_only:
        return read_public_line(settings.host_ca_file)
    return load_host_ca(settings).format_public_line()


def issue_host_certificate(settings: Settings, names: Sequence[str], valid_s: float) -> str:
    """Return the SSH listener's certificate, one line. Raises StagedoorError.

    It comes from the file that the settings name, or is signed now for `names` and `valid_s` seconds.
    """
    file = settings.ssh.host_certificate_file
    if file is not None:
        return read_public_line(file)
    _, public = ensure_ssh_host_key(settings)
    return load_host_ca(settings).sign_host(public, names, valid_s)


def ensure_ssh_host_key(settings: Settings) -> tuple[bytes, str]:
    """Return the SSH listener's own key: the private half for asyncssh, and the public line.

    The first call creates it. Raises StagedoorError.
    """
    key = load_or_create(settings.ssh_host_key_file, "stagedoor ssh host key")
    return encode_private(key), format_public_line(key)


def ensure_user_key(path: Path) -> str:
    """Return the public line of a user's key at `path`, created if it is missing. Raises StagedoorError."""
    return format_public_line(load_or_create(path, path.stem))
