"""The options that several commands have."""

from collections.abc import Callable
from typing import Any

import click

from stagedoor.cli.when import FORMS, end
from stagedoor.model.permission import Permissions, parse_permissions

environment_option = click.option(
    "--environment", default="*", show_default=True, help="Name or pattern of the environments."
)


def make_expires_option(default: str) -> Callable[..., Any]:
    """Return the option of the time at which a right ends."""
    return click.option(
        "--expires",
        metavar="WHEN",
        callback=end,
        default=default,
        show_default=True,
        help=f"When: {FORMS}, or never.",
    )


def take_permissions(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> Permissions:
    """Parse an option's values as permissions, as its callback."""
    try:
        return parse_permissions(value) if value else frozenset()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
