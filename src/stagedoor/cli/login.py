"""`stagedoor login`, `logout` and `whoami`, and the entry of `tunnel` in the command tree."""

import sys
from typing import Any

import click

from stagedoor.cli.laptop_command import find_this_program, with_options
from stagedoor.cli.show import make_epilog
from stagedoor.laptop import main as laptop
from stagedoor.laptop.login_result import EXITS
from stagedoor.laptop.options import LOGIN, LOGOUT, WHOAMI

EXIT_CODES = (
    "\b\nExit codes:\n  0   done\n  1   a file cannot be read or written\n  2   wrong usage\n"
    + "".join(f"  {code}  {meaning}\n" for code, meaning in EXITS.items())
    + "  The others are those of `stagedoor tunnel`."
)


@click.command(
    epilog=make_epilog(
        "stagedoor login https://gw.example",
        "stagedoor login --print https://gw.example",
        "stagedoor login --no-browser --label build-host https://gw.example",
        "stagedoor login --id-token-env CI_TOKEN https://gw.example   # in a CI job",
        codes=EXIT_CODES,
    ),
    help="Log this machine in at a gateway, and set up ssh.\n\n"
    "It opens GATEWAY in a browser, where you sign in and allow this machine. In a browser on another "
    "machine, type the letters that this command prints. A CI job or a pod presents its own ID token, and "
    "needs no person. Afterwards `ssh app01.ssh` is enough.",
)
@with_options(LOGIN)
def login(**given: Any) -> None:
    """Log this machine in at a gateway."""
    _run("login", given)


@click.command(
    epilog=make_epilog(
        "stagedoor logout", "stagedoor logout --forget https://gw.example", codes=EXIT_CODES
    )
)
@with_options(LOGOUT)
def logout(**given: Any) -> None:
    """End this machine's login at GATEWAY, or at all gateways.

    Sessions of the login end within seconds.
    """
    _run("logout", given)


@click.command(epilog=make_epilog("stagedoor whoami", "stagedoor whoami --json", codes=EXIT_CODES))
@with_options(WHOAMI)
def whoami(**given: Any) -> None:
    """Show this machine's login: the user, and when it ends."""
    _run("whoami", given)


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def tunnel() -> None:
    """Connect ssh to a shell, as its ProxyCommand."""
    # `cli.main` runs the real one, before it imports the command tree.
    raise click.UsageError("run it as `stagedoor tunnel …`, with no option before `tunnel`")


def _run(command: str, given: dict[str, Any]) -> None:
    """Run a command as the one-file client does."""
    program = list(find_this_program())
    sys.exit(laptop.report_errors(lambda: laptop.run_command(command, given, program)))
