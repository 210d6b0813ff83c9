"""`script/demo`: the demo, its check with real clients, and both on a Kubernetes cluster of their own."""

import asyncio
import json
import sys
import time
from collections.abc import Callable

import click

from acceptance.verdict import Result, untried
from stagedoor.model.errors import StagedoorError

_COLOURS = {True: "green", False: "red", None: "yellow"}


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  script/demo\n  script/demo --more\n  script/demo --check\n"
    "  script/demo --kubernetes\n"
    "  script/demo --check --json | jq -r '.[] | select(.result != \"ok\")'\n\n"
    "\b\nExit codes:\n  0  stopped by Ctrl-C; with --check: all that could run passed\n"
    "  1  something failed",
)
@click.option("--more", is_flag=True, help="Print all that there is to try, not two commands.")
@click.option(
    "--sso",
    is_flag=True,
    help="With an identity provider beside it, which npm fetches; needs Node 20.",
)
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help="Try every access method with the clients that are installed, print a table, and stop.",
)
@click.option(
    "--kubernetes",
    is_flag=True,
    help="The same on a cluster of its own on this machine (script/cluster): apps, and Stagedoor by helm.",
)
@click.option("--json", "json_output", is_flag=True, help="With --check: the table as JSON.")
def demo(more: bool, sso: bool, check_only: bool, kubernetes: bool, json_output: bool) -> None:
    """Start a gateway with two apps on this machine, print what to try, and show who is inside."""
    if json_output and not check_only:
        raise click.UsageError("--json goes with --check")
    if (more or sso) and (check_only or kubernetes):
        raise click.UsageError("--more and --sso go with the demo on this machine alone")
    if not check_only:
        _show(kubernetes, more, sso)
        return
    began = time.monotonic()
    results = _check(kubernetes, (lambda _: None) if json_output else _row)
    if json_output:
        rows = [result.as_json() for result in results]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        counts = dict.fromkeys(("ok", "FAILED", "not here"), 0)
        for result in results:
            counts[result.word] += 1
        summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        click.echo(f"\n{summary}, in {time.monotonic() - began:.0f} s")
        if line := untried(results):
            click.echo(line)
    sys.exit(1 if any(result.failed for result in results) else 0)


def _show(kubernetes: bool, more: bool, sso: bool) -> None:
    if kubernetes:
        from acceptance.kubernetes_show import show as show_on_kubernetes

        show_on_kubernetes()
        return
    from stagedoor.demo.show import show

    asyncio.run(show(more, sso))


def _check(kubernetes: bool, report: Callable[[Result], None]) -> list[Result]:
    if kubernetes:
        from acceptance.kubernetes_check import check as check_on_kubernetes

        return check_on_kubernetes(report)
    from acceptance.check import check

    return asyncio.run(check(report))


def _row(result: Result) -> None:
    word = click.style(f"{result.word:<8}", fg=_COLOURS[result.ok])
    why = f"  {result.why}" if result.why else ""
    click.echo(f"{result.name:<42}{word}{result.took_s:5.1f} s{why}".rstrip())


def main() -> None:
    """Run the command line; report a StagedoorError in one line on stderr, with its own exit code."""
    try:
        demo.main(prog_name="script/demo", standalone_mode=False)
    except StagedoorError as error:
        click.echo(f"stagedoor: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stagedoor: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
