"""`stagedoor login`, `logout` and `whoami`: the login of a developer's machine at gateways."""

import sys
from typing import Any

import click

from stagedoor.cli.laptop_command import find_this_program, with_options
from stagedoor.cli.show import make_epilog
from stagedoor.laptop import main as laptop
from stagedoor.laptop.login_result import DENIED, EXITS, EXPIRED, NOT_LOGGED_IN
from stagedoor.laptop.options import LOGIN, LOGOUT, WHOAMI

_CODES = (
    f"Its own exit codes: {DENIED}, {EXITS[DENIED]}; {EXPIRED}, {EXITS[EXPIRED]}; {NOT_LOGGED_IN}, "
    f"{EXITS[NOT_LOGGED_IN]}. The others are those of `stagedoor tunnel`."
)


@click.command(
    epilog=make_epilog(
        "stagedoor login https://gw.example",
        "stagedoor login --print https://gw.example",
        "stagedoor login --no-browser --label build-host https://gw.example",
        "stagedoor login --id-token-env CI_TOKEN https://gw.example   # a job of a CI",
    ),
    help="Log this machine in at a gateway, and set up ssh.\n\n"
    "It opens GATEWAY in a browser, where you sign in and allow the machine. If the browser is on another "
    "machine, you type the letters that are printed here. A CI job or a pod presents its own ID token, "
    "without questions. Afterwards `ssh app01.ssh` is enough. " + _CODES,
)
@with_options(LOGIN)
def login(**given: Any) -> None:
    """Log this machine in at a gateway."""
    _run("login", given)


@click.command(
    epilog=make_epilog("stagedoor logout", "stagedoor logout --forget https://gw.example")
)
@with_options(LOGOUT)
def logout(**given: Any) -> None:
    """End this machine's login, at GATEWAY or at all gateways.

    Sessions that it opened end within seconds.
    """
    _run("logout", given)


@click.command(epilog=make_epilog("stagedoor whoami", "stagedoor whoami --json"))
@with_options(WHOAMI)
def whoami(**given: Any) -> None:
    """Show who this machine is logged in as, and until when."""
    _run("whoami", given)


def _run(command: str, given: dict[str, Any]) -> None:
    """Run a command the same way as the client that gateways serve."""
    program = list(find_this_program())
    sys.exit(laptop.report_errors(lambda: laptop.run_command(command, given, program)))
