"""Reads and writes of root in the folders of the gateway's account, where the account may plant links."""

import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin.backup import make_backup
from stagedoor.admin.restore import restore_backup
from stagedoor.admin.service import AdminService, add_user, open_service
from stagedoor.keys.files import KeyFileError, load_or_create
from stagedoor.model.errors import RefusedError, StagedoorError, StoreError
from stagedoor.recording.folder import open_to_read
from stagedoor.settings.file import load_settings
from stagedoor.store.liveness.instances import lock_state, remove_lock
from stagedoor.store.sqlite.reserve import Reserve

ACCOUNT = 4711


def backup_of(folder: Path, recordings: Path) -> Path:
    """One with a recording, which is kept in `recordings`."""
    settings = installation(folder)
    with open_service(load_settings(settings)) as service:
        recordings.mkdir(exist_ok=True)
        (recordings / "one.cast").write_text("{}\n")
        if not (folder / "data/recordings").exists():
            (folder / "data/recordings").symlink_to(recordings)
        return make_backup(service, load_settings(settings), settings, folder / "b.tar.gz").file


def installation(folder: Path) -> Path:
    folder.mkdir()
    settings = folder / "settings.toml"
    settings.write_text(f'data_dir = "{folder}/data"\n')
    return settings


def test_a_backup_of_recordings_on_another_disk_can_be_restored(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    file = backup_of(tmp_path / "here", disk)
    there = installation(tmp_path / "there")
    restore_backup(file, there, force=False, now=time.time())
    assert (tmp_path / "there/data/recordings/one.cast").read_text() == "{}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores into another account's folder")
def test_root_writes_nothing_where_a_link_of_the_account_leads(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    trap = tmp_path / "profile.d"
    trap.mkdir()
    file = backup_of(tmp_path / "here", tmp_path / "here/data/recordings")
    there = installation(tmp_path / "there")
    data = tmp_path / "there/data"
    data.mkdir(mode=0o700)
    (data / "recordings").symlink_to(trap)
    for path in (data, data / "recordings"):
        os.chown(path, ACCOUNT, ACCOUNT, follow_symlinks=False)
    with pytest.raises(RefusedError, match="there is recordings"):
        restore_backup(file, there, force=False, now=time.time())
    assert list(trap.iterdir()) == []
    restore_backup(file, there, force=True, now=time.time())
    assert list(trap.iterdir()) == []
    assert (data / "recordings/one.cast").stat().st_uid == ACCOUNT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores into another account's folder")
def test_root_puts_nothing_aside_where_a_link_of_the_account_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the account's choice came into root's folder: `stagedoor.db.sh` in /etc/profile.d."""
    trap = tmp_path / "profile.d"
    trap.mkdir()
    file = backup_of(tmp_path / "here", tmp_path / "here/data/recordings")
    there = installation(tmp_path / "there")
    data = tmp_path / "there/data"
    data.mkdir(mode=0o700)
    (data / "stagedoor.db.sh").write_text("evil")
    mkdir = Path.mkdir

    def exchanged(path: Path, *args: Any, **more: Any) -> None:
        mkdir(path, *args, **more)
        if path.name.startswith("before-restore"):
            path.rmdir()
            path.symlink_to(trap)

    monkeypatch.setattr(Path, "mkdir", exchanged)
    with pytest.raises(StagedoorError):
        restore_backup(file, there, force=True, now=time.time())
    assert list(trap.iterdir()) == []


SECRET = "root's secret"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads other accounts' folders")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The gateway's `data_dir`, which belongs to its account, beside a file and a folder of root's."""
    tmp_path.chmod(0o755)
    with open_service(load_settings(installation(tmp_path / "here"))) as service:
        add_user(service, "alice")
    data = tmp_path / "here/data"
    for path in (data, *data.iterdir()):
        os.chown(path, ACCOUNT, ACCOUNT)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/secret").write_text(SECRET)
    (tmp_path / "root/secret").chmod(0o644)
    return data


def plant(link: Path, target: Path) -> None:
    """As the account would."""
    link.symlink_to(target)
    os.chown(link, ACCOUNT, ACCOUNT, follow_symlinks=False)


def content(data: Path) -> dict[str, bytes]:
    """The files in a backup that root makes."""
    settings = data.parent / "settings.toml"
    with open_service(load_settings(settings)) as service:
        backup = make_backup(service, load_settings(settings), settings, data.parent / "b.tar.gz")
    with tarfile.open(backup.file) as tar:
        files = [member for member in tar.getmembers() if member.isfile()]
        return {file.name: opened.read() for file in files if (opened := tar.extractfile(file))}


@as_root
@pytest.mark.parametrize("name", ["keys", "recordings"])
def test_a_backup_does_not_follow_a_folder_of_the_accounts(data: Path, name: str) -> None:
    plant(data / name, data.parent.parent / "root")
    with pytest.raises(StagedoorError, match=f"{name} .* create it again as root"):
        content(data)
    assert not (data.parent / "b.tar.gz").exists()


@as_root
def test_a_backup_takes_files_alone(data: Path) -> None:
    """Not links, pipes (which would hold it up), and hard links to another account's file."""
    recordings = data / "recordings"
    recordings.mkdir()
    os.chown(recordings, ACCOUNT, ACCOUNT)
    secret = data.parent.parent / "root/secret"
    plant(recordings / "link", secret)
    os.mkfifo(recordings / "pipe")
    os.link(secret, recordings / "hard")
    (recordings / "one.cast").write_text("{}")
    assert [name for name in content(data) if name.startswith("recordings/")] == [
        "recordings/one.cast"
    ]


@as_root
def test_a_store_that_is_a_link_of_the_accounts_is_not_opened(data: Path) -> None:
    """Root gave its target mode 0600, whatever it was: /etc/passwd, for one."""
    secret = data.parent.parent / "root/secret"
    store = next(data.glob("*.db"))
    store.unlink()
    plant(store, secret)
    with (
        pytest.raises(StoreError, match="create it again as root"),
        open_service(load_settings(data.parent / "settings.toml")),
    ):
        pass
    assert secret.stat().st_mode & 0o777 == 0o644


@as_root
def test_a_store_that_root_has_linked_to_another_disk_is_opened(data: Path) -> None:
    store = next(data.glob("*.db"))
    for file in data.glob(f"{store.name}-*"):
        file.unlink()
    store.rename(data.parent / "moved.db")
    store.symlink_to(data.parent / "moved.db")
    with open_service(load_settings(data.parent / "settings.toml")) as service:
        assert isinstance(service, AdminService)


@as_root
def test_a_full_disk_empties_no_file_that_the_account_points_at(data: Path) -> None:
    secret = data.parent.parent / "root/secret"
    store = next(data.glob("*.db"))
    reserve = Reserve(store)
    reserve._file.unlink(missing_ok=True)
    plant(reserve._file, secret)
    reserve._log.touch()
    with pytest.raises(OSError, match="symbolic"):
        reserve._move_to_log()
    assert secret.read_text() == SECRET


@as_root
def test_no_key_is_made_or_read_where_a_link_of_the_account_leads(data: Path) -> None:
    root = data.parent.parent / "root"
    plant(data / "keys", root)
    with pytest.raises(KeyFileError, match="create it again as root"):
        load_or_create(data / "keys/user_ca")
    assert [path.name for path in root.iterdir()] == ["secret"]
    (data / "keys").unlink()
    key = load_or_create(root / "key")
    load_or_create(data / "keys/user_ca")
    (data / "keys/user_ca").unlink()
    plant(data / "keys/user_ca", root / "key")
    with pytest.raises(KeyFileError, match="create it again as root"):
        load_or_create(data / "keys/user_ca")
    assert key


@as_root
def test_no_other_file_is_followed(data: Path) -> None:
    secret = data.parent.parent / "root/secret"
    plant(data / "x.lock", secret)
    with pytest.raises(StoreError):
        lock_state(data, "x")
    (secret.parent / "etc.lock").touch()
    plant(data / "instances", secret.parent)
    for act in (lock_state, remove_lock):
        with pytest.raises(StoreError):
            act(data / "instances", "etc")
    assert (secret.parent / "etc.lock").exists()
    with pytest.raises(OSError, match="symbolic"):
        open_to_read(data / "x.lock")
