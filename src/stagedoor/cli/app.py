"""The command tree, and the reporting of its errors."""

import errno
import gc
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from stagedoor import __version__
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError

GC_OBJECTS = 10_000
"""New objects until Python looks for garbage: most of what a command makes stays until it ends."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMES = """
access app apply attach audit ca completion context controller demo doctor grant hook key login logout
passkey recording request role run serve session share sign-in ssh-config sso status store token tunnel
upgrade user web-link whoami
"""
_MODULES = {"app": "apps", "logout": "login", "tunnel": "login", "whoami": "login"}
COMMANDS = {
    name: f"stagedoor.cli.{_MODULES.get(name, name.replace('-', '_'))}" for name in _NAMES.split()
}
"""The module of each command."""
COMMIT_FILE = Path(__file__).parent.with_name("commit")
"""The file that `hatch_build.py` writes into the sdist and the wheel. A checkout has none."""


class Commands(click.Group):
    """A group that imports each command when it is needed, so that a completion is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name], cmd_name.replace("-", "_")
        gc.disable()  # what is imported stays, and looking for garbage costs an eighth of the time
        try:
            command = getattr(import_module(module), attribute)
        finally:
            gc.freeze()  # nor does it look through these again
            gc.set_threshold(GC_OBJECTS)
            gc.enable()
        assert isinstance(command, click.Command), f"{module}.{attribute} is a command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, and suggest similar names if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # click suggests names of registered commands, and here none is registered.
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None


def describe_version(commit_file: Path = COMMIT_FILE) -> str:
    """Return the version, such as `0.3.0 (commit 0123456789ab)`, or `0.3.0` in a checkout."""
    try:
        return f"{__version__} (commit {commit_file.read_text('ascii').strip()})"
    except FileNotFoundError:
        return __version__


def show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print the version and exit, if the flag is given."""
    if value and not ctx.resilient_parsing:
        click.echo(f"stagedoor {describe_version()}")
        ctx.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `stagedoor demo`. On a developer's machine: `stagedoor login https://GATEWAY`.",
)
@click.option(
    "--config",
    "settings_file",
    envvar="STAGEDOOR_CONFIG",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file (TOML). Default: /etc/stagedoor/stagedoor.toml for root, "
    "~/.config/stagedoor/stagedoor.toml for other users, if it exists.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the version and exit.",
)
@click.pass_context
def stagedoor(ctx: click.Context, settings_file: Path | None) -> None:
    """Open shells of a PaaS's running apps, by ssh and in the browser."""
    ctx.obj = Installation(settings_file)


def run() -> None:
    """Run the command in argv. An error becomes one line on stderr and its exit code."""
    try:
        stagedoor.main(prog_name="stagedoor", standalone_mode=False)
    except StagedoorError as error:
        click.echo(f"stagedoor: {error}", err=True)
        sys.exit(error.exit_code)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"stagedoor: {_one_line(error)}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stagedoor: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(141)
    except OSError as error:
        if error.errno not in _FULL:
            _report_fault(error)
        _discard_stdout()
        click.echo(
            f"stagedoor: the output cannot be written: {error.strerror}; changes that were made are kept",
            err=True,
        )
        sys.exit(1)
    except Exception as error:
        _report_fault(error)


def _discard_stdout() -> None:
    """Discard what is still buffered for stdout.

    Python would write it at the exit, and exit with 120 if that failed (library/signal, "Note on SIGPIPE").
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _one_line(error: click.ClickException) -> str:
    """Return click's message in Stagedoor's form: on one line, with a hint at the help."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or text.endswith(("?", "?)")):
        return text
    return f"{text}; try '{context.command_path} --help'"


def _report_fault(error: Exception) -> NoReturn:
    """Report a bug in Stagedoor in one line and exit, or raise it for a traceback."""
    if os.environ.get("STAGEDOOR_TRACEBACK"):
        raise error
    click.echo(
        f"stagedoor: a fault in stagedoor: {type(error).__name__}: {error}; "
        "please report it, with what STAGEDOOR_TRACEBACK=1 prints",
        err=True,
    )
    sys.exit(70)
