"""`stagedoor completion`: print the script by which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

from stagedoor.cli.show import make_epilog


@click.command(
    epilog=make_epilog(
        'eval "$(stagedoor completion bash)"',
        "stagedoor completion zsh > ~/.zfunc/_stagedoor",
        "stagedoor completion fish > ~/.config/fish/completions/stagedoor.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows bash, zsh and fish"
    root = ctx.find_root().command
    click.echo(kind(root, {}, "stagedoor", "_STAGEDOOR_COMPLETE").source())
