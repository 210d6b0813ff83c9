"""`stagedoor apply`: users, groups, grants and request rules from files."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from stagedoor.admin.apply.files import read_texts
from stagedoor.admin.apply.plan import PRUNE_PERCENT, Action
from stagedoor.cli import show
from stagedoor.cli.administration import open_administration
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import RefusedError, StagedoorError
from stagedoor.wire.api.inputs import SetFile, SetFiles
from stagedoor.wire.api.reports import RightEntry, SetChange, SetOutcome

_SIGNS = {
    Action.ADD: "+",
    Action.CHANGE: "~",
    Action.ADOPT: ">",
    Action.MOVE: ">",
    Action.REMOVE: "-",
    Action.RELEASE: "<",
}
_DONE = {
    Action.ADD: "added",
    Action.CHANGE: "changed",
    Action.ADOPT: "adopted",
    Action.MOVE: "moved to another file",
    Action.REMOVE: "removed",
    Action.RELEASE: "released",
}
_MAX_PROBLEMS = 20
_MAX_NAMES = 5
_CODES = (
    "\b\nExit codes:\n  0  done; with --diff: no difference\n"
    "  1  failed; with --diff: there are differences\n"
    "  2  wrong usage or files; with --diff: any failure"
)


@click.command(
    "apply",
    epilog=show.make_epilog(
        "stagedoor apply access/ --diff",
        "stagedoor apply access/ --prune",
        "stagedoor apply access/ --adopt     # the first time: takes over existing rows",
        "stagedoor apply access/ --set platform --release",
        codes=_CODES,
    ),
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--set", "set_name", metavar="NAME", help="The set's name, if no file gives it.")
@click.option(
    "--diff",
    is_flag=True,
    help="Show what would change and who would gain or lose access.",
)
@click.option("--prune", is_flag=True, help="Remove the set's rows that no file declares.")
@click.option(
    "--prune-at-most",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=PRUNE_PERCENT,
    show_default=True,
    help="Refuse --prune if it would remove a larger part of the set's rows.",
)
@click.option(
    "--release", is_flag=True, help="Keep the set's rows that no file declares, outside of the set."
)
@click.option(
    "--adopt", is_flag=True, help="Take over declared rows that belong to no set, or to another."
)
@show.json_option
@click.pass_obj
def apply(
    installation: Installation,
    directory: Path,
    set_name: str | None,
    diff: bool,
    prune: bool,
    prune_at_most: float,
    release: bool,
    adopt: bool,
    json_: bool,
) -> None:
    """Apply users, grants and request rules that files declare.

    All .toml and .json files below DIRECTORY form one set. A set owns the rows that it has added: it changes
    and removes no others, and other commands refuse to change them. Either all changes are made, or none.
    """
    if prune and release:
        raise click.UsageError("--prune and --release cannot be used together")
    try:
        texts = read_texts(directory)
        files = [SetFile(path, text) for path, text in texts.items()]
        body = SetFiles(files, set_name, adopt, prune, prune_at_most, release)
        with open_administration(installation) as admin:
            query = {"dry_run": str(diff).lower()}
            outcome: SetOutcome = admin.call("sets.apply", query=query, body=body)
        _refuse_problems(outcome.problems)
    except StagedoorError as error:
        if diff:  # as diff(1): 1 is a difference
            error.exit_code = max(2, error.exit_code)
        raise
    if json_:
        show.print_json(outcome)
    else:
        _print(outcome, is_diff=diff)
    if diff and outcome.changes:
        sys.exit(1)


def _refuse_problems(lines: Sequence[str]) -> None:
    """Print the problems and raise RefusedError, if there are any."""
    if not lines:
        return
    if len(lines) == 1:
        raise RefusedError(f"{lines[0]}; nothing was changed")
    for line in lines[:_MAX_PROBLEMS]:
        show.note(line)
    raise RefusedError(f"{show.count(len(lines), 'mistake')}; nothing was changed")


def _print(outcome: SetOutcome, *, is_diff: bool) -> None:
    """Print the changes of a diff, who gains and loses, and a line that sums them up."""
    lines = [_format_change(change) for change in outcome.changes] if is_diff else []
    for rights in outcome.rights:
        lines += _list_rights("gain", rights.users, rights.gains)
        lines += _list_rights("lose", rights.users, rights.losses)
    if lines:
        click.echo("\n".join(lines))
    counts = Counter(change.action for change in outcome.changes)
    parts = [f"{counts[action]} {_DONE[action]}" for action in Action if counts[action]]
    would = "would be " if is_diff else ""
    summary = f"{would}{', '.join(parts)}" if parts else "nothing to change"
    show.note(f"Set {outcome.set}: {summary}.")
    if outcome.kept:
        rows = show.count(outcome.kept, "row")
        show.note(f"In the set, but in no file: {rows}. Use --prune to remove, --release to keep.")


def _format_change(change: SetChange) -> str:
    terms = change.after or change.before
    words = f": {terms}" if terms else ""
    if change.action == Action.CHANGE and change.before:
        words = f": {change.before} -> {change.after}"
    if change.taken_from:
        words = f" from {change.taken_from}"
    return f"{_SIGNS[Action(change.action)]} {change.row}{words}"


def _list_rights(verb: str, users: Sequence[str], rights: Sequence[RightEntry]) -> list[str]:
    names = ", ".join(users[:_MAX_NAMES])
    if (more := len(users) - _MAX_NAMES) > 0:
        names += f" and {more} more"
    does = f"{verb}s" if len(users) == 1 else verb
    return [
        f"{names} {does} {', '.join(right.permissions)} for {right.app} in {right.environment}"
        for right in rights
    ]
