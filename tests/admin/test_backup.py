"""Backups where a folder is a link: an administrator's to a larger disk, or a trap in an account's folder."""

import os
import time
from pathlib import Path

import pytest

from stagedoor.admin.service import open_service
from stagedoor.admin.stored.backup import make_backup, restore_backup
from stagedoor.model.errors import RefusedError
from stagedoor.settings.file import load_settings

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
