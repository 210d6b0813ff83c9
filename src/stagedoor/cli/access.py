"""`stagedoor access`: who may enter which app, and why."""

import click

from stagedoor.admin.access import questions
from stagedoor.admin.service import open_service
from stagedoor.authz.explain import AccessAnswer, RuleAnswer
from stagedoor.cli import show
from stagedoor.cli.apps import app_target
from stagedoor.cli.complete import app_names, user_names
from stagedoor.cli.installation import Installation
from stagedoor.model.grant import Grant
from stagedoor.model.permission import sort_permissions, to_words
from stagedoor.signin.step_up import read_step_up_rules

MOST_SHOWN = 20
"""The rules of a user that are shown to people; a program gets all."""


@click.group()
def access() -> None:
    """Answer who may enter which app, and why."""


@access.command(
    "explain",
    epilog=show.examples(
        "stagedoor access explain alice app09.production",
        "stagedoor access explain alice app09 --json | jq .changes",
    ),
)
@click.argument("name", shell_complete=user_names)
@click.argument("app", shell_complete=app_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def explain(installation: Installation, name: str, app: str, json_: bool) -> None:
    """Say why the user NAME may enter APP or not.

    It names each grant and request of the user, why it does not fit, and what would let the user in.
    The exit code is 0 for both answers.
    """
    target = app_target(app)
    step_up = read_step_up_rules(installation.settings)
    with open_service(installation.settings, create=False) as service:
        answer = questions.explain_access(service, name, target, step_up)
    if json_:
        return show.as_json(document(answer))
    verdict = f"may enter {app}" if answer.lets_in else f"may not enter {app}"
    click.echo(f"{name} {verdict}.")
    if answer.lets_in:
        click.echo(f"Permissions: {to_words(answer.permissions)}.")
    if answer.needs_step_up:
        click.echo("It wants a fresh proof that the person is there (step_up.targets).")
    for stop in answer.stops:
        click.echo(f"  {stop}")
    shown = answer.rules[:MOST_SHOWN]
    show.table([_row(rule) for rule in shown], f"No grant and no request is for {name}.")
    if len(answer.rules) > len(shown):
        show.note(f"{len(answer.rules) - len(shown)} more; --json has all.")
    if answer.changes:
        click.echo("Any of these would do:")
    for change in answer.changes:
        click.echo(f"  {questions.describe_change(answer, change)}")
    return None


@access.command(
    "who",
    epilog=show.examples(
        "stagedoor access who app09.production", "stagedoor access who app09 --json"
    ),
)
@click.argument("app", shell_complete=app_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def who(installation: Installation, app: str, json_: bool) -> None:
    """List the users who may enter APP now."""
    target = app_target(app)
    with open_service(installation.settings, create=False) as service:
        entering = questions.list_entering(service, target)
        now = service.clock()
    if json_:
        return show.as_json([_entering_document(name, grant) for name, grant in entering])
    rows = [
        {
            "user": name,
            "by": _name_rule(grant),
            "permissions": to_words(grant.permissions),
            "ends": show.ends(grant.expires_at, now),
        }
        for name, grant in entering
    ]
    none = f"No user may enter {app}; let one in: stagedoor grant add user:NAME {target.app}"
    return show.table(rows, none)


def document(answer: AccessAnswer) -> dict[str, object]:
    """Return the document of `access explain --json`."""
    return {
        "user": answer.user,
        "app": answer.target.login_name,
        "lets_in": answer.lets_in,
        "permissions": list(sort_permissions(answer.permissions)),
        "step_up": answer.needs_step_up,
        "stops": list(answer.stops),
        "rules": [
            {
                "rule": rule.name,
                "about": rule.about,
                "fits": not rule.gaps,
                "gaps": list(rule.gaps),
            }
            for rule in answer.rules
        ],
        "changes": [
            {
                "kind": str(change.kind),
                "about": change.about,
                "how": questions.describe_change(answer, change),
            }
            for change in answer.changes
        ],
    }


def _row(rule: RuleAnswer) -> dict[str, str]:
    return {
        "rule": rule.name,
        "about": rule.about,
        "answer": "; ".join(rule.gaps) or "lets in",
    }


def _name_rule(grant: Grant) -> str:
    return f"grant {grant.rule_id}" if grant.rule_id else f"request {grant.request}"


def _entering_document(name: str, grant: Grant) -> dict[str, object]:
    return {
        "user": name,
        "by": _name_rule(grant),
        "permissions": list(sort_permissions(grant.permissions)),
        "expires_at": show.iso(grant.expires_at),
    }
