"""`stagedoor request`: the rules of access on request, and the requests."""

import click

from stagedoor.admin.requests import access_requests as admin
from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.complete import complete_permissions, request_ids, request_rule_ids, subjects
from stagedoor.cli.installation import Installation
from stagedoor.model.access_request import AccessRequest, Decision, RequestRule, show_period
from stagedoor.model.permission import DEFAULT, Permissions, parse_permissions, sort_permissions
from stagedoor.wire.duration import parse_duration


@click.group()
def request() -> None:
    """Manage access on request: its rules and the requests.

    A developer without a grant who may ask is held by ssh, gives a reason, and enters when an approver
    agrees. Developers and approvers use `ssh NAME@GATEWAY request`.
    """


@request.group("rule")
def rule_group() -> None:
    """Manage the rules by which users may ask for access."""


def _allowed(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Permissions:
    try:
        return parse_permissions(value) if value else frozenset()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    seconds = parse_duration(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is no time; write 30m, 2h or 1d", ctx, param)
    return seconds


@rule_group.command(
    "add",
    epilog=show.examples(
        "stagedoor request rule add group:dev 'app*' --environment production --longest 2h "
        "--approver group:sre",
        "stagedoor request rule add group:on-call '*' --approvals 0",
        "stagedoor request rule add group:dev '*' --approver group:sre --approver group:leads "
        "--approvals 2 --reason '*INC-*' --step-up",
        "stagedoor request rule add group:sre '*' --break-glass --longest 30m --approver group:leads",
    ),
)
@click.argument("subject", shell_complete=subjects)
@click.argument("app")
@click.option(
    "--environment", default="*", show_default=True, help="Name or pattern of the environments."
)
@click.option(
    "--allow",
    metavar="PERMISSION,…",
    multiple=True,
    callback=_allowed,
    shell_complete=complete_permissions,
    help="Permissions besides entering and moving files.",
)
@click.option(
    "--longest", metavar="TIME", callback=_seconds, help="The longest access. Default: 1h, or 30m."
)
@click.option(
    "--approver",
    "approvers",
    metavar="SUBJECT",
    multiple=True,
    shell_complete=subjects,
    help="Who decides: group:NAME or user:NAME. May be given again.",
)
@click.option(
    "--approvals",
    type=click.IntRange(0, 10),
    help="How many approvers must agree; 0 approves at once. Default: 1.",
)
@click.option(
    "--reason", metavar="PATTERN", default="*", help="A pattern that reasons must match: '*INC-*'."
)
@click.option(
    "--step-up", is_flag=True, help="Approvers give a fresh proof that they are there first."
)
@click.option(
    "--break-glass",
    is_flag=True,
    help="For emergencies: approves at once, after a fresh proof; an approver reviews each use.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
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
    reason: str,
    step_up: bool,
    break_glass: bool,
    json_: bool,
) -> None:
    """Let SUBJECT ask for access to APP.

    SUBJECT is user:NAME, group:NAME or all users (see `grant add`). APP is a name, or a pattern such as
    'app*'. No user decides on a request of their own.
    """
    wanted = RequestRule(
        0,
        subject,
        app,
        environment,
        DEFAULT | allow,
        longest or (1800.0 if break_glass else 3600.0),
        tuple(dict.fromkeys(approvers)),
        (0 if break_glass else 1) if approvals is None else approvals,
        reason,
        break_glass,
        step_up,
    )
    with open_service(installation.settings, create=False) as service:
        rule = admin.add_rule(service, wanted)
    if json_:
        return show.as_json(_rule_document(rule))
    return show.note(
        f"Request rule {rule.id}: {rule.subject} may ask for {rule.app_pattern} in "
        f"{rule.environment_pattern}, {show_period(rule.longest_s)} at most; {_decided_by(rule)}."
    )


@rule_group.command("list", epilog=show.examples("stagedoor request rule list --json"))
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_rules(installation: Installation, json_: bool) -> None:
    """List the rules."""
    with open_service(installation.settings, create=False) as service:
        rules = admin.list_rules(service)
    if json_:
        return show.as_json([_rule_document(rule) for rule in rules])
    none = show.no(
        "request rules", None, "add one: stagedoor request rule add SUBJECT APP --approver SUBJECT"
    )
    return show.table([_rule_row(rule) for rule in rules], none)


@rule_group.command("remove", epilog=show.examples("stagedoor request rule remove 3"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_rule_ids)
@click.pass_obj
def remove_rule(installation: Installation, number: int) -> None:
    """Remove the rule ID (from `request rule list`). What was approved by it ends within seconds."""
    with open_service(installation.settings, create=False) as service:
        rule = admin.remove_rule(service, number)
    show.note(f"Removed request rule {number}: {rule.subject} to {rule.app_pattern}.")


@request.command(
    "list", epilog=show.examples("stagedoor request list", "stagedoor request list --all")
)
@click.option("--all", "all_", is_flag=True, help="Also those that are over, the last 1000.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, all_: bool, json_: bool) -> None:
    """List the requests that are pending or approved."""
    with open_service(installation.settings, create=False) as service:
        requests = admin.list_requests(service, open_only=not all_)
        now = service.clock()
    if json_:
        return show.as_json([_document(request, now) for request in requests])
    none = "No request is open; for all of them: stagedoor request list --all"
    return show.table([_row(request, now) for request in requests], none)


@request.command("show", epilog=show.examples("stagedoor request show 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show_(installation: Installation, number: int, json_: bool) -> None:
    """Show the request ID and the decisions on it."""
    with open_service(installation.settings, create=False) as service:
        record = admin.read_request(service, number)
        now = service.clock()
    if json_:
        decisions = [_decision_document(decision) for decision in record.decisions]
        return show.as_json({**_document(record.request, now), "decisions": decisions})
    show.table([_row(record.request, now)])
    for decision in record.decisions:
        answer = "yes" if decision.is_yes else "no"
        click.echo(
            f"{decision.approver}: {answer} {show.local(decision.at)} {decision.note}".rstrip()
        )
    return None


@request.command(
    "approve",
    epilog=show.examples(
        "stagedoor request approve 311", "stagedoor request approve 311 --for 30m"
    ),
)
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.option("--for", "lasts_s", metavar="TIME", callback=_seconds, help="Shorter than asked for.")
@click.pass_obj
def approve(installation: Installation, number: int, lasts_s: float | None) -> None:
    """Approve the request ID, whatever its rule wants.

    The time counts from the first entry.
    """
    with open_service(installation.settings, create=False) as service:
        decided = admin.decide(service, number, is_yes=True, lasts_s=lasts_s)
    show.note(f"Request {number} of {decided.user} is approved for {show_period(decided.lasts_s)}.")


@request.command("deny", epilog=show.examples("stagedoor request deny 311 --why 'use staging'"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.option("--why", default="", help="A line for the requester.")
@click.pass_obj
def deny(installation: Installation, number: int, why: str) -> None:
    """Deny the request ID."""
    with open_service(installation.settings, create=False) as service:
        decided = admin.decide(service, number, is_yes=False, note=why)
    show.note(f"Request {number} of {decided.user} is denied.")


@request.command("end", epilog=show.examples("stagedoor request end 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.pass_obj
def end(installation: Installation, number: int) -> None:
    """End the request ID. Sessions that no other grant covers close."""
    with open_service(installation.settings, create=False) as service:
        ended = admin.leave_request(service, number)
    show.note(f"Request {number} of {ended.user} is {ended.state}.")


@request.command("review", epilog=show.examples("stagedoor request review 311"))
@click.argument("number", metavar="ID", type=click.IntRange(1), shell_complete=request_ids)
@click.pass_obj
def review(installation: Installation, number: int) -> None:
    """Confirm that you have looked at a use of break-glass."""
    with open_service(installation.settings, create=False) as service:
        reviewed = admin.review_request(service, number)
    show.note(f"Request {number} of {reviewed.user} is reviewed.")


def _decided_by(rule: RequestRule) -> str:
    if rule.is_break_glass:
        return f"break-glass, reviewed by {', '.join(rule.approvers)}"
    return rule.deciders if rule.approvals == 0 else f"{rule.deciders} decides"


def _rule_row(rule: RequestRule) -> dict[str, str]:
    return {
        "id": str(rule.id),
        "subject": rule.subject,
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "permissions": ", ".join(sort_permissions(rule.permissions)),
        "longest": show_period(rule.longest_s),
        "decided": _decided_by(rule) + (", step-up" if rule.needs_step_up else ""),
        "reason": rule.reason_pattern,
    }


def _rule_document(rule: RequestRule) -> dict[str, object]:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "app": rule.app_pattern,
        "environment": rule.environment_pattern,
        "permissions": list(sort_permissions(rule.permissions)),
        "longest_s": rule.longest_s,
        "approvers": list(rule.approvers),
        "approvals": rule.approvals,
        "reason": rule.reason_pattern,
        "step_up": rule.needs_step_up,
        "break_glass": rule.is_break_glass,
    }


def _row(request: AccessRequest, now: float) -> dict[str, str]:
    return {
        "id": str(request.id),
        "state": request.find_state(now).value,
        "user": request.user,
        "apps": request.apps,
        "for": show_period(request.lasts_s),
        "ends": show.local(request.ends_at),
        "reason": ("break-glass: " if request.is_break_glass else "") + request.reason,
    }


def _document(request: AccessRequest, now: float) -> dict[str, object]:
    return {
        "id": request.id,
        "state": request.find_state(now).value,
        "user": request.user,
        "apps": [target.login_name for target in request.targets],
        "permissions": list(sort_permissions(request.permissions)),
        "rule": request.rule,
        "reason": request.reason,
        "lasts_s": request.lasts_s,
        "created_at": show.iso(request.created_at),
        "began_at": show.iso(request.began_at),
        "ends_at": show.iso(request.ends_at),
        "break_glass": request.is_break_glass,
        "reviewed_by": request.reviewed_by,
    }


def _decision_document(decision: Decision) -> dict[str, object]:
    return {
        "approver": decision.approver,
        "yes": decision.is_yes,
        "at": show.iso(decision.at),
        "lasts_s": decision.lasts_s,
        "note": decision.note,
    }
