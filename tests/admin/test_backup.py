"""Backups where a folder is a link: an administrator's to a larger disk."""

import time
from pathlib import Path

from stagedoor.admin.backup import make_backup, restore_backup
from stagedoor.admin.service import open_service
from stagedoor.settings.file import load_settings


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
