"""How results are printed: tables for people, JSON for programs, notes on stderr."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import click

from stagedoor.wire.rfc3339 import show_milliseconds

EXIT_CODES = (
    "\b\nExit codes:\n  0  done\n  1  failed (the store, or something that must run)\n"
    "  2  wrong usage, settings or value\n  3  not found\n  4  there already"
)


def examples(*lines: str, codes: str = EXIT_CODES) -> str:
    """A command's epilog: how it is used, and how it ends."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) + f"\n\n{codes}"


def as_json(value: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """A remark for the person, on stderr, so that stdout holds results only."""
    click.echo(text, err=True)


def table(rows: Sequence[Mapping[str, str]], none: str = "") -> None:
    """Rows in aligned columns under the keys of the first; where there are none, the note `none`."""
    if not rows:
        if none:
            note(none)
        return
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    head = _line([name.upper() for name in names], widths)
    click.echo(click.style(head, bold=True))  # click drops the style where stdout is no terminal
    for row in rows:
        click.echo(_line([row[name] for name in names], widths))


def no(things: str, of: str | None, more: str) -> str:
    """For `table`: `No keys of alice; add one: …`. `of`: the user that the listing is about."""
    return f"No {things}{'' if of is None else f' of {of}'}; {more}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def local(at: float | None, none: str = "-") -> str:
    """An instant for people, in local time."""
    if at is None:
        return none
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ends(at: float | None, now: float) -> str:
    """When something ends, for people."""
    if at is None:
        return "never"
    return f"{local(at)}{' (over)' if at <= now else ''}"


def iso(at: float | None) -> str | None:
    """An instant for programs: ISO 8601, UTC, milliseconds."""
    return None if at is None else show_milliseconds(at)


def count(number: int, thing: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def lasting(seconds: float) -> str:
    """A duration for people, its two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        number, left = divmod(left, unit)
        if number or (name == "s" and not parts):
            parts.append(f"{number}{name}")
    return "".join(parts[:2])
