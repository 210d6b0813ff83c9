"""`stagedoor audit`: print the audit's events."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import click
from click.core import ParameterSource
from msgspec import structs

from stagedoor.cli import show
from stagedoor.cli.administration import open_administration
from stagedoor.cli.audit_export import export, key, verify
from stagedoor.cli.audit_sink import sink
from stagedoor.cli.complete import complete_apps, session_ids, user_names
from stagedoor.cli.when import begin
from stagedoor.model.errors import RefusedError
from stagedoor.model.event import EventKind
from stagedoor.model.target import Target
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.types import EventEntry
from stagedoor.wire.oneline import to_one_line
from stagedoor.wire.target import require_app

_LONGEST = 500
"""The most characters of a field in a line for people."""

_WAIT_S = 20
"""How long a gateway waits for an event before it answers."""
_PAUSE_S = 0.3
"""How often the store on this machine, which does not wait, is read for more events."""
_COLOURS: Mapping[str, str] = {
    EventKind.SESSION_OPENED: "green",
    EventKind.SESSION_CLOSED: "blue",
    EventKind.SESSION_DENIED: "red",
    EventKind.SESSION_FOUND: "yellow",
    EventKind.SESSION_RESUMED: "green",
    EventKind.CHANNEL_OPENED: "green",
    EventKind.CHANNEL_CLOSED: "blue",
    EventKind.CHANNEL_FILE: "cyan",
    EventKind.CHANNEL_FILES: "cyan",
    EventKind.RECORDING_ENDED: "blue",
    EventKind.RECORDING_FAILED: "red",
    EventKind.RECORDING_VIEWED: "cyan",
    EventKind.RUN_STARTED: "green",
    EventKind.RUN_ENDED: "blue",
    EventKind.RUN_CANCELLED: "yellow",
    EventKind.RUN_VIEWED: "cyan",
    EventKind.POLICY_CHANGED: "yellow",
    EventKind.AUDIT_CHECKPOINT: "white",
    EventKind.AUDIT_REMOVED: "yellow",
    EventKind.CERTIFICATE_SIGNED: "green",
}


def _parse_target(ctx: click.Context, param: click.Parameter, value: str | None) -> Target | None:
    """Parse the option --app, as its callback."""
    if value is None:
        return None
    try:
        return require_app(value)
    except RefusedError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.group(
    invoke_without_command=True,
    subcommand_metavar="[COMMAND [ARGS]...]",
    epilog=show.make_epilog(
        "stagedoor audit --since 8h",
        "stagedoor audit --follow",
        "stagedoor audit --session 0199f2c81a7",
        "stagedoor audit --app app01 --since 30d --until 7d",
        "stagedoor audit --kind session.denied --user alice",
        "stagedoor audit --since 2026-01-01 --json | jq -r .source | sort | uniq -c",
    ),
)
@click.option("--follow", "-f", is_flag=True, help="Print new events as they come, until Ctrl-C.")
@click.option(
    "--since", metavar="WHEN", callback=begin, help="Events since then: 8h (ago), 2026-12-31, …"
)
@click.option(
    "--until",
    metavar="WHEN",
    callback=begin,
    help="Events until then, in the same forms; not with --follow.",
)
@click.option(
    "--session",
    help="Events of this session; the beginning of the ID is enough.",
    shell_complete=session_ids,
)
@click.option("--user", help="Events of this user.", shell_complete=user_names)
@click.option(
    "--app",
    "target",
    metavar="APP[.ENVIRONMENT]",
    callback=_parse_target,
    help="Events of this app's sessions.",
    shell_complete=complete_apps,
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in EventKind]),
    metavar="KIND",
    help="Events of this kind, such as session.denied. May be given more than once.",
)
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(0, 1_000_000),
    help="Only this many of the newest. Default: all; with --follow 10, unless --since is given.",
)
@click.option("--json", "json_", is_flag=True, help="Print JSON, one event a line.")
@click.pass_context
def audit(
    ctx: click.Context,
    follow: bool,
    since: float | None,
    until: float | None,
    session: str | None,
    user: str | None,
    target: Target | None,
    kinds: tuple[str, ...],
    lines: int | None,
    json_: bool,
) -> None:
    """Print the audit, oldest first; export and verify it."""
    if ctx.invoked_subcommand is not None:
        return _refuse_options(ctx)
    if follow and until is not None:
        raise click.UsageError("--follow never ends; leave out --until or --follow")
    options = {
        "since": show.format_iso(since),
        "until": show.format_iso(until),
        "session": session,
        "user": user,
        "app": None if target is None else target.login_name,
        "kind": ",".join(kinds) or None,
    }
    query = {name: value for name, value in options.items() if value is not None}
    if lines is None and follow and since is None:
        lines = 10
    write, count = _write_json if json_ else _write_line, 0
    usual_end = (KeyboardInterrupt,) if follow else ()
    with open_administration(ctx.obj) as admin, suppress(*usual_end):
        for event in _read_events(admin, query, lines, follows=follow):
            write(event)
            count += 1
    if not (count or json_ or follow or lines == 0):
        if query:
            return show.note("No events that match; to print all: stagedoor audit")
        show.note("No events; each login writes one, and each change of users or grants")
    return None


def _read_events(
    admin: Administration, query: Mapping[str, str], last: int | None, *, follows: bool
) -> Iterator[EventEntry]:
    """Yield the events that match; with `last`, only this many of the newest. `follows` yields new ones too.

    It flushes stdout before it waits for new ones.
    """
    after = 0
    if last == 0:
        if not follows:
            return
        newest = admin.call("events.list", query={**query, "last": "1"})
        after = newest[-1].seq if newest else 0
    while True:
        paged = {**query, "after": str(after), "wait": str(_WAIT_S if follows else 0)}
        if last and not after:
            paged["last"] = str(last)
        events: list[EventEntry] = admin.call("events.list", query=paged)
        yield from events
        if events:
            after = events[-1].seq
        elif follows:
            sys.stdout.flush()
            time.sleep(_PAUSE_S)
        else:
            return


def _refuse_options(ctx: click.Context) -> None:
    """Refuse options of `audit` itself before a subcommand, where they mean nothing."""
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)} has no effect before `{ctx.invoked_subcommand}`; see "
            f"`stagedoor audit {ctx.invoked_subcommand} --help`"
        )


audit.add_command(export)
audit.add_command(key)
audit.add_command(sink)
audit.add_command(verify)


def _write_json(event: EventEntry) -> None:
    # Escaped to ASCII, so that text from a client sends no control sequence to a terminal.
    print(json.dumps(structs.asdict(event)))


def _write_line(event: EventEntry) -> None:
    kind = click.style(f"{event.kind:<16}", fg=_COLOURS.get(event.kind))
    words = [show.format_local(event.at), kind, event.identity or "-"]
    if event.kind == EventKind.POLICY_CHANGED:
        words += [str(event.fields.get("action", ""))]
    words += [word for word in (event.target, event.source, event.way, event.reason) if word]
    if event.session:
        words.append(event.session)
    words += [
        f"{name}={_format_value(name, value)}"
        for name, value in event.fields.items()
        if name not in ("action", "signature") and value not in (None, "")
    ]
    click.echo("  ".join(words))


def _format_value(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        return show.format_local(value)
    text = to_one_line(str(value), _LONGEST)
    if len(str(value)) > _LONGEST:
        text += f" ({len(str(value))} characters; --json prints them)"
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text
