"""`stagedoor demo`: a gateway with apps on this machine, to try."""

import asyncio

import click


@click.command(
    epilog="\b\nExamples:\n  stagedoor demo\n  stagedoor demo --more\n  stagedoor demo --sso\n\n"
    "In a checkout of the source, `script/demo --check` tries every access method with real clients, and\n"
    "`script/demo --kubernetes` shows the same on a cluster.\n\n"
    "\b\nExit codes:\n  0  stopped by Ctrl-C\n  1  something failed"
)
@click.option("--more", is_flag=True, help="Print all that you can try, not just two commands.")
@click.option(
    "--sso",
    is_flag=True,
    help="Also run an identity provider, which npm downloads; needs Node 20.",
)
def demo(more: bool, sso: bool) -> None:
    """Start a gateway with two apps on this machine, to try.

    It prints commands to try in another terminal, and shows the sessions that they open.
    """
    from stagedoor.demo.show import show

    asyncio.run(show(more, sso))
