"""`stagedoor audit`: print the audit's events."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import click
from click.core import ParameterSource

from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.service import open_service
from stagedoor.admin.sessions import Filter, JournalEntry
from stagedoor.audit.chain import make_document
from stagedoor.cli import show
from stagedoor.cli.administration import open_administration
from stagedoor.cli.apps import parse_app_name
from stagedoor.cli.audit_export import export, key, verify
from stagedoor.cli.audit_sink import sink
from stagedoor.cli.complete import complete_apps, session_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.when import begin
from stagedoor.model.errors import RefusedError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.target import Target
from stagedoor.wire.api.types import EventEntry
from stagedoor.wire.oneline import to_one_line

_LONGEST = 500
"""The most characters of a field in a line for people."""

_WAIT_S = 20
"""How long a gateway waits for an event before it answers."""
_SAME = (
    "instance",
    "session",
    "identity",
    "target",
    "source",
    "way",
    "reason",
    "fields",
)
"""The fields of an event that the API shows as they are."""
_COLOURS = {
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


def _target(ctx: click.Context, param: click.Parameter, value: str | None) -> Target | None:
    """Parse the option --app, as its callback."""
    if value is None:
        return None
    try:
        return parse_app_name(value)
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
    callback=_target,
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
    type=click.IntRange(min=0),
    help="Only so many of the newest. Default: all; with --follow 10, unless --since is given.",
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
        _refuse_options(ctx)
        return None
    installation: Installation = ctx.obj
    write = _write_json if json_ else _write_line
    if follow and until is not None:
        raise click.UsageError("--follow goes on for ever; leave out --until, or --follow")
    wanted = Filter(since, session, user, until, target, tuple(map(EventKind, kinds)))
    if installation.context is not None:
        last = lines if lines is not None else 10 if follow and since is None else None
        return _print_remote(installation, wanted, write, last, follows=follow)
    with open_service(installation.settings, create=False) as service:
        if not follow:
            shown = False
            for entry in admin_sessions.list_entries(service, wanted, last=lines):
                write(entry)
                shown = True
            if not shown and lines != 0 and not json_:
                show.note(_none(wanted))
            return None
        last = lines if lines is not None else None if since is not None else 10
        try:
            for news in admin_sessions.follow(service, wanted, last=last):
                if news is None:
                    sys.stdout.flush()
                else:
                    write(news)
        except KeyboardInterrupt:
            return None  # the normal way to end it, not a failure


def _print_remote(
    installation: Installation,
    wanted: Filter,
    write: Callable[[JournalEntry], None],
    last: int | None,
    *,
    follows: bool,
) -> None:
    """Print the audit of the gateway in the context; with `follows`, until Ctrl-C."""
    query = {
        "since": show.make_time(wanted.since),
        "until": show.make_time(wanted.until),
        "session": wanted.session,
        "user": wanted.identity,
        "app": wanted.target and wanted.target.login_name,
        "kind": ",".join(wanted.kinds) or None,
        "last": last,
    }
    given = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in query.items()
        if value is not None
    }
    if last == 0 and not follows:
        return
    after = 0
    with open_administration(installation) as admin, suppress(KeyboardInterrupt):
        while True:
            paged = {**given, "after": str(after), "wait": str(_WAIT_S if follows else 0)}
            events: list[EventEntry] = admin.call("events.list", query=paged)
            for event in events:
                write(_make_entry(event))
                after = event.seq
                given.pop("last", None)
            sys.stdout.flush()
            if not events and not follows:
                break
    if not after and write is _write_line:
        show.note(_none(wanted))


def _make_entry(event: EventEntry) -> JournalEntry:
    fields = {name: getattr(event, name) for name in _SAME}
    at, kind = show.read_time(event.at), EventKind(event.kind)
    return JournalEntry(event.seq, Event(at=at or 0.0, kind=kind, **fields))


def _none(wanted: Filter) -> str:
    if wanted == Filter():
        return show.explain_empty(
            "events", None, "a login makes one, and a change of users or grants"
        )
    return show.explain_empty("events that match", None, "all of them: stagedoor audit")


def _refuse_options(ctx: click.Context) -> None:
    """Refuse options of `audit` itself before a subcommand, where they mean nothing."""
    given = [
        param.opts[0]
        for param in ctx.command.params
        if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: not an option of `stagedoor audit {ctx.invoked_subcommand}`, or "
            "write it behind that"
        )


audit.add_command(export)
audit.add_command(key)
audit.add_command(sink)
audit.add_command(verify)


def _write_json(entry: JournalEntry) -> None:
    # Escaped to ASCII, so that text from a client sends no control sequence to a terminal.
    print(json.dumps({"seq": entry.seq, **make_document(entry.event)}))


def _write_line(entry: JournalEntry) -> None:
    event = entry.event
    kind = click.style(f"{event.kind.value:<16}", fg=_COLOURS[event.kind])
    words = [show.format_local(event.at), kind, event.identity or "-"]
    if event.kind is EventKind.POLICY_CHANGED:
        words += [str(event.fields.get("action", ""))]
    words += [word for word in (event.target, event.source, event.way, event.reason) if word]
    if event.session:
        words.append(event.session)
    words += [
        f"{name}={_value(name, value)}"
        for name, value in event.fields.items()
        if name not in ("action", "signature") and value not in (None, "")
    ]
    click.echo("  ".join(words))


def _value(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        return show.format_local(value)
    text = to_one_line(str(value), _LONGEST)
    if len(str(value)) > _LONGEST:
        text += f" ({len(str(value))} characters; --json has them)"
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text
