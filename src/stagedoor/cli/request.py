"""`stagedoor request`: the rules of access on request, and the requests."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call, print_list
from stagedoor.cli.complete import request_ids, request_rule_ids, subjects
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import environment_option, make_permissions_option
from stagedoor.cli.when import take_duration, take_start
from stagedoor.model.access_request import RequestState, describe_deciders, show_period
from stagedoor.model.permission import DEFAULT, Permissions, sort_permissions
from stagedoor.wire.api.inputs import AccessRequestNew, DecisionNew, RequestRuleNew
from stagedoor.wire.api.types import AccessRequestEntry, AccessRequestState, RequestRuleEntry


@click.group()
def request() -> None:
    """Manage access on request: its rules and the requests.

    A login by ssh without a grant waits if a rule lets the developer ask: they give a reason, and enter once
    an approver agrees. Developers and approvers use `ssh NAME@GATEWAY request`, or these commands over the
    API.
    """


@request.group("rule")
def rule_group() -> None:
    """Manage the rules by which users may ask for access."""


@rule_group.command(
    "add",
    epilog=show.make_epilog(
        "stagedoor request rule add group:dev 'app*' --environment production --longest 2h "
        "--approver group:sre",
        "stagedoor request rule add group:on-call '*' --approvals 0 "
        "--hours 'Mon-Fri 08:00-20:00 Europe/Berlin'",
        "stagedoor request rule add group:dev '*' --approver group:sre --approver group:leads "
        "--approvals 2 --reason '*INC-*' --step-up",
        "stagedoor request rule add group:dev '*' --approver group:sre --then group:leads --after 15m",
        "stagedoor request rule add group:sre '*' --break-glass --longest 30m --approver group:leads",
    ),
)
@click.argument("subject", shell_complete=subjects)
@click.argument("app")
@environment_option
@make_permissions_option("--allow", "Permissions besides entering and copying files.")
@click.option(
    "--longest",
    metavar="TIME",
    callback=take_duration,
    help="The longest access. Default: 1h; 30m for --break-glass.",
)
@click.option(
    "--approver",
    "approvers",
    metavar="SUBJECT",
    multiple=True,
    shell_complete=subjects,
    help="Who decides: group:NAME or user:NAME. May be given more than once.",
)
@click.option(
    "--approvals",
    type=click.IntRange(0, 10),
    help="How many approvers must agree; 0 approves at once. Default: 1.",
)
@click.option(
    "--then",
    "later_approvers",
    metavar="SUBJECT",
    multiple=True,
    shell_complete=subjects,
    help="Who also decides once a request has waited for --after. May be given more than once.",
)
@click.option(
    "--after",
    "later_s",
    metavar="TIME",
    callback=take_duration,
    help="How long a request waits for --then: 15m.",
)
@click.option(
    "--reason", metavar="PATTERN", default="*", help="A pattern that a reason must match: '*INC-*'."
)
@click.option(
    "--hours",
    metavar="HOURS",
    help="When the rule holds: 'Mon-Fri 08:00-20:00 Europe/Berlin'. Default: always.",
)
@click.option("--step-up", is_flag=True, help="Approvers must have proved their presence recently.")
@click.option(
    "--break-glass",
    is_flag=True,
    help="For emergencies: approve at once, after a fresh proof of presence; an approver reviews each use.",
)
@show.json_option
@click.pass_obj
def add_rule(
    installation: Installation,
    subject: str,
    app: str,
    environment: str,
    allow: Permissions,
    longest: float | None,
    approvers: tuple[str, ...],
    approvals: int | None,
    later_approvers: tuple[str, ...],
    later_s: float | None,
    reason: str,
    hours: str | None,
    step_up: bool,
    break_glass: bool,
    json_: bool,
) -> None:
    """Let SUBJECT ask for access to APP.

    SUBJECT is user:NAME, group:NAME or the word for all users, as `grant add --help` has it. APP is a name,
    or a pattern such as 'app*'. Approvers cannot decide on their own requests.
    """
    wanted = RequestRuleNew(
        subject,
        app,
        environment,
        list(sort_permissions(DEFAULT | allow)),
        longest or (1800.0 if break_glass else 3600.0),
        list(dict.fromkeys(approvers)),
        (0 if break_glass else 1) if approvals is None else approvals,
        reason,
        step_up,
        break_glass,
        hours,
        list(dict.fromkeys(later_approvers)),
        later_s,
    )
    rule: RequestRuleEntry = call(installation, "request-rules.add", body=wanted)
    if json_:
        return show.print_json(rule)
    return show.note(
        f"Request rule {rule.id}: {rule.subject} may ask for {rule.app} in "
        f"{rule.environment}, {show_period(rule.longest_s)} at most; {_decided_by(rule)}."
    )


@rule_group.command("list", epilog=show.make_epilog("stagedoor request rule list --json"))
@show.json_option
@click.pass_obj
def list_rules(installation: Installation, json_: bool) -> None:
    """List the rules."""
    none = show.explain_empty(
        "request rules", None, "add one: stagedoor request rule add SUBJECT APP --approver SUBJECT"
    )
    print_list(installation, "request-rules.list", _rule_row, none, as_json=json_)


@rule_group.command("remove", epilog=show.make_epilog("stagedoor request rule remove 3"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_rule_ids)
@click.pass_obj
def remove_rule(installation: Installation, number: int) -> None:
    """Remove the rule ID (from `request rule list`). Access approved by it ends within seconds."""
    rule: RequestRuleEntry = call(installation, "request-rules.remove", {"id": str(number)})
    show.note(f"Removed request rule {number}: {rule.subject} to {rule.app}.")


@request.command(
    "ask",
    epilog=show.make_epilog(
        "stagedoor request ask app09.production 'INC-42, stuck queue' --for 1h",
        "stagedoor request ask app09 app10 INC-42 --allow forward",
        "stagedoor request ask app09.production 'CHG-7, migration' --from 2026-12-31T09:00:00Z",
    ),
)
@click.argument("apps", metavar="APP…", nargs=-1, required=True)
@click.argument("reason")
@make_permissions_option("--allow", "Permissions that you need besides entering.")
@click.option(
    "--for",
    "lasts_s",
    metavar="TIME",
    callback=take_duration,
    help="How long access lasts. Default: 1h, or what the rule allows.",
)
@click.option(
    "--from",
    "starts_at",
    metavar="TIME",
    callback=take_start,
    help="When access begins, within 7 days: 2h, or 2026-12-31T09:00:00Z. Default: at once.",
)
@click.option(
    "--break-glass", is_flag=True, help="Enter at once in an emergency, by a rule for it."
)
@show.json_option
@click.pass_obj
def ask(
    installation: Installation,
    apps: tuple[str, ...],
    reason: str,
    allow: Permissions,
    lasts_s: float | None,
    starts_at: float | None,
    break_glass: bool,
    json_: bool,
) -> None:
    """Ask for access to each APP.

    You ask as the user of the context in use (`stagedoor context`). The request stays open until an approver
    decides. The time begins with the first login.
    """
    permissions = list(sort_permissions(allow))
    wanted = AccessRequestNew(
        list(apps), reason, lasts_s, break_glass, show.make_time(starts_at), permissions
    )
    asked: AccessRequestEntry = call(installation, "requests.add", body=wanted)
    if json_:
        return show.print_json(asked)
    return show.note(f"Request {asked.id} for {', '.join(asked.apps)} is {asked.state}.")


@request.command(
    "list", epilog=show.make_epilog("stagedoor request list", "stagedoor request list --all")
)
@click.option("--all", "all_", is_flag=True, help="Include requests that are over, the last 1000.")
@show.json_option
@click.pass_obj
def list_(installation: Installation, all_: bool, json_: bool) -> None:
    """List the open requests, and break-glass to be reviewed.

    Open requests are pending or approved.
    """
    query = {"all": str(all_).lower()}
    none = "No open requests; to list all: stagedoor request list --all"
    print_list(installation, "requests.list", _row, none, query, as_json=json_)


@request.command("show", epilog=show.make_epilog("stagedoor request show 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@show.json_option
@click.pass_obj
def show_(installation: Installation, number: int, json_: bool) -> None:
    """Show the request ID and the decisions on it."""
    record: AccessRequestState = call(installation, "requests.get", {"id": str(number)})
    if json_:
        return show.print_json(record)
    show.print_table([_row(record)])
    for decision in record.decisions:
        answer = "yes" if decision.yes else "no"
        at = show.format_local(decision.at)
        click.echo(f"{decision.approver}: {answer} {at} {decision.note}".rstrip())
    return None


@request.command(
    "approve",
    epilog=show.make_epilog(
        "stagedoor request approve 311", "stagedoor request approve 311 --for 30m"
    ),
)
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.option(
    "--for",
    "lasts_s",
    metavar="TIME",
    callback=take_duration,
    help="For a shorter time than asked for.",
)
@click.pass_obj
def approve(installation: Installation, number: int, lasts_s: float | None) -> None:
    """Approve the request ID.

    On the gateway's machine this is enough, however many approvals the rule asks for; over the API you decide
    as one of the approvers. The time begins with the first login.
    """
    decided = _decide(installation, number, DecisionNew(True, lasts_s))
    if decided.state == RequestState.PENDING:
        return show.note(f"Request {number} of {decided.user} needs more approvals.")
    return show.note(
        f"Request {number} of {decided.user} is approved for {show_period(decided.lasts_s)}."
    )


@request.command("deny", epilog=show.make_epilog("stagedoor request deny 311 --why 'use staging'"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.option("--why", default="", help="A line that the requester reads.")
@click.pass_obj
def deny(installation: Installation, number: int, why: str) -> None:
    """Deny the request ID."""
    decided = _decide(installation, number, DecisionNew(False, note=why))
    show.note(f"Request {number} of {decided.user} is denied.")


def _decide(installation: Installation, number: int, body: DecisionNew) -> AccessRequestEntry:
    decided: AccessRequestEntry = call(
        installation, "requests.decide", {"id": str(number)}, body=body
    )
    return decided


@request.command("end", epilog=show.make_epilog("stagedoor request end 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.pass_obj
def end(installation: Installation, number: int) -> None:
    """End the request ID. Sessions that no other grant covers close."""
    ended: AccessRequestEntry = call(installation, "requests.end", {"id": str(number)})
    show.note(f"Request {number} of {ended.user} is {ended.state}.")


@request.command("review", epilog=show.make_epilog("stagedoor request review 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.pass_obj
def review(installation: Installation, number: int) -> None:
    """Record that you have reviewed a use of break-glass."""
    reviewed: AccessRequestEntry = call(installation, "requests.review", {"id": str(number)})
    show.note(f"Request {number} of {reviewed.user} is reviewed.")


def _decided_by(rule: RequestRuleEntry) -> str:
    later = rule.later_approvers, rule.later_s or 0.0
    deciders = describe_deciders(rule.approvals, rule.approvers, *later, rule.break_glass)
    return deciders if rule.approvals == 0 else f"{deciders} decides"


def _rule_row(rule: RequestRuleEntry) -> dict[str, object]:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "app": rule.app,
        "environment": rule.environment,
        "permissions": ", ".join(rule.permissions),
        "longest": show_period(rule.longest_s),
        "decided": _decided_by(rule) + (", step-up" if rule.step_up else ""),
        "reason": rule.reason,
        "hours": rule.hours or "always",
        "set": rule.access_set,
    }


def _row(request: AccessRequestEntry) -> dict[str, object]:
    at = request.starts_at
    start = "" if at is None else f" from {show.format_local(at)}"
    glass = "break-glass: " if request.reviewed_by else "break-glass, not reviewed yet: "
    return {
        "id": request.id,
        "state": request.state,
        "user": request.user,
        "apps": ", ".join(request.apps),
        "for": show_period(request.lasts_s) + start,
        "ends": show.format_local(request.ends_at),
        "reason": (glass if request.break_glass else "") + request.reason,
    }
