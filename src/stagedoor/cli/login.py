"""`stagedoor login`, `logout` and `whoami`: the developer's machine and its gateways."""

import sys
from typing import Any

import click

from stagedoor.cli.laptop_command import with_options
from stagedoor.cli.show import examples
from stagedoor.cli.this_program import this_program
from stagedoor.client import laptop
from stagedoor.client.login import DENIED, EXITS, EXPIRED, NOT_LOGGED_IN
from stagedoor.client.options import LOGIN, LOGOUT, WHOAMI

_CODES = (
    f"Exit codes of their own: {DENIED}, {EXITS[DENIED]}; {EXPIRED}, {EXITS[EXPIRED]}; {NOT_LOGGED_IN}, "
    f"{EXITS[NOT_LOGGED_IN]}. Others are those of `stagedoor tunnel`."
)


@click.command(
    epilog=examples(
        "stagedoor login https://gw.example",
        "stagedoor login --print https://gw.example",
        "stagedoor login --no-browser --label build-host https://gw.example",
        "stagedoor login --id-token-env CI_TOKEN https://gw.example   # a job of a CI",
    ),
    help="Log this machine in at a gateway, and set up ssh.\n\n"
    "It opens GATEWAY in a browser, where you sign in and allow the machine. Where the browser is on another "
    "machine, you type the letters that are printed here. A job of a CI or a pod shows an ID token of its "
    "own, and nobody is asked. Afterwards `ssh app01.ssh` is enough. " + _CODES,
)
@with_options(LOGIN)
def login(**given: Any) -> None:
    _run("login", given)


@click.command(epilog=examples("stagedoor logout", "stagedoor logout --forget https://gw.example"))
@with_options(LOGOUT)
def logout(**given: Any) -> None:
    """End this machine's login, at GATEWAY or at all.

    What it opened ends within seconds.
    """
    _run("logout", given)


@click.command(epilog=examples("stagedoor whoami", "stagedoor whoami --json"))
@with_options(WHOAMI)
def whoami(**given: Any) -> None:
    """Show who this machine is logged in as, and until when."""
    _run("whoami", given)


def _run(command: str, given: dict[str, Any]) -> None:
    """Run a command as the client that gateways serve does."""
    program = list(this_program())
    sys.exit(laptop.report_errors(lambda: laptop.run_command(command, given, program)))
