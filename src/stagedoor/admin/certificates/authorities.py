"""The installation's two certificate authorities, from the files that the settings name."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stagedoor.keys.ca import CertificateAuthority, SigningKey
from stagedoor.keys.files import (
    KeyFileError,
    PrivateKey,
    load,
    load_or_create,
    private_text,
    public_line,
    read_public_line,
)
from stagedoor.model.errors import SettingsError
from stagedoor.net.ssh_agent import AgentKey
from stagedoor.settings.settings import Settings


def ensure_cas(settings: Settings) -> None:
    """Make both CAs where they are not there yet. For the start of a gateway, and for nothing else:
    a CA made anywhere else is one that no shell and no client knows. Raises StagedoorError.
    """
    if settings.keys.user_ca_agent is None:
        load_or_create(settings.user_ca_file, "stagedoor user CA")
    if not settings.host_ca_public_only:
        load_or_create(settings.host_ca_file, "stagedoor host CA")


def check_keys(settings: Settings) -> None:
    """Look at the keys that a start loads. Those that are not there yet are made by it.

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


def user_ca(settings: Settings) -> CertificateAuthority:
    """Return what signs user certificates; one in an agent blocks.

    Raises SettingsError where it is missing, KeyFileError.
    """
    agent = settings.keys.user_ca_agent
    if agent is not None:
        key: PrivateKey | SigningKey = AgentKey(agent, user_ca_line(settings))
    else:
        key = _made_by_serve(settings.user_ca_file, "user CA")
    return CertificateAuthority(key, time.time, settings.keys.principal_prefix or "")


def user_ca_line(settings: Settings) -> str:
    """The user CA's public key. Raises StagedoorError."""
    if settings.keys.user_ca_agent is not None:
        return read_public_line(settings.user_ca_file)
    return user_ca(settings).public_line()


def host_ca(settings: Settings) -> CertificateAuthority:
    """Signs host certificates. Raises SettingsError where it is missing, or where the settings name
    its public half only; KeyFileError.
    """
    if settings.host_ca_public_only:
        raise SettingsError(
            f"nothing can be signed by the host CA here: keys.host_ca_file ({settings.host_ca_file}) "
            "is its public half"
        )
    return CertificateAuthority(_made_by_serve(settings.host_ca_file, "host CA"), time.time)


def ca_in(file: Path) -> CertificateAuthority:
    """The CA whose private key is in `file`, which must be there. Raises StagedoorError."""
    return CertificateAuthority(_existing(file), time.time)


def public_half(file: Path) -> str:
    """The public line of a key, from either of its files. Raises StagedoorError."""
    try:
        return read_public_line(file)
    except KeyFileError:
        return public_line(_existing(file))


def _made_by_serve(file: Path, which: str) -> PrivateKey:
    try:
        return load(file)
    except FileNotFoundError:
        raise SettingsError(
            f"there is no {which} at {file}; `stagedoor serve` makes it at its first start, on the "
            "gateway, where its settings say (--config FILE)"
        ) from None


def _existing(file: Path) -> PrivateKey:
    try:
        return load(file)
    except FileNotFoundError:
        raise SettingsError(f"there is no key file {file}") from None


def host_ca_line(settings: Settings) -> str:
    """The host CA's public key, `ssh-ed25519 AAAA…`. Raises StagedoorError."""
    if settings.host_ca_public_only:
        return read_public_line(settings.host_ca_file)
    return host_ca(settings).public_line()


def ssh_host_certificate(settings: Settings, names: Sequence[str], valid_s: float) -> str:
    """The SSH listener's certificate: from the file that the settings name, or signed now for
    `names`. Raises StagedoorError.
    """
    file = settings.ssh.host_certificate_file
    if file is not None:
        return read_public_line(file)
    _, public = ensure_ssh_host_key(settings)
    return host_ca(settings).sign_host(public, names, valid_s)


def ensure_ssh_host_key(settings: Settings) -> tuple[bytes, str]:
    """The SSH listener's own key: the private half for asyncssh, and the public line.

    Made at the first use. Raises StagedoorError.
    """
    key = load_or_create(settings.ssh_host_key_file, "stagedoor ssh host key")
    return private_text(key), public_line(key)


def user_key(path: Path) -> str:
    """The public line of a user's own key at `path`, which is made if need be. Raises StagedoorError."""
    return public_line(load_or_create(path, path.stem))
