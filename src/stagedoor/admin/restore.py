"""Restoring a backup of the gateway's data, and copying a store into the one in the settings."""

import json
import os
import pwd
import secrets
import shutil
import tarfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stagedoor.admin.backup import FOLDERS, FORM, MANIFEST, MANIFEST_BYTES, SETTINGS, STORE
from stagedoor.admin.service import AdminService
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.settings.file import load_settings
from stagedoor.settings.safe_files import hold_open, is_planted, open_unplanted
from stagedoor.settings.settings import STORE_FILE, Settings
from stagedoor.store import backup as stores
from stagedoor.store.copy import copy_rows
from stagedoor.store.database import open_database
from stagedoor.store.liveness.instances import find_instances_folder, list_live


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
            if manifest["store"] != stores.find_store_kind(settings.store_location):
                raise RefusedError.with_fix(
                    f"{file} has a store of {manifest['store']}, and the settings name another kind",
                    "restore it where store.url fits, and see: stagedoor store copy --help",
                )
            _make_data_dir(settings.data_dir, str(manifest["owner"]))
            moved = _put_aside(settings, force=force, now=now)
            _extract(tar, settings, force=force)
    except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise RefusedError(f"{file} is not a backup of stagedoor, or is damaged: {error}") from None
    except OSError as error:
        raise StagedoorError(
            f"{error.filename or file} cannot be restored: {error.strerror or error}"
        ) from error
    return RestoreResult(settings, kept, tuple(manifest["outside"]), moved)


def _read_manifest(tar: tarfile.TarFile, file: Path) -> dict[str, Any]:
    member = tar.next()
    if member is None or member.name != MANIFEST or member.size > MANIFEST_BYTES:
        raise ValueError("it does not begin with a manifest")
    content = tar.extractfile(member)
    assert content is not None, "it is a file"
    manifest = json.loads(content.read())
    if manifest["form"] != FORM:
        raise RefusedError(f"{file} was made by a newer stagedoor ({manifest['version']}); upgrade")
    return dict(manifest)


def _write_settings(tar: tarfile.TarFile, settings_file: Path) -> None:
    member = next((member for member in tar.getmembers() if member.name == SETTINGS), None)
    if member is None:
        raise RefusedError(
            f"there is no settings file {settings_file}, and none in the backup; make one, which may be "
            "empty"
        )
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    _write(tar, member, settings_file)


def _refuse_running(settings: Settings) -> None:
    """Raise RefusedError if a gateway runs on the data folder."""
    if list_live(find_instances_folder(settings.data_dir)) or list_live(
        settings.data_dir / "gateways"
    ):
        raise RefusedError(
            f"a gateway runs on {settings.data_dir}; stop it first: systemctl stop stagedoor"
        )


def _put_aside(settings: Settings, *, force: bool, now: float) -> tuple[Path, ...]:
    """Move existing files into a new folder and return that. Raise RefusedError without `force`."""
    folder = settings.data_dir
    folders = [folder / name for name in FOLDERS]
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
        # By descriptor, since the account could replace it with a link to a folder of root.
        with hold_open(
            os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        ) as fd:
            for path in existing:
                os.rename(path, path.name, dst_dir_fd=fd)
    return (aside,) if existing else ()


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _extract(tar: tarfile.TarFile, settings: Settings, *, force: bool) -> None:
    data_dir = settings.data_dir
    members = {member.name: member for member in tar.getmembers()}
    for name, member in members.items():
        if name in (MANIFEST, SETTINGS):
            continue
        if name == STORE:
            _restore_store(tar, member, settings, force=force)
            continue
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in FOLDERS or len(parts) > 2 or ".." in parts:
            raise ValueError(f"it has a file {name!r}")
        if (member.isdir() or member.issym()) and len(parts) == 1:
            # A link, in older backups, is restored as a folder: its files follow.
            _make_folder(data_dir, name)
        elif member.isfile() and len(parts) == 2:
            with hold_open(
                open_unplanted(data_dir / parts[0], os.O_RDONLY | os.O_DIRECTORY)
            ) as folder:
                _write(tar, member, Path(parts[1]), folder)
        else:
            raise ValueError(f"{name!r} is not a file")


def _restore_store(
    tar: tarfile.TarFile, member: tarfile.TarInfo, settings: Settings, *, force: bool
) -> None:
    if isinstance(settings.store_location, Path):
        _write(tar, member, settings.store_location)
        return
    dumped = settings.data_dir / f".restore.{secrets.token_hex(4)}"
    try:
        _write(tar, member, dumped)
        stores.load(settings.store_location, dumped, replace=force)
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
    with hold_open(open_unplanted(data_dir / name, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        _give_to_owner(fd, data_dir.stat())


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, folder: int | None = None
) -> None:
    """Write a new file at `target`, which is relative to the descriptor `folder` if there is one."""
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"{member.name!r} is not a file")
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


def migrate_store(service: AdminService, file: Path) -> dict[str, int]:
    """Copy the SQLite store in `file`. Return how many rows were copied, by table. Audited.

    Raises StoreError, and RefusedError if a gateway still uses `file` or the service's store is not empty.
    """
    if list_live(find_instances_folder(file.parent)):
        raise RefusedError(f"a gateway runs on {file}; stop it first, so that nothing is lost")
    with (
        closing(open_database(file, create=False)) as source,
        service.change("store.copy") as change,
    ):
        copied = copy_rows(source, change.transaction)
        change.fields |= {"from": str(file), **copied}
    return copied
