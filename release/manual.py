"""Manual pages from the help texts: `stagedoor.1`, and one for each command (man-pages(7), groff_man(7)).

Run it with the code that they document: python -m release.manual FOLDER
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
from stagedoor.laptop.tunnel.help import render_help

FILES = (
    (
        "/etc/stagedoor/stagedoor.toml",
        "The settings. /usr/share/doc/stagedoor/docs has all of them.",
    ),
    ("/var/lib/stagedoor", "The store, the keys of both CAs, recordings."),
)


def escape(text: str) -> str:
    """Return text escaped for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text. As in click, those that begin with \\b keep their lines."""
    for part in filter(str.strip, cleandoc(text).split("\n\n")):
        if part.startswith("\b"):
            yield verbatim(part.removeprefix("\b").strip("\n"))
        else:
            yield ".PP\n" + escape(" ".join(part.split()))


def verbatim(text: str) -> str:
    """Return a paragraph that keeps its lines."""
    return f".PP\n.nf\n{escape(text)}\n.fi"


def describe(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the description of a command, its options and its examples."""
    yield from paragraphs(command.help or "")
    records = [
        record for p in command.get_params(context) if (record := p.get_help_record(context))
    ]
    for name, about in records:
        if about and not name.startswith("-h,"):
            yield f".TP\n.B {escape(name)}\n{escape(about)}"
    yield from paragraphs(command.epilog or "")


def usage(context: click.Context) -> str:
    """Return the usage line of a command."""
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f".PP\n.B {escape(context.command_path)}\n{escape(pieces)}"


def subcommands(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield the commands of a group, each with its context."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, "a group has what it lists"
        yield command, click.Context(command, info_name=name, parent=context)


def page(command: click.Command, context: click.Context, day: str) -> str:
    """Return the manual page of a command; a group's page has all its commands."""
    name = context.command_path.replace(" ", "-")
    lines = [
        f'.TH {escape(name.upper())} 1 {day} "Stagedoor {__version__}" "Stagedoor"',
        f".SH NAME\n{escape(name)} \\- {escape(command.get_short_help_str(200).rstrip('.'))}",
    ]
    if name == "stagedoor-tunnel":
        lines.append(f".SH DESCRIPTION\n{verbatim(render_help().strip())}")
        return "\n".join([*lines, ""])
    lines += [f".SH SYNOPSIS\n{usage(context)}", ".SH DESCRIPTION", *describe(command, context)]
    if command is stagedoor:
        lines.append(".SH COMMANDS")
        for inner, inside in subcommands(stagedoor, context):
            about = escape(inner.get_short_help_str(200))
            lines.append(f".TP\n.BR stagedoor\\-{escape(str(inside.info_name))} (1)\n{about}")
        lines.append(".SH FILES")
        lines += [f".TP\n.I {path}\n{escape(about)}" for path, about in FILES]
    elif isinstance(command, click.Group):
        for inner, inside in subcommands(command, context):
            lines += [f'.SH "{escape(inside.command_path).upper()}"', usage(inside)]
            lines += describe(inner, inside)
    lines.append(".SH SEE ALSO\n.BR stagedoor (1)" if command is not stagedoor else "")
    return "\n".join([*lines, ""])


def pages(day: str) -> dict[str, str]:
    """Return all pages by file name. `day`, such as 2026-11-28, is the date in their footers."""
    root = click.Context(stagedoor, info_name="stagedoor", **stagedoor.context_settings)
    every = [(stagedoor, root), *subcommands(stagedoor, root)]
    return {f"{c.command_path.replace(' ', '-')}.1": page(command, c, day) for command, c in every}


def main() -> None:
    """Write the pages into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    time = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    for name, text in pages(f"{time:%Y-%m-%d}").items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
