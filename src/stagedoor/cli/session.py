"""`stagedoor session`: who is in, and out with them."""

import click

from stagedoor.admin import sessions as oversight
from stagedoor.admin.service import open_service
from stagedoor.admin.sessions import SessionRecord
from stagedoor.cli import show
from stagedoor.cli.ask import sure
from stagedoor.cli.attach import reaching, run
from stagedoor.cli.complete import session_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.model.units import size

_WAIT_S = 10.0


@click.group()
def session() -> None:
    """Show who is inside; close sessions."""


@session.command(
    "list",
    epilog=show.examples(
        "stagedoor session list",
        "stagedoor session list --all --user alice",
        "stagedoor session list --json | jq -r '.[].id'",
    ),
)
@click.option("--all", "all_", is_flag=True, help="Closed sessions too.")
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many, the newest.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(
    installation: Installation, all_: bool, user: str | None, limit: int, json_: bool
) -> None:
    """List the open sessions, oldest first. Byte counts are some seconds old."""
    with open_service(installation.settings, create=False) as service:
        found = oversight.list_sessions(service, open_only=not all_, identity=user, limit=limit)
        now = service.clock()
        shared = service.database.shared
    if json_:
        return show.as_json([document(one) for one in found])
    if all_:
        none = show.no("sessions", user, "a login by a grant opens one: stagedoor grant list")
    else:
        whose = "" if user is None else f" --user {user}"
        none = show.no("open sessions", user, f"closed ones: stagedoor session list --all{whose}")
    return show.table([row(one, now, state=all_, instance=shared) for one in found], none)


def row(one: SessionRecord, now: float, *, state: bool, instance: bool) -> dict[str, str]:
    """A line of `session list`; `state`: whether it has ended, `instance`: which process has it."""
    until = now if one.closed_at is None else one.closed_at
    cells = {
        "id": one.id,
        "user": one.identity,
        "target": one.target,
        "from": one.source,
        "way": one.way,
        # Which process of which machine has it, where there is more than one of them.
        **({"instance": one.instance} if instance else {}),
        "opened": show.local(one.opened_at),
        "lasting": show.lasting(until - one.opened_at),
        "sent": size(one.sent),
        "received": size(one.received),
    }
    if state:
        cells["end"] = one.end or ("closing" if one.close_requested_at else "open")
    return cells


def document(one: SessionRecord) -> dict[str, object]:
    """One of `session list --json`."""
    return {
        "id": one.id,
        "user": one.identity,
        "target": one.target,
        "source": one.source,
        "way": one.way,
        "instance": one.instance,
        "opened_at": show.iso(one.opened_at),
        "closed_at": show.iso(one.closed_at),
        "end": one.end,
        "sent": one.sent,
        "received": one.received,
        "last_active_at": show.iso(one.last_active_at),
        "close_requested_at": show.iso(one.close_requested_at),
        "close_reason": one.close_reason,
    }


@session.command(
    "close",
    epilog=show.examples(
        "stagedoor session close 0199f2c81a7",
        "stagedoor session close --user alice --reason 'laptop stolen'",
        "stagedoor session close --all --yes",
    ),
)
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=session_ids)
@click.option("--user", help="All sessions of this user.", shell_complete=user_names)
@click.option("--all", "all_", is_flag=True, help="All sessions.")
@click.option(
    "--reason",
    default="closed by an administrator",
    show_default=True,
    help="The reason, for the person and the audit. One line.",
)
@click.option("--yes", is_flag=True, help="Do not ask, with --user and --all.")
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

    Users may come back at once: to keep somebody out, remove the grant, the token or the user.
    """
    if bool(ids) + (user is not None) + all_ != 1:
        raise click.UsageError("name sessions, or give --user or --all, and only one of these")
    if not reason.isprintable() or len(reason) > 200:
        raise click.UsageError("--reason is one line of 200 characters at most")
    with open_service(installation.settings, create=False) as service:
        if ids:
            found = [oversight.find_session(service, one) for one in dict.fromkeys(ids)]
        else:
            found = oversight.list_sessions(service, identity=user, limit=None)
            if found:
                sure(f"Close {show.count(len(found), 'session')}?", yes=yes)
        wanted = [one.id for one in found if one.closed_at is None]
        for one in found:
            if one.closed_at is not None:
                show.note(f"{one.id} was closed before ({one.end}).")
        if not wanted:
            return show.note("There is no open session to close.")
        oversight.request_close(service, wanted, reason)
        if no_wait:
            return show.note(f"Asked to close {show.count(len(wanted), 'session')}.")
        still = oversight.wait_closed(service, wanted, _WAIT_S)
        elsewhere = service.database.shared
    if still:
        raise StagedoorError(
            f"{len(still)} of {show.count(len(wanted), 'session')} still open after {_WAIT_S:g} s "
            f"({' '.join(still[:3])}{' …' if len(still) > 3 else ''}); see the gateway's log"
            + (
                "; if its machine is gone, the other gateways close them within two minutes"
                if elsewhere
                else ""
            )
        )
    return show.note(f"Closed {show.count(len(wanted), 'session')}.")


@session.command(
    "watch",
    epilog=show.examples(
        "stagedoor session watch 0199f2c81a7b --url https://shell.example.com",
        "STAGEDOOR_URL=https://shell.example.com stagedoor session watch 0199f2c81a7b",
    ),
)
@reaching
@click.argument("id_", metavar="ID")
def watch(id_: str, **reach: str | None) -> None:
    """Watch the terminal of the open session ID.

    The ID is from `session list`. It works on any machine.

    It takes a grant to watch (`stagedoor grant add … --allow watch`), and the person who is watched sees
    your name. Only the WebShell's sessions can be watched: ssh by a tunnel or a jump is encrypted end to end.
    """
    from stagedoor.wire.terminal import Mode

    # Which terminal it is, the gateway says with the ticket.
    run(id_, reach, "", Mode.WATCH, "", session=id_)
