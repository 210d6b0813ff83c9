"""`stagedoor session`: list, close and watch sessions."""

import time

import click

from stagedoor.cli import show
from stagedoor.cli.administration import open_administration
from stagedoor.cli.ask import confirm
from stagedoor.cli.attach import add_gateway_options, run
from stagedoor.cli.complete import session_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import make_reason_option
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import format_size
from stagedoor.wire.api.inputs import SessionsEnd
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.types import SessionEntry

_WATCH_EXIT_CODES = (
    "\b\nExit codes:\n  N    that of the watched program; 0 if you detach\n  2    wrong usage\n"
    "  255  this command itself failed: the line on stderr says why"
)
_WAIT_S = 10.0
_PAUSE_S = 0.1


@click.group()
def session() -> None:
    """List, close and watch sessions."""


@session.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor session list",
        "stagedoor session list --all --user alice",
        "stagedoor session list --json | jq -r '.[].id'",
    ),
)
@click.option("--all", "all_", is_flag=True, help="Include closed sessions.")
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most this many, the newest.",
)
@show.json_option
@click.pass_obj
def list_(
    installation: Installation, all_: bool, user: str | None, limit: int, json_: bool
) -> None:
    """List the open sessions, oldest first. Byte counts are some seconds old.

    If a gateway on another machine is killed, its sessions stay in the list for about a minute, beside those
    that its users have opened since.
    """
    query = {"all": str(all_).lower(), **({} if user is None else {"user": user})}
    with open_administration(installation) as admin:
        records: list[SessionEntry] = list(admin.list_all("sessions.list", query, limit))[::-1]
        shared = admin.is_shared
    if json_:
        return show.print_json(records)
    now = time.time()
    if all_:
        none = show.explain_empty(
            "sessions", user, "a login by a grant opens one: stagedoor grant list"
        )
    else:
        whose = "" if user is None else f" --user {user}"
        none = show.explain_empty(
            "open sessions", user, f"closed ones: stagedoor session list --all{whose}"
        )
    return show.print_table(
        [make_row(record, now, state=all_, instance=shared) for record in records], none
    )


def make_row(record: SessionEntry, now: float, *, state: bool, instance: bool) -> dict[str, object]:
    """Return a line of `session list`.

    `state` adds whether the session has ended, and `instance` the process that carries it.
    """
    opened_at = show.read_time(record.opened_at) or 0.0
    until = show.read_time(record.closed_at) or now
    cells: dict[str, object] = {
        "id": record.id,
        "user": record.user,
        "target": record.target,
        "from": record.source,
        "way": record.way,
        # The process and the machine, for a store that several machines share.
        **({"instance": record.instance} if instance else {}),
        "opened": show.format_local(opened_at),
        "lasting": show.format_duration(until - opened_at),
        "sent": format_size(record.sent),
        "received": format_size(record.received),
    }
    if state:
        cells["end"] = record.end or ("closing" if record.close_requested_at else "open")
    return cells


@session.command(
    "close",
    epilog=show.make_epilog(
        "stagedoor session close 0199f2c81a7",
        "stagedoor session close --user alice --reason 'laptop stolen'",
        "stagedoor session close --all --yes",
    ),
)
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=session_ids)
@click.option("--user", help="All sessions of this user.", shell_complete=user_names)
@click.option("--all", "all_", is_flag=True, help="All sessions.")
@make_reason_option("closed by an administrator")
@click.option("--yes", is_flag=True, help="With --user or --all: do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait until they are closed.")
@click.pass_obj
def close(
    installation: Installation,
    ids: tuple[str, ...],
    user: str | None,
    all_: bool,
    reason: str,
    yes: bool,
    no_wait: bool,
) -> None:
    """Close sessions by ID, by user, or all.

    The beginning of an ID is enough.

    Users may log in again at once. To prevent that, remove the grant, the token or the user.
    """
    if bool(ids) + (user is not None) + all_ != 1:
        raise click.UsageError("give IDs, --user or --all, and only one of these")
    with open_administration(installation) as admin:
        if ids:
            records = [admin.call("sessions.get", {"id": id_}) for id_ in dict.fromkeys(ids)]
        else:
            query = {} if user is None else {"user": user}
            records = list(admin.list_all("sessions.list", query))
            if records:
                confirm(f"Close {show.count(len(records), 'session')}?", yes=yes)
        wanted = [record.id for record in records if record.closed_at is None]
        for record in records:
            if record.closed_at is not None:
                show.note(f"{record.id} is closed already ({record.end}).")
        if not wanted:
            return show.note("No sessions are open.")
        admin.call("sessions.close", body=SessionsEnd(wanted, reason))
        if no_wait:
            return show.note(f"Asked to close {show.count(len(wanted), 'session')}.")
        still = _wait_closed(admin, wanted)
        elsewhere = admin.is_shared
    if still:
        raise StagedoorError(
            f"{len(still)} of {show.count(len(wanted), 'session')} still open after {_WAIT_S:g} s "
            f"({' '.join(still[:3])}{' …' if len(still) > 3 else ''}); see the gateway's log"
            + (
                "; if its machine is gone, the other gateways close them after about a minute"
                if elsewhere
                else ""
            )
        )
    return show.note(f"Closed {show.count(len(wanted), 'session')}.")


def _wait_closed(admin: Administration, ids: list[str]) -> list[str]:
    """Wait until the sessions are closed. Return the ids of those that are still open after a while."""
    deadline, still = time.monotonic() + _WAIT_S, ids
    while True:
        open_ids = {record.id for record in admin.list_all("sessions.list")}
        still = [id_ for id_ in still if id_ in open_ids]
        if not still or time.monotonic() >= deadline:
            return still
        time.sleep(_PAUSE_S)


@session.command(
    "watch",
    epilog=show.make_epilog(
        "stagedoor session watch 0199f2c81a7b --url https://shell.example.com",
        "STAGEDOOR_URL=https://shell.example.com stagedoor session watch 0199f2c81a7b",
        codes=_WATCH_EXIT_CODES,
    ),
)
@add_gateway_options
@click.argument("id_", metavar="ID")
def watch(id_: str, **reach: str | None) -> None:
    """Watch the terminal of the open session ID.

    The ID is on the home page, among the live sessions; administrators also see it in `session list`. The
    command works on any machine. Your grant must permit `watch`, and the user that you watch sees your name.
    Only WebShell sessions can be watched: ssh through a tunnel or a jump is encrypted end to end.
    """
    from stagedoor.wire.terminal.frames import Mode

    # The gateway returns the terminal's name with the ticket.
    run(id_, reach, "", Mode.WATCH, "", session=id_)
