"""Backups of the store, the keys, the recordings and the settings in one file; `admin.restore` restores them.

The store is copied first, so that the files it refers to are copied after it.
"""

import errno
import json
import os
import secrets
import stat
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from stagedoor import __version__
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import ConflictError, StagedoorError, StoreError
from stagedoor.settings.safe_files import hold_open, open_unplanted
from stagedoor.settings.settings import Settings
from stagedoor.store import backup as stores

SUFFIX = ".tar.gz"
FORM = 1
MANIFEST, STORE, SETTINGS = "manifest.json", "store", "settings.toml"
FOLDERS = ("keys", "recordings")
MANIFEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup in `file`. `outside` are files that the settings name elsewhere; it does not contain them."""

    file: Path
    outside: tuple[Path, ...]


def make_backup(
    service: AdminService,
    settings: Settings,
    settings_file: Path | None,
    into: Path,
    *,
    recordings: bool = True,
) -> Backup:
    """Write a backup into a new file, or into a file named by the date in the folder `into`. Audited.

    Gateways may run meanwhile. The file appears whole or not at all, with mode 0600. On a full disk the
    backup is made although the audit cannot record it. Raises ConflictError, StoreError, StagedoorError.
    """
    now = service.clock()
    if into.is_dir():
        into = into / f"stagedoor-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}{SUFFIX}"
    if into.exists():
        raise ConflictError(f"there is a file {into}; name another")
    with suppress(StoreError), service.change("store.backup") as change:
        change.unchanged = True
        change.fields |= {"file": str(into)}
    draft = into.with_name(f".{into.name}.{secrets.token_hex(4)}")
    dumped = into.with_name(f"{draft.name}.store")
    outside = tuple(_files_outside(settings))
    try:
        stores.dump(settings.store_location, dumped)
        manifest = {
            "form": FORM,
            "version": __version__,
            "at": now,
            "store": stores.find_store_kind(settings.store_location),
            "owner": _owner(settings.data_dir),
            "outside": [str(path) for path in outside],
        }
        with _create_archive(draft) as tar:
            _add_bytes(tar, MANIFEST, json.dumps(manifest).encode(), now)
            tar.add(dumped, STORE)
            if settings_file is not None and settings_file.exists():
                tar.add(settings_file.resolve(), SETTINGS)
            for folder in FOLDERS if recordings else ("keys",):
                _add_folder(tar, settings.data_dir, folder)
        os.link(draft, into)  # never replaces a file
    except FileExistsError:
        raise ConflictError(f"there is a file {into}; name another") from None
    except OSError as error:
        raise StagedoorError(_write_problem(into, error)) from error
    finally:
        draft.unlink(missing_ok=True)
        dumped.unlink(missing_ok=True)
    return Backup(into, outside)


@contextmanager
def _create_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Create an archive with mode 0600, which survives a power cut after the block. Raises OSError."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        file.flush()
        os.fsync(file.fileno())


def _owner(folder: Path) -> str:
    """Return the name of the folder's account.

    It is "" if there is no such folder, or if the account has no name, as in a container.
    """
    try:
        return folder.owner()
    except (FileNotFoundError, KeyError):
        return ""


def _write_problem(into: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{error.filename} cannot be backed up: {error.strerror}"
    return f"the backup {into} cannot be written: {error.strerror or error}"


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, at: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), int(at), 0o600
    tar.addfile(member, BytesIO(content))


def _add_folder(tar: tarfile.TarFile, data_dir: Path, name: str) -> None:
    """Add the files of a folder in `data_dir`, which belongs to the gateway's account."""
    try:
        folder = open_unplanted(data_dir / name, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    with hold_open(folder):
        tar.addfile(_member(name, os.fstat(folder)))
        for entry in sorted(entry.name for entry in os.scandir(folder)):
            # Retention may remove a file meanwhile.
            with suppress(FileNotFoundError):
                _add_file(tar, folder, entry, name)


def _add_file(tar: tarfile.TarFile, folder: int, entry: str, name: str) -> None:
    """Add `entry` if it is a file of the account. Of a file that grows, the length at the start is copied."""
    try:
        fd = os.open(
            entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a socket: open(2)
            return
        raise
    with os.fdopen(fd, "rb") as file:
        seen = os.fstat(fd)
        # A hard link may lead to a file of another account.
        foreign = seen.st_nlink > 1 and seen.st_uid != os.fstat(folder).st_uid
        if stat.S_ISREG(seen.st_mode) and not foreign:
            tar.addfile(_member(f"{name}/{entry}", seen), file)


def _member(name: str, seen: os.stat_result) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = stat.S_IMODE(seen.st_mode), seen.st_mtime
    if stat.S_ISDIR(seen.st_mode):
        member.type = tarfile.DIRTYPE
    else:
        member.size = seen.st_size
    return member


def _files_outside(settings: Settings) -> Iterator[Path]:
    """Yield the files with secrets or certificates that the settings name outside of `data_dir`."""
    tunnel, keys, ssh = settings.tunnel, settings.keys, settings.ssh
    named = [tunnel.certificate_file, tunnel.key_file, ssh.host_key_file, ssh.host_certificate_file]
    named += [keys.user_ca_file, keys.host_ca_file, keys.sign_in_key_file, keys.audit_key_file]
    named += [settings.store.password_file, settings.traces.ca_file, settings.traces.token_file]
    for provider in settings.sso:
        named += [provider.client_secret_file, provider.ca_file]
    for machine in settings.machines:
        named += [machine.keys_file, machine.ca_file]
    for sink in settings.audit.sinks:
        named += [sink.ca_file, sink.certificate_file, sink.key_file, sink.token_file]
    for path in dict.fromkeys(filter(None, named)):
        if not path.absolute().is_relative_to(settings.data_dir.absolute()):
            yield path
