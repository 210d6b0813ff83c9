"""`stagedoor run`: one-off tasks in an app, which outlive this command."""

import os
import shlex
import sys
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stagedoor.cli import show
from stagedoor.cli.attach import add_gateway_options

if TYPE_CHECKING:
    from stagedoor.client.runs import RunClient
    from stagedoor.model.run import Run
    from stagedoor.wire.run_command import RunCommand, StartRun

EXIT_CODES = (
    "\b\nExit codes:\n  N    the task's own (128 + N if signal N ended it)\n"
    "  2    wrong usage\n  74   the piped input or a part of the output was lost\n"
    "  75   refused by a limit or a lock; try again later\n"
    "  76   the task was lost with its machine, so its code is unknown\n  124  it reached its time limit\n"
    "  126  it could not be started\n  130  this command was interrupted; the task still runs\n"
    "  143  it was cancelled\n  255  this command itself failed: the line on stderr says why"
)
_COMMAND = "stagedoor.run.command"
_FAILED, _INTERRUPTED = 255, 130


class _RunCommand(click.Command):
    """A command whose words after `--` are the command line of the task."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set the task's words aside. click would drop the `--`, but `run list -- x` means the app `list`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(
    cls=_RunCommand,
    epilog=show.make_epilog(
        "stagedoor run app01 -- ./manage.py migrate",
        "stagedoor run app01 --detach --timeout 6h --lock report -- ./report.sh",
        "stagedoor run app01 -- sh -s <repair.sh",
        "stagedoor run list app01",
        "stagedoor run logs 3f2a --follow",
        "stagedoor run wait 3f2a",
        "stagedoor run cancel 3f2a",
        codes=EXIT_CODES,
    ),
)
@add_gateway_options
@click.option(
    "--detach", "-d", is_flag=True, help="Print the run's id, and do not wait for the run."
)
@click.option(
    "--timeout", metavar="TIME", help="End the task after this time. Default: 1h; at most 24h."
)
@click.option("--lock", metavar="NAME", help="Refuse to start while a run of APP has this lock.")
@click.option("--size", metavar="NAME", help="Give the task resources of this size (Kubernetes).")
@click.option("--follow", "-f", is_flag=True, help="With logs: print until the run ends.")
@click.option(
    "--from",
    "start",
    metavar="BYTE",
    help="With logs and attach: begin at this byte.",
)
@click.option(
    "--json", "json_", is_flag=True, help="Print the run as JSON; on stderr if its output is shown."
)
@click.argument(
    "words", nargs=-1, metavar="APP -- COMMAND… | list [APP] | logs|attach|wait|cancel ID"
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    detach: bool,
    timeout: str | None,
    lock: str | None,
    size: str | None,
    follow: bool,
    start: str | None,
    json_: bool,
    words: tuple[str, ...],
    **reach: str | None,
) -> None:
    """Run a task in APP that survives a lost connection.

    The task has the environment of the app's shell, and a log. It outlives this command and the gateway.

    Piped input is sent to the task. A lost connection ends the task only if it is still reading piped input.
    Ctrl-C ends only this command.
    """
    # Imported here to keep completion fast.
    from stagedoor.client.attach.secret_prompt import AttachError
    from stagedoor.laptop.tunnel.errors import TunnelError
    from stagedoor.wire.run_command import RunCommandError, parse_run_words

    flags = {"--detach": detach, "--json": json_, "--follow": follow}
    values = {"--timeout": timeout, "--lock": lock, "--size": size, "--from": start}
    options = [name for name, is_set in flags.items() if is_set]
    options += [f"{name}={value}" for name, value in values.items() if value is not None]
    task = ctx.meta.get(_COMMAND)
    try:
        command = parse_run_words([*words, *options], None if task is None else shlex.join(task))
    except RunCommandError as error:
        raise click.UsageError(str(error), ctx) from None
    try:
        sys.exit(_perform(_make_client(reach), command))
    except (AttachError, TunnelError) as error:
        from stagedoor.model.run import REFUSED_CODE

        _note(str(error))
        is_limit = isinstance(error, AttachError) and error.status == HTTPStatus.TOO_MANY_REQUESTS
        sys.exit(REFUSED_CODE if is_limit else _FAILED)


def _make_client(reach: dict[str, str | None]) -> "RunClient":
    from stagedoor.cli.attach import resolve_gateway
    from stagedoor.client.runs import RunClient

    options, path = resolve_gateway("runs", reach)
    return RunClient(options, path, _note)


def _perform(client: "RunClient", command: "RunCommand") -> int:
    """Carry out a command, and return the exit code. Raises AttachError."""
    from stagedoor.laptop.tunnel.errors import translate
    from stagedoor.wire.run_command import CancelRun, ListRuns, ReadRun, StartRun, WaitRun
    from stagedoor.wire.run_text import describe_run, format_run_end, format_runs

    match command:
        case StartRun():
            return _start(client, command)
        case ListRuns(target, json):
            runs = client.list_runs(None if target is None else target.login_name)
            if json:
                show.print_json([describe_run(run) for run in runs])
            else:
                click.echo(translate(format_runs(runs)), nl=False)
            return 0
        case ReadRun(run_id, start, follow, is_attached):
            run = client.show(run_id, start, follow=follow)
            return _finish(client, run) if is_attached else 0
        case WaitRun(run_id, json):
            run = client.wait(run_id)
            if json:
                show.print_json(describe_run(run))
            else:
                _note(format_run_end(run))
            return client.choose_exit_code(run)
        case CancelRun(run_id):
            run = client.cancel(run_id)
            _note(f"run {run.id} {'has ended already' if run.is_over else 'is being cancelled'}")
            return 0


def _start(client: "RunClient", command: "StartRun") -> int:
    from stagedoor.model.run import RunState
    from stagedoor.wire.run_text import describe_run

    has_input = not (command.detach or os.isatty(0) or _is_null(0))
    run = client.start(replace(command.order, has_input=has_input))
    if command.detach and not run.is_over:
        if command.json:
            show.print_json(describe_run(run))
        else:
            click.echo(run.id)
        return 0
    if not command.json:
        _note(
            f"run {run.id} of {run.target.login_name}; Ctrl-C leaves it running; to return: stagedoor run "
            f"attach {run.id}"
        )
    sender = client.send_input(run.id) if has_input else None
    try:
        run = client.show(run.id, 0, follow=True)
    except KeyboardInterrupt:
        if sender is not None and sender.is_alive():
            sender.report_loss()
        _note(f"run {run.id} still runs; to end it: stagedoor run cancel {run.id}")
        return _INTERRUPTED
    is_silent = run.state is RunState.EXITED and not (run.code or run.size)
    if os.isatty(0) and is_silent and not command.json:
        _note(
            "it printed nothing, and a run has no terminal to type into; the app's shell has one: stagedoor "
            f"attach {run.target.login_name}"
        )
    return _finish(client, run, json=command.json)


def _is_null(fd: int) -> bool:
    """Return True if a descriptor is /dev/null or closed."""
    try:
        return os.fstat(fd).st_rdev == Path(os.devnull).stat().st_rdev
    except OSError:
        return True


def _finish(client: "RunClient", run: "Run", *, json: bool = False) -> int:
    """Report the end of a run, and return the exit code."""
    import json as encoder

    from stagedoor.model.run import RunState
    from stagedoor.wire.run_text import describe_run, format_run_end

    if json:
        click.echo(encoder.dumps(describe_run(run)), err=True)
    elif run.state is not RunState.EXITED or run.detail:
        _note(format_run_end(run))
    return client.choose_exit_code(run)


def _note(line: str) -> None:
    from stagedoor.laptop.tunnel.errors import translate

    click.echo(translate(f"stagedoor: {line}"), err=True)
