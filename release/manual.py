"""Manual pages from the help texts: `stagedoor.1`, and one for each command (man-pages(7), groff_man(7)).

Run with the code that they are about: python -m release.manual FOLDER
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path

import click

from stagedoor import __version__
from stagedoor.cli.app import stagedoor
from stagedoor.client import tunnel

FILES = (
    (
        "/etc/stagedoor/stagedoor.toml",
        "The settings. /usr/share/doc/stagedoor/docs has all of them.",
    ),
    ("/var/lib/stagedoor", "The store, the keys of both CAs, recordings."),
)


def escaped(text: str) -> str:
    """Text as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(text: str) -> Iterator[str]:
    """A help text: click fills its paragraphs, except those that begin with a line of \\b."""
    for part in filter(str.strip, cleandoc(text).split("\n\n")):
        if part.startswith("\b"):
            yield verbatim(part.removeprefix("\b").strip("\n"))
        else:
            yield ".PP\n" + escaped(" ".join(part.split()))


def verbatim(text: str) -> str:
    return f".PP\n.nf\n{escaped(text)}\n.fi"


def described(command: click.Command, context: click.Context) -> Iterator[str]:
    """What a command does, its options, and its examples."""
    yield from paragraphs(command.help or "")
    records = [
        record for p in command.get_params(context) if (record := p.get_help_record(context))
    ]
    for name, about in records:
        if about and not name.startswith("-h,"):
            yield f".TP\n.B {escaped(name)}\n{escaped(about)}"
    yield from paragraphs(command.epilog or "")


def usage(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f".PP\n.B {escaped(context.command_path)}\n{escaped(pieces)}"


def below(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, "a group has what it lists"
        yield command, click.Context(command, info_name=name, parent=context)


def page(command: click.Command, context: click.Context, day: str) -> str:
    name = context.command_path.replace(" ", "-")
    lines = [
        f'.TH {escaped(name.upper())} 1 {day} "Stagedoor {__version__}" "Stagedoor"',
        f".SH NAME\n{escaped(name)} \\- {escaped(command.get_short_help_str(200).rstrip('.'))}",
    ]
    if name == "stagedoor-tunnel":
        lines.append(f".SH DESCRIPTION\n{verbatim(tunnel.help_text().strip())}")
        return "\n".join([*lines, ""])
    lines += [f".SH SYNOPSIS\n{usage(context)}", ".SH DESCRIPTION", *described(command, context)]
    if command is stagedoor:
        lines.append(".SH COMMANDS")
        for inner, inside in below(stagedoor, context):
            about = escaped(inner.get_short_help_str(200))
            lines.append(f".TP\n.BR stagedoor\\-{escaped(str(inside.info_name))} (1)\n{about}")
        lines.append(".SH FILES")
        lines += [f".TP\n.I {path}\n{escaped(about)}" for path, about in FILES]
    elif isinstance(command, click.Group):
        for inner, inside in below(command, context):
            lines += [f'.SH "{escaped(inside.command_path).upper()}"', usage(inside)]
            lines += described(inner, inside)
    lines.append(".SH SEE ALSO\n.BR stagedoor (1)" if command is not stagedoor else "")
    return "\n".join([*lines, ""])


def pages(day: str) -> dict[str, str]:
    """Each page by its file's name. `day` is in its foot, as 2026-11-28."""
    root = click.Context(stagedoor, info_name="stagedoor", **stagedoor.context_settings)
    every = [(stagedoor, root), *below(stagedoor, root)]
    return {f"{c.command_path.replace(' ', '-')}.1": page(command, c, day) for command, c in every}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    for name, text in pages(f"{made:%Y-%m-%d}").items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
