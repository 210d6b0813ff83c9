"""The options that several commands have, and the callbacks that parse them."""

from collections.abc import Callable
from typing import Any

import click

from stagedoor.cli.complete import complete_permissions
from stagedoor.cli.when import FORMS, end
from stagedoor.model.permission import Permissions, parse_permissions

environment_option = click.option(
    "--environment", default="*", show_default=True, help="The environment: a name or a pattern."
)


def make_expires_option(default: str) -> Callable[..., Any]:
    """Return the option of the time at which a right ends."""
    return click.option(
        "--expires",
        metavar="WHEN",
        callback=end,
        default=default,
        show_default=True,
        help=f"When it expires: {FORMS}, or never.",
    )


def make_reason_option(default: str) -> Callable[..., Any]:
    """Return the option of the reason for which sessions are ended."""
    return click.option(
        "--reason",
        callback=_take_reason,
        default=default,
        show_default=True,
        help="The reason, for the users and the audit. One line.",
    )


def _take_reason(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value.isprintable() or not 0 < len(value) <= 200:
        raise click.UsageError("--reason is one line of 200 characters at most")
    return value


def _take_permissions(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> Permissions:
    """Parse an option's values as permissions, as its callback."""
    try:
        return parse_permissions(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def make_permissions_option(name: str, help_: str) -> Callable[..., Any]:
    """Return an option that takes permissions, and may be given several times."""
    return click.option(
        name,
        metavar="PERMISSION,…",
        multiple=True,
        callback=_take_permissions,
        shell_complete=complete_permissions,
        help=help_,
    )
