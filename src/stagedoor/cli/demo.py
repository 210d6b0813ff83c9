"""`stagedoor demo`: the whole path on this machine, to try."""

import asyncio

import click

from stagedoor.model.errors import RefusedError


@click.command(
    epilog="\b\nExamples:\n  stagedoor demo\n  stagedoor demo --more\n  stagedoor demo --sso\n\n"
    "In a checkout of the source, `script/demo --check` tries every access method with real clients, and\n"
    "`script/demo --kubernetes` shows the same on a cluster.\n\n"
    "\b\nExit codes:\n  0  stopped by Ctrl-C\n  1  something failed"
)
@click.option("--more", is_flag=True, help="Print all that there is to try, not two commands.")
@click.option(
    "--sso",
    is_flag=True,
    help="With an identity provider beside it, which npm fetches; needs Node 20.",
)
@click.option("--check", is_flag=True, hidden=True)
@click.option("--kubernetes", is_flag=True, hidden=True)
@click.option("--json", "json_output", is_flag=True, hidden=True)
def demo(more: bool, sso: bool, check: bool, kubernetes: bool, json_output: bool) -> None:
    """Start a gateway with two apps on this machine, to try.

    It prints what to try, and shows who is inside.
    """
    given = {"--check": check, "--kubernetes": kubernetes, "--json": json_output}
    if words := " ".join(name for name, is_given in given.items() if is_given):
        raise RefusedError(
            f"stagedoor demo {words} needs the clients' drivers, which are not installed with "
            f"Stagedoor; in a checkout of its source, run: script/demo {words}"
        )
    from stagedoor.demo.show import show

    asyncio.run(show(more, sso))
