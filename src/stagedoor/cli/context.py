"""`stagedoor context`: choose the gateway that commands administer."""

import click

from stagedoor.cli import show
from stagedoor.client import contexts
from stagedoor.client.contexts import LOCAL, Context
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.model.errors import RefusedError


@click.group()
def context() -> None:
    """Choose the gateway that commands administer.

    Without a context, commands use this machine's store. With one, they use that gateway's API with your
    login there (`stagedoor login`), and your roles limit what they may do (`stagedoor role`).
    """


@context.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor context add prod https://gw.example",
        "stagedoor context add lab https://gw.lab:8443 --ca-file lab-ca.pem",
    ),
)
@click.argument("name")
@click.argument("gateway")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, resolve_path=True),
    help="Trust these CAs, not the system's.",
)
def add(name: str, gateway: str, ca_file: str | None) -> None:
    """Add the gateway at the address GATEWAY as NAME, and use it."""
    try:
        url = GatewayWeb(gateway, ca_file).url
    except TunnelError as error:
        raise RefusedError(error.line) from None
    contexts.write_contexts(contexts.read_contexts().add(Context(name, url, ca_file)))
    show.note(f"Commands now administer {url}. Log in: stagedoor login {url}")


@context.command(
    "use", epilog=show.make_epilog("stagedoor context use prod", "stagedoor context use local")
)
@click.argument("name")
def use(name: str) -> None:
    """Use the context NAME. `local` is the store on this machine.

    STAGEDOOR_CONTEXT=NAME does the same for one command.
    """
    contexts.write_contexts(contexts.read_contexts().use(name))
    show.note(f"Commands now use {name}.")


@context.command(
    "list", epilog=show.make_epilog("stagedoor context list", "stagedoor context list --json")
)
@show.json_option
def list_(json_: bool) -> None:
    """List the contexts."""
    known = contexts.read_contexts()
    rows = [
        {"name": c.name, "gateway": c.gateway, "in_use": c.name == known.current}
        for c in known.by_name.values()
    ]
    if json_:
        return show.print_json(rows)
    none = show.explain_empty(
        "contexts", None, "add one: stagedoor context add NAME https://GATEWAY"
    )
    return show.print_table(rows, none)


@context.command("remove", epilog=show.make_epilog("stagedoor context remove prod"))
@click.argument("name")
def remove(name: str) -> None:
    """Remove the context NAME. The login at its gateway stays."""
    if name == LOCAL:
        raise RefusedError(f"{LOCAL} is the store on this machine, and cannot be removed")
    contexts.write_contexts(contexts.read_contexts().remove(name))
    show.note(f"Removed the context {name}.")
