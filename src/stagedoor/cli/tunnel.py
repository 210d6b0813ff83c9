"""The entry of `stagedoor tunnel` in the command tree; `cli.main` runs the real one without the tree."""

import click


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def tunnel() -> None:
    """Connect ssh to a shell, as its ProxyCommand."""
    raise click.UsageError("call it as `stagedoor tunnel …`, with no option before `tunnel`")
