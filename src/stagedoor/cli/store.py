"""`stagedoor store`: the database itself."""

from pathlib import Path

import click

from stagedoor.admin.migrate_store import migrate_store
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation


@click.group()
def store() -> None:
    """See to the store itself."""


@store.command(
    "copy",
    epilog=show.examples(
        "stagedoor --config new.toml store copy /var/lib/stagedoor/stagedoor.db",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def copy(installation: Installation, file: Path) -> None:
    """Copy the SQLite store FILE into the store that the settings name, which must be empty.

    Stop the gateway first. Users, keys, tokens, grants, sessions and the audit are copied, all or
    nothing, and FILE stays as it is. The keys of the CAs and recordings are files: move them yourself.
    """
    with open_service(installation.settings) as service:
        copied = migrate_store(service, file)
        name = service.database.name
    show.note(
        f"Copied {show.count(copied['users'], 'user')}, {show.count(copied['sessions'], 'session')} "
        f"and {show.count(copied['audit_events'], 'audit event')} from {file} to {name}."
    )
