"""The options of `laptop.options` for click, and the command by which other programs run this one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stagedoor.laptop.options import Option

Command = Callable[..., Any]


def with_options(options: tuple[Option, ...]) -> Callable[[Command], Command]:
    """Return a decorator that gives a command these options, in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = _decorator(option)(command)
        return command

    return add


def _decorator(option: Option) -> Callable[[Command], Command]:
    if option.is_argument:
        metavar = "" if option.hidden else None
        return click.argument(option.dest, required=False, metavar=metavar)
    kind: Any = None
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.within is not None:
        kind = click.FloatRange(*option.within)
    elif option.file:
        kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(
        option.name,
        option.dest,
        is_flag=option.is_flag,
        type=kind,
        metavar=option.value or None,
        help=option.about,
        hidden=option.hidden,
    )


def find_this_program() -> tuple[str, ...]:
    """Return the command that runs this program under any PATH.

    Links are not resolved, so that a link to a newer version keeps working.
    """
    called = Path(sys.argv[0])
    if called.name == "stagedoor" and called.is_file():
        return (str(called.absolute()),)
    beside = Path(sys.executable).with_name("stagedoor")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "stagedoor")
