"""The options of `laptop.options` for click, and the command that runs this program."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stagedoor.laptop.options import Option

Command = Callable[..., Any]


def with_options(options: tuple[Option, ...]) -> Callable[[Command], Command]:
    """Return a decorator that adds `options` to a command, in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = _make_decorator(option)(command)
        return command

    return add


def _make_decorator(option: Option) -> Callable[[Command], Command]:
    if option.is_argument:
        metavar = "" if option.is_hidden else None
        return click.argument(option.dest, required=False, metavar=metavar)
    kind: Any = None
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.limits is not None:
        kind = click.FloatRange(*option.limits)
    elif option.is_file:
        kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(
        option.name,
        option.dest,
        is_flag=option.is_flag,
        type=kind,
        metavar=option.value or None,
        help=option.about,
        hidden=option.is_hidden,
    )


def find_this_program() -> tuple[str, ...]:
    """Return the command that runs this program, independently of PATH.

    Links are not resolved, so that the command follows a link to a newer version.
    """
    program = Path(sys.argv[0])
    if program.name == "stagedoor" and program.is_file():
        return (str(program.absolute()),)
    program = Path(sys.executable).with_name("stagedoor")
    return (str(program),) if program.is_file() else (sys.executable, "-m", "stagedoor")
