"""The printing of results: tables for people, JSON for programs, notes on stderr."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
import msgspec

from stagedoor.wire.oneline import replace_unprintable
from stagedoor.wire.rfc3339 import parse_time, show_milliseconds

EXIT_CODES = (
    "\b\nExit codes:\n  0  done\n  1  failed, for example because the store cannot be read\n"
    "  2  wrong usage, settings or value\n  3  not found\n  4  exists already"
)
json_option = click.option("--json", "json_", is_flag=True, help="Print one JSON document.")


def make_epilog(*lines: str, codes: str = EXIT_CODES) -> str:
    """Return a command's epilog: examples of its use, and its exit codes."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) + f"\n\n{codes}"


def print_json(value: object) -> None:
    """Print a JSON document on stdout. `value` may be an answer of the API."""
    click.echo(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Print a remark for people on stderr, so that stdout has only results."""
    click.echo(text, err=True)


def print_table(rows: Sequence[Mapping[str, object]], none: str = "") -> None:
    """Print rows in aligned columns under the keys of the first row, or the note `none` if there are none.

    None is shown as `-`, and a boolean as `yes` or `no`. The column `set` of access sets is left out if no
    row belongs to one.
    """
    if not rows:
        if none:
            note(none)
        return
    names = [name for name in rows[0] if name != "set" or any(row[name] for row in rows)]
    lines = [[_show_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *map(len, cells)) for name, *cells in zip(names, *lines, strict=True)]
    head = _format_line([name.upper().replace("_", " ") for name in names], widths)
    click.echo(click.style(head, bold=True))  # click drops the style if stdout is no terminal
    for cells in lines:
        click.echo(_format_line(cells, widths))


def _show_cell(value: object) -> str:
    """Return the text of a cell. It cannot control a terminal, wherever the value comes from."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return replace_unprintable(str(value))


def explain_empty(things: str, of: str | None, more: str) -> str:
    """Return the note in place of an empty table, as `No keys of alice; add one: …`; `of` is the user."""
    return f"No {things}{'' if of is None else f' of {of}'}; {more}"


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def format_local(at: float | str | None, none: str = "-") -> str:
    """Format an instant for people, in local time: seconds since the epoch, or a time of the API."""
    seconds = read_time(at)
    if seconds is None:
        return none
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_end(at: float | str | None, now: float | None = None) -> str:
    """Format an expiry as `format_local` does; None never expires. `now` is None for the present time."""
    seconds = read_time(at)
    if seconds is None:
        return "never"
    return f"{format_local(seconds)}{' (over)' if seconds <= (now or time.time()) else ''}"


def format_iso(at: float | None) -> str | None:
    """Format an instant for programs: ISO 8601, UTC, milliseconds."""
    return None if at is None else show_milliseconds(at)


def read_time(at: float | str | None) -> float | None:
    """Return a time of the API as seconds since the epoch; seconds stay as they are."""
    return parse_time(at) if isinstance(at, str) else at


def make_time(at: float | None) -> datetime | None:
    """Return seconds since the epoch as a time in a request to the API."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def count(number: int, thing: str) -> str:
    """Format a number of things, such as `1 session` or `2 sessions`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def format_duration(seconds: float) -> str:
    """Format a duration for people by its two largest units, such as `1d12h`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        number, left = divmod(left, unit)
        if number or (name == "s" and not parts):
            parts.append(f"{number}{name}")
    return "".join(parts[:2])
