"""`stagedoor audit sink`: the places that the audit is copied to."""

import click

from stagedoor.admin.audit.chain import ChainReader
from stagedoor.admin.audit.sinks import open_sink
from stagedoor.admin.service import AdminService, open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import NotFoundError, StagedoorError
from stagedoor.settings.audit import SinkSettings
from stagedoor.store.deliveries import read_position
from stagedoor.store.journal import read_last_seq


@click.group()
def sink() -> None:
    """Show and test the places that the audit is copied to."""


@sink.command("list", epilog=show.make_epilog("stagedoor audit sink list"))
@show.json_option
@click.pass_obj
def list_(installation: Installation, json_: bool) -> None:
    """List the sinks, and the backlog of each."""
    sinks = installation.settings.audit.sinks
    with (
        open_service(installation.settings, create=False) as service,
        service.database.read() as transaction,
    ):
        last = read_last_seq(transaction)
        positions = [(entry, read_position(transaction, entry.name)) for entry in sinks]
    rows = [
        {"name": entry.name, "url": entry.shown_url, "seq": seq, "backlog": last - (seq or 0)}
        for entry, seq in positions
    ]
    if json_:
        return show.print_json(rows)
    none = show.explain_empty("sinks", None, "add one to the settings, as [[audit.sinks]]")
    return show.print_table(rows, none)


@sink.command(
    "test",
    epilog=show.make_epilog("stagedoor audit sink test", "stagedoor audit sink test siem"),
)
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.pass_obj
def test(installation: Installation, names: tuple[str, ...]) -> None:
    """Send the newest event to each sink again.

    The line is the same both times, and `stagedoor audit verify` accepts it twice. Nothing is written to a
    file; the test is whether it is writable.
    """
    sinks = {entry.name: entry for entry in installation.settings.audit.sinks}
    for name in names:
        if name not in sinks:
            there = ", ".join(sinks) or "none"
            raise NotFoundError(f"there is no sink {name} in the settings; there are: {there}")
    if not sinks:
        raise NotFoundError("there is no sink in the settings; add one as [[audit.sinks]]")
    failed = 0
    with open_service(installation.settings, create=False) as service:
        for name in names or sinks:
            try:
                _try(service, sinks[name])
            except StagedoorError as error:
                failed += 1
                click.echo(f"{name}: {error}", err=True)
            else:
                click.echo(f"{name}: works")
    if failed:
        raise StagedoorError(f"{show.count(failed, 'sink')} failed")


def _try(service: AdminService, settings: SinkSettings) -> None:
    opened = open_sink(settings)
    try:
        with service.database.read() as transaction:
            last = read_last_seq(transaction)
        lines = ChainReader(service.database, last - 1).read()
        if not lines:
            raise StagedoorError("the audit is still empty, so there is nothing to send")
        opened.probe(lines[0])
    finally:
        opened.close_output()
