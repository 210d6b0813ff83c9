"""`stagedoor login`, `logout` and `whoami`: the developer's machine and its gateways."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from stagedoor.cli.show import examples
from stagedoor.cli.this_program import this_program
from stagedoor.client import laptop
from stagedoor.client.login import DENIED, EXITS, EXPIRED, NOT_LOGGED_IN

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
@click.argument("gateway", required=False)
@click.argument("host", required=False, metavar="")
@click.option(
    "--print", "print_", is_flag=True, help="Print what would be written; change nothing."
)
@click.option("--label", help="What the gateway calls this machine. Default: NAME@HOST.")
@click.option("--id-token-env", metavar="NAME", help="The variable with an ID token of this job.")
@click.option(
    "--id-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with one, as Kubernetes mounts it.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and start no browser.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Trust these CAs for https, in place of the system's.",
)
@click.option(
    "--if-needed",
    is_flag=True,
    help="Only where no good certificate is here: for ssh, which calls it.",
)
@click.option(
    "--folder",
    hidden=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The gateway's folder on this machine, with --if-needed.",
)
def login(
    gateway: str | None,
    host: str | None,
    print_: bool,
    label: str | None,
    id_token_env: str | None,
    id_token_file: Path | None,
    no_browser: bool,
    ca_file: Path | None,
    if_needed: bool,
    folder: Path | None,
) -> None:
    words = ["login", *([gateway] if gateway else []), *([host] if host else [])]
    for name, given in (
        ("--print", print_),
        ("--no-browser", no_browser),
        ("--if-needed", if_needed),
    ):
        words += [name] if given else []
    for name, value in (
        ("--label", label),
        ("--id-token-env", id_token_env),
        ("--id-token-file", id_token_file),
        ("--ca-file", ca_file),
        ("--folder", folder),
    ):
        words += [name, str(value)] if value is not None else []
    _run(words)


@click.command(epilog=examples("stagedoor logout", "stagedoor logout --forget https://gw.example"))
@click.argument("gateway", required=False)
@click.option("--forget", is_flag=True, help="Remove the key and ssh's configuration as well.")
def logout(gateway: str | None, forget: bool) -> None:
    """End this machine's login, at GATEWAY or at all.

    What it opened ends within seconds.
    """
    _run(["logout", *([gateway] if gateway else []), *(["--forget"] if forget else [])])


@click.command(epilog=examples("stagedoor whoami", "stagedoor whoami --json"))
@click.argument("gateway", required=False)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
def whoami(gateway: str | None, json_: bool) -> None:
    """Show who this machine is logged in as, and until when."""
    _run(["whoami", *([gateway] if gateway else []), *(["--json"] if json_ else [])])


def _run(words: list[str]) -> None:
    """By the same lines as the client that gateways serve."""
    run: Callable[[], int] = lambda: laptop.run(words, list(this_program()))  # noqa: E731
    sys.exit(laptop.told(run))
