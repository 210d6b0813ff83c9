"""Backups of the store, the keys, the recordings and the settings in one file, and restoring them.

The store is copied first, so that the files it refers to are copied after it.
"""

import errno
import json
import os
import pwd
import secrets
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from stagedoor import __version__
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import ConflictError, RefusedError, StagedoorError, StoreError
from stagedoor.settings.careful import is_planted, open_unplanted
from stagedoor.settings.file import load_settings
from stagedoor.settings.settings import STORE_FILE, Settings
from stagedoor.store import backup as stores
from stagedoor.store.liveness.instances import LockState, instances_folder, lock_state

SUFFIX = ".tar.gz"
_FORM = 1
_MANIFEST, _STORE, _SETTINGS = "manifest.json", "store", "settings.toml"
_FOLDERS = ("keys", "recordings")
_MANIFEST_BYTES = 1024 * 1024


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
        stores.dump(settings.place, dumped)
        manifest = {
            "form": _FORM,
            "version": __version__,
            "at": now,
            "store": stores.kind_of(settings.place),
            "owner": _owner(settings.data_dir),
            "outside": [str(path) for path in outside],
        }
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                _add_bytes(tar, _MANIFEST, json.dumps(manifest).encode(), now)
                tar.add(dumped, _STORE)
                if settings_file is not None and settings_file.exists():
                    tar.add(settings_file.resolve(), _SETTINGS)
                for folder in _FOLDERS if recordings else ("keys",):
                    _add_folder(tar, settings.data_dir, folder)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, into)  # never replaces a file
    except FileExistsError:
        raise ConflictError(f"there is a file {into}; name another") from None
    except OSError as error:
        raise StagedoorError(_write_problem(into, error)) from error
    finally:
        draft.unlink(missing_ok=True)
        dumped.unlink(missing_ok=True)
    return Backup(into, outside)


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
    try:
        tar.addfile(_member(name, os.fstat(folder)))
        for entry in sorted(entry.name for entry in os.scandir(folder)):
            # Retention may remove a file meanwhile.
            with suppress(FileNotFoundError):
                _add_file(tar, folder, entry, name)
    finally:
        os.close(folder)


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


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of restoring a backup.

    `settings_kept` is true if an existing settings file was kept. `outside` are the files that the backup
    does not contain. `moved` are the folders with the files that were put aside.
    """

    settings: Settings
    settings_kept: bool
    outside: tuple[str, ...]
    moved: tuple[Path, ...]


def restore_backup(file: Path, settings_file: Path, *, force: bool, now: float) -> RestoreResult:
    """Restore the backup `file` to the places that the settings name.

    If there is no settings file, the one from the backup is written first. Existing files are an error, or
    are put aside with `force`. Raises RefusedError, StagedoorError.
    """
    try:
        with tarfile.open(file, "r:gz") as tar:
            manifest = _read_manifest(tar, file)
            kept = settings_file.exists()
            if not kept:
                _write_settings(tar, settings_file)
            settings = load_settings(settings_file)
            _refuse_running(settings)
            if manifest["store"] != stores.kind_of(settings.place):
                raise RefusedError.with_mend(
                    f"{file} has a store of {manifest['store']}, and the settings name another kind",
                    "restore it where store.url fits, and see: stagedoor store copy --help",
                )
            _make_data_dir(settings.data_dir, str(manifest["owner"]))
            moved = _put_aside(settings, force=force, now=now)
            _extract(tar, settings, force=force)
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise RefusedError(f"{file} is no backup of stagedoor, or is damaged: {error}") from None
    except OSError as error:
        raise StagedoorError(
            f"{error.filename or file} cannot be restored: {error.strerror or error}"
        ) from error
    return RestoreResult(settings, kept, tuple(manifest["outside"]), moved)


def _read_manifest(tar: tarfile.TarFile, file: Path) -> dict[str, Any]:
    member = tar.next()
    if member is None or member.name != _MANIFEST or member.size > _MANIFEST_BYTES:
        raise ValueError("it begins with no manifest")
    content = tar.extractfile(member)
    assert content is not None, "it is a file"
    manifest = json.loads(content.read())
    if manifest["form"] != _FORM:
        raise RefusedError(f"{file} was made by a newer stagedoor ({manifest['version']}); upgrade")
    return dict(manifest)


def _write_settings(tar: tarfile.TarFile, settings_file: Path) -> None:
    member = next((member for member in tar.getmembers() if member.name == _SETTINGS), None)
    if member is None:
        raise RefusedError(
            f"there is no settings file {settings_file}, and none in the backup; make one, which may be "
            "empty"
        )
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    _write(tar, member, settings_file)


def _refuse_running(settings: Settings) -> None:
    """Raise RefusedError if a gateway runs on the data folder."""
    for folder in (instances_folder(settings.data_dir), settings.data_dir / "gateways"):
        for lock in sorted(folder.glob("*.lock")):
            if lock_state(folder, lock.stem) is LockState.LIVES:
                raise RefusedError(
                    f"a gateway runs on {settings.data_dir}; stop it first: systemctl stop stagedoor"
                )


def _put_aside(settings: Settings, *, force: bool, now: float) -> tuple[Path, ...]:
    """Move existing files into a new folder and return it, or raise RefusedError without `force`."""
    folder = settings.data_dir
    folders = [folder / name for name in _FOLDERS]
    existing = [path for path in folders if _has_files(path) or is_planted(path)]
    existing += [path for path in sorted(folder.glob(f"{STORE_FILE}*")) if path.is_file()]
    if existing and not force:
        raise RefusedError(
            f"{folder} is not empty (there is {existing[0].name}); restore elsewhere, or give --force, which "
            "puts aside what is there"
        )
    aside = folder / f"before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    if existing:
        aside.mkdir(mode=0o700)
        # By descriptor: the account may replace it by a link to a folder of root meanwhile.
        fd = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for path in existing:
                os.rename(path, path.name, dst_dir_fd=fd)
        finally:
            os.close(fd)
    return (aside,) if existing else ()


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _extract(tar: tarfile.TarFile, settings: Settings, *, force: bool) -> None:
    data_dir = settings.data_dir
    members = {member.name: member for member in tar.getmembers()}
    for name, member in members.items():
        if name in (_MANIFEST, _SETTINGS):
            continue
        if name == _STORE:
            _restore_store(tar, member, settings, force=force)
            continue
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in _FOLDERS or len(parts) > 2 or ".." in parts:
            raise ValueError(f"it has a file {name!r}")
        if (member.isdir() or member.issym()) and len(parts) == 1:
            # A link, in older backups, is restored as a folder: its files follow.
            _make_folder(data_dir, name)
        elif member.isfile() and len(parts) == 2:
            folder = open_unplanted(data_dir / parts[0], os.O_RDONLY | os.O_DIRECTORY)
            try:
                _write(tar, member, Path(parts[1]), folder)
            finally:
                os.close(folder)
        else:
            raise ValueError(f"{name!r} is no file")


def _restore_store(
    tar: tarfile.TarFile, member: tarfile.TarInfo, settings: Settings, *, force: bool
) -> None:
    if isinstance(settings.place, Path):
        _write(tar, member, settings.place)
        return
    dumped = settings.data_dir / f".restore.{secrets.token_hex(4)}"
    try:
        _write(tar, member, dumped)
        stores.load(settings.place, dumped, replace=force)
    finally:
        dumped.unlink(missing_ok=True)


def _make_data_dir(folder: Path, owner: str) -> None:
    """Create `data_dir` for the account that had it, if that account exists here."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        with suppress(KeyError):
            account = pwd.getpwnam(owner)
            os.chown(folder, account.pw_uid, account.pw_gid)


def _make_folder(data_dir: Path, name: str) -> None:
    (data_dir / name).mkdir(mode=0o700, exist_ok=True)
    fd = open_unplanted(data_dir / name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _give_to_owner(fd, data_dir.stat())
    finally:
        os.close(fd)


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, folder: int | None = None
) -> None:
    """Write a new file at `target`, which is relative to the descriptor `folder` if there is one."""
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"{member.name!r} is no file")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(target, flags, 0o600, dir_fd=folder)
    with os.fdopen(fd, "wb") as file:
        shutil.copyfileobj(content, file)
        os.fchmod(fd, member.mode & 0o755)
        file.flush()
        os.utime(fd, (member.mtime, member.mtime))
        _give_to_owner(fd, target.parent.stat() if folder is None else os.fstat(folder))
        os.fsync(fd)


def _give_to_owner(fd: int, around: os.stat_result) -> None:
    """Give a file that root restores to the account of the folder that it is in."""
    if os.geteuid() == 0 and around.st_uid != 0:
        os.fchown(fd, around.st_uid, around.st_gid)
