"""Backups: the store, the keys, the recordings and the settings in one file, and back again.

The store first: what it speaks of is in the files that are copied after it.
"""

import json
import os
import pwd
import secrets
import shutil
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
from stagedoor.settings.file import load_settings
from stagedoor.settings.settings import STORE_FILE, Settings
from stagedoor.store import backup as stores
from stagedoor.store.liveness.instances import Sign, instances_folder, sign_of

SUFFIX = ".tar.gz"
_FORM = 1
_MANIFEST, _STORE, _SETTINGS = "manifest.json", "store", "settings.toml"
_FOLDERS = ("keys", "recordings")
_MANIFEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backup:
    """`outside` are files that the settings name elsewhere, which are not in it."""

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

    Gateways may run. It is there whole or not at all, mode 0600. On a full disk it is made without a word in
    the audit. Raises ConflictError, StoreError, StagedoorError.
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
    outside = tuple(_outside(settings))
    try:
        stores.dump(settings.place, dumped)
        manifest = {
            "form": _FORM,
            "version": __version__,
            "at": now,
            "store": stores.kind_of(settings.place),
            "owner": settings.data_dir.owner() if settings.data_dir.exists() else "",
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
                    _add_folder(tar, settings.data_dir / folder, folder)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, into)  # never over another's
    except FileExistsError:
        raise ConflictError(f"there is a file {into}; name another") from None
    except OSError as error:
        raise StagedoorError(
            f"the backup {into} cannot be written: {error.strerror or error}"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
        dumped.unlink(missing_ok=True)
    return Backup(into, outside)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, at: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), int(at), 0o600
    tar.addfile(member, BytesIO(content))


def _add_folder(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    if not folder.is_dir():
        return
    # As the folder that it is, also through a link: people keep recordings on a larger disk.
    tar.addfile(tar.gettarinfo(folder.resolve(), name))
    for path in sorted(folder.iterdir()):
        # One that is gone meanwhile was removed by retention; one that grows is cut where it began.
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                _add_file(tar, path, f"{name}/{path.name}")


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> None:
    with path.open("rb") as file:
        member = tar.gettarinfo(arcname=name, fileobj=file)
        tar.addfile(member, file)


def _outside(settings: Settings) -> Iterator[Path]:
    """Files that the settings name, with secrets or certificates, elsewhere than in `data_dir`."""
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
    """`settings_kept`: the settings file that was there is as it was. `moved` is what was put aside."""

    settings: Settings
    settings_kept: bool
    outside: tuple[str, ...]
    moved: tuple[Path, ...]


def restore_backup(file: Path, settings_file: Path, *, force: bool, now: float) -> RestoreResult:
    """Bring back what `file` holds, where the settings say; where there is no settings file, the one from
    the backup is put there first.

    What is there already is refused, or put aside with `force`. Raises RefusedError, StagedoorError.
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
                raise RefusedError(
                    f"{file} has a store of {manifest['store']}, and the settings name another kind; "
                    "restore it where store.url fits, and see: stagedoor store copy --help"
                )
            _make_data_dir(settings.data_dir, str(manifest["owner"]))
            moved = _make_room(settings, force=force, now=now)
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
    member = next((one for one in tar.getmembers() if one.name == _SETTINGS), None)
    if member is None:
        raise RefusedError(
            f"there is no settings file {settings_file}, and none in the backup; make one, which may be "
            "empty"
        )
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    _write(tar, member, settings_file)


def _refuse_running(settings: Settings) -> None:
    for folder in (instances_folder(settings.data_dir), settings.data_dir / "gateways"):
        for lock in sorted(folder.glob("*.lock")):
            if sign_of(folder, lock.stem) is Sign.LIVES:
                raise RefusedError(
                    f"a gateway runs on {settings.data_dir}; stop it first: systemctl stop stagedoor"
                )


def _make_room(settings: Settings, *, force: bool, now: float) -> tuple[Path, ...]:
    """Put aside what is in the way."""
    folder = settings.data_dir
    folders = [folder / name for name in _FOLDERS]
    there = [path for path in folders if _has_files(path) or _is_trap(path)]
    there += [path for path in sorted(folder.glob(f"{STORE_FILE}*")) if path.is_file()]
    if there and not force:
        raise RefusedError(
            f"{folder} is not empty (there is {there[0].name}); restore elsewhere, or give --force, which "
            "puts aside what is there"
        )
    aside = folder / f"before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    if there:
        aside.mkdir(mode=0o700)
        for path in there:
            path.rename(aside / path.name)
    return (aside,) if there else ()


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _is_trap(path: Path) -> bool:
    """A link that neither root nor we have made: it would lead root to where its account may not write."""
    return path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid())


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
        target = data_dir.joinpath(*parts)
        if (member.isdir() or member.issym()) and len(parts) == 1:
            # A link, in older backups, is not made again: its files follow.
            target.mkdir(mode=0o700, exist_ok=True)
            _give(target, data_dir)
        elif member.isfile() and len(parts) == 2:
            _write(tar, member, target)
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
    """For the account that had it, if there is one of that name here."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        with suppress(KeyError):
            account = pwd.getpwnam(owner)
            os.chown(folder, account.pw_uid, account.pw_gid)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(member)
    if content is None:
        raise ValueError(f"{member.name!r} is no file")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(target, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        shutil.copyfileobj(content, file)
        os.fchmod(fd, member.mode & 0o755)
        file.flush()
        os.fsync(fd)
    os.utime(target, (member.mtime, member.mtime))
    _give(target, target.parent)


def _give(path: Path, like: Path) -> None:
    """What root restores is for the account whose folder it is in."""
    around = like.stat()
    if os.geteuid() == 0 and around.st_uid != 0:
        os.chown(path, around.st_uid, around.st_gid, follow_symlinks=False)
