"""`stagedoor apply`: users, groups, grants and request rules from files."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from stagedoor.admin.apply.act import ApplyOutcome, apply_set, plan_set
from stagedoor.admin.apply.files import DeclaredSet, read_set
from stagedoor.admin.apply.plan import PRUNE_PERCENT, Action, ApplyOptions, RowChange
from stagedoor.admin.apply.rights import Right, RightsChange, list_words
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import RefusedError, StagedoorError

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
_MOST_PROBLEMS = 20
_MOST_NAMES = 5
_CODES = (
    "\b\nExit codes:\n  0  done; with --diff: no difference\n"
    "  1  failed; with --diff: there are differences\n"
    "  2  wrong usage or files; with --diff: any failure"
)


@click.command(
    "apply",
    epilog=show.examples(
        "stagedoor apply access/ --diff",
        "stagedoor apply access/ --prune",
        "stagedoor apply access/ --adopt     # at first: takes over what is there",
        "stagedoor apply access/ --set platform --release",
        codes=_CODES,
    ),
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--set", "set_name", metavar="NAME", help="The set's name, if no file says it.")
@click.option("--diff", is_flag=True, help="Show what would change, and who gains and who loses.")
@click.option("--prune", is_flag=True, help="Remove the set's rows that no file declares.")
@click.option(
    "--prune-at-most",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=PRUNE_PERCENT,
    show_default=True,
    help="The part of the set's rows that --prune removes at most.",
)
@click.option(
    "--release", is_flag=True, help="Let the set's rows that no file declares belong to no set."
)
@click.option("--adopt", is_flag=True, help="Take over rows of no set, or of another set.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
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
    """Make users, grants and request rules as files say.

    All .toml and .json files below DIRECTORY are one set. The set owns what it has added: it changes and
    removes nothing else, and other commands do not change what belongs to it. Either all changes are made, or
    none.
    """
    if prune and release:
        raise click.UsageError("--prune and --release exclude each other")
    options = ApplyOptions(adopt, prune, release, prune_at_most)
    try:
        declared = read_set(directory, set_name)
        with open_service(installation.settings, create=False) as service:
            act = plan_set if diff else apply_set
            outcome = act(service, declared.name, declared.rows, options)
        _refuse_problems(declared, outcome)
    except StagedoorError as error:
        if diff:  # as diff(1): 1 is a difference
            error.exit_code = max(2, error.exit_code)
        raise
    if json_:
        show.as_json(_document(outcome))
    else:
        _print(outcome, is_diff=diff)
    if diff and outcome.plan.changes:
        sys.exit(1)


def _refuse_problems(declared: DeclaredSet, outcome: ApplyOutcome) -> None:
    """Print the problems and raise RefusedError, if there are any."""
    problems = outcome.plan.problems
    if not problems:
        return
    lines = [declared.describe_problem(problem.row, problem.text) for problem in problems]
    if len(lines) == 1:
        raise RefusedError(f"{lines[0]}; nothing was changed")
    for line in lines[:_MOST_PROBLEMS]:
        show.note(line)
    raise RefusedError(f"{show.count(len(lines), 'mistake')}; nothing was changed")


def _print(outcome: ApplyOutcome, *, is_diff: bool) -> None:
    """Print the changes of a diff, who gains and loses, and a line that sums them up."""
    plan = outcome.plan
    for change in plan.changes if is_diff else ():
        click.echo(_line(change))
    for rights in outcome.rights:
        _print_rights("gain", rights, rights.gains)
        _print_rights("lose", rights, rights.losses)
    counts = Counter(change.action for change in plan.changes)
    parts = [f"{counts[action]} {_DONE[action]}" for action in Action if counts[action]]
    would = "would be " if is_diff else ""
    summary = f"{would}{', '.join(parts)}" if parts else "nothing to change"
    show.note(f"Set {outcome.set}: {summary}.")
    if plan.kept:
        show.note(
            f"{show.count(len(plan.kept), 'row')} of the set in no file: --prune removes, --release releases."
        )


def _line(change: RowChange) -> str:
    row, before = change.row, change.before
    name = row.name if before is None else before.name
    words = f": {row.terms}" if row.terms else ""
    if change.action is Action.CHANGE and before is not None and before.terms:
        words = f": {before.terms} -> {row.terms}"
    if change.action in (Action.ADOPT, Action.MOVE) and before is not None and before.owner:
        words = f" from {before.owner.set} ({before.owner.file})"
    return f"{_SIGNS[change.action]} {name}{words}"


def _print_rights(verb: str, change: RightsChange, rights: Sequence[Right]) -> None:
    if not rights:
        return
    users = ", ".join(change.users[:_MOST_NAMES])
    if (more := len(change.users) - _MOST_NAMES) > 0:
        users += f" and {more} more"
    does = f"{verb}s" if len(change.users) == 1 else verb
    for (app, environment), words in list_words(rights).items():
        click.echo(f"{users} {does} {', '.join(words)} for {app} in {environment}")


def _document(outcome: ApplyOutcome) -> dict[str, object]:
    return {
        "set": outcome.set,
        "applied": outcome.is_applied,
        "changes": [_change_document(change) for change in outcome.plan.changes],
        "kept": len(outcome.plan.kept),
        "rights": [
            {
                "users": list(change.users),
                "gains": _rights_document(change.gains),
                "losses": _rights_document(change.losses),
            }
            for change in outcome.rights
        ],
    }


def _change_document(change: RowChange) -> dict[str, object]:
    row, before = change.row, change.before
    return {
        "action": change.action.value,
        "row": row.name if before is None else before.name,
        "before": None if before is None or change.action is Action.REMOVE else before.terms,
        "after": None if change.action is Action.REMOVE else row.terms,
        "file": None if row.owner is None else row.owner.file,
    }


def _rights_document(rights: Iterable[Right]) -> list[dict[str, object]]:
    return [
        {"app": app, "environment": environment, "permissions": list(words)}
        for (app, environment), words in list_words(rights).items()
    ]
