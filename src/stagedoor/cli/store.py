"""`stagedoor store`: back up, restore and copy the store."""

import time
from pathlib import Path

import click

from stagedoor.admin.backup import make_backup
from stagedoor.admin.restore import migrate_store, restore_backup
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation


@click.group()
def store() -> None:
    """Back up, restore and copy the store."""


@store.command(
    "copy",
    epilog=show.make_epilog(
        "stagedoor --config new.toml store copy /var/lib/stagedoor/stagedoor.db",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def copy(installation: Installation, file: Path) -> None:
    """Copy the SQLite store FILE into the store of the settings.

    The target must be empty.

    Stop the gateway first. Users, keys, tokens, grants, sessions and the audit are copied, all or nothing,
    and FILE stays unchanged. The CAs' keys and the recordings are files: move them yourself.
    """
    with open_service(installation.settings) as service:
        copied = migrate_store(service, file)
        name = service.database.name
    show.note(
        f"Copied {show.count(copied['users'], 'user')}, {show.count(copied['sessions'], 'session')} "
        f"and {show.count(copied['audit_events'], 'audit event')} from {file} to {name}."
    )


@store.command(
    "backup",
    epilog=show.make_epilog(
        "stagedoor store backup /var/backups",
        "stagedoor store backup /mnt/safe/before-upgrade.tar.gz",
    ),
)
@click.argument("to", type=click.Path(path_type=Path), metavar="DIR|FILE")
@click.option("--no-recordings", is_flag=True, help="Leave out the recordings, which may be large.")
@click.pass_obj
def backup(installation: Installation, to: Path, no_recordings: bool) -> None:
    """Back up store, keys, recordings and settings.

    Gateways may run meanwhile. In the folder DIR, the file is named after the date. It contains the private
    keys: keep it as safe as the machine itself. A PostgreSQL store is dumped by pg_dump.
    """
    settings = installation.settings
    with open_service(settings, create=False) as service:
        archive = make_backup(
            service, settings, installation.file, to, recordings=not no_recordings
        )
    click.echo(archive.file)
    show.note("It contains private keys, with which an attacker can pose as this gateway.")
    for path in archive.outside:
        show.note(f"Not in it, so back it up yourself: {path}")


@store.command(
    "restore",
    epilog=show.make_epilog(
        "stagedoor store restore /var/backups/stagedoor-20261128T031500Z.tar.gz",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Move existing files aside, and restore anyway.")
@click.pass_obj
def restore(installation: Installation, file: Path, force: bool) -> None:
    """Restore a backup; no gateway may run.

    The settings name the places to restore to. If there is no settings file, the backup's is restored first.
    All that was written after the backup is lost, audit events too; sinks of the audit still have those.
    """
    restored = restore_backup(file, installation.file, force=force, now=time.time())
    with (
        open_service(restored.settings, create=False) as service,
        service.change("store.restore") as change,
    ):
        change.unchanged = True
        change.fields |= {"file": str(file)}
    click.echo(f"Restored {file} to {restored.settings.data_dir}.")
    for aside in restored.moved:
        show.note(f"The files from before are in {aside}; remove them once all works.")
    if restored.settings_kept:
        show.note(
            f"{installation.file} is unchanged; the backup has its own as settings.toml (tar -xzf)."
        )
    for path in restored.outside:
        show.note(f"Not in the backup, so restore it yourself: {path}")
