"""The operations of the API on grants, access requests, apps, sessions and what a machine keeps."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from stagedoor.model.role import Role
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t
from stagedoor.wire.api.operation import Operation, make_end, make_list


def _ask(name: str, summary: str, body: Any = None) -> Operation:
    """Return an operation on access requests, for which their rules alone say who may do it."""
    return Operation(
        name=f"requests.{name}",
        summary=summary,
        role=None,
        body=body,
        answer=t.AccessRequestEntry,
    )


def _make_shell_operation(verb: str, summary: str, answer: Any) -> Operation:
    """Return an operation on the shell of one app."""
    is_change = verb in ("start", "stop")
    return Operation(
        name=f"apps.{verb}",
        method="POST" if is_change else "GET",
        summary=summary,
        role=Role.OPERATOR if is_change else Role.AUDITOR,
        answer=answer,
    )


_ADMIN = Role.ADMINISTRATOR
_OWNER = Role.OWNER

ACCESS: Sequence[Operation] = (
    make_list("grants", "List the grants", t.GrantEntry, i.GrantFilter),
    Operation(
        name="grants.add",
        summary="Add a grant",
        role=_OWNER,
        body=i.GrantNew,
        answer=t.GrantEntry,
    ),
    Operation(
        name="grants.get",
        summary="Show a grant",
        role=Role.AUDITOR,
        answer=t.GrantEntry,
    ),
    Operation(
        name="grants.change",
        summary="Set what a grant permits, besides entering",
        role=_OWNER,
        body=i.GrantChange,
        answer=t.GrantEntry,
    ),
    Operation(
        name="grants.remove",
        summary="Remove a grant",
        role=_OWNER,
        answer=t.GrantEntry,
    ),
    make_list("request-rules", "List the rules of access on request", t.RequestRuleEntry),
    Operation(
        name="request-rules.add",
        summary="Add a rule of access on request",
        role=_ADMIN,
        body=i.RequestRuleNew,
        answer=t.RequestRuleEntry,
        is_for_person=True,
    ),
    Operation(
        name="request-rules.remove",
        summary="Remove a rule; what was approved by it ends",
        role=_ADMIN,
        answer=t.RequestRuleEntry,
    ),
    replace(
        make_list("requests", "List access requests, the newest first", t.AccessRequestEntry),
        filters=i.AccessRequestFilter,
        role=None,
    ),
    Operation(
        name="requests.get",
        summary="Show an access request and the decisions on it",
        role=None,
        answer=t.AccessRequestState,
    ),
    _ask("add", "Ask for access", i.AccessRequestNew),
    _ask("decide", "Approve or deny a request", i.DecisionNew),
    _ask("leave", "Withdraw one's own request, or give back what was approved"),
    Operation(
        name="requests.end",
        summary="End a request of any user",
        role=Role.OPERATOR,
        answer=t.AccessRequestEntry,
    ),
    _ask("review", "Record the review of a use of break-glass"),
    Operation(
        name="access.explain",
        method="GET",
        path="/access/explain",
        summary="Explain why a user may or may not enter an app",
        role=Role.AUDITOR,
        filters=i.UserAppFilter,
        answer=t.AccessReport,
    ),
    Operation(
        name="access.who",
        method="GET",
        path="/access/who",
        summary="List the users who may enter an app now",
        role=Role.AUDITOR,
        filters=i.AppFilter,
        answer=list[t.AdmittedUser],
    ),
    make_list("apps", "List the apps that are known now", t.AppEntry),
    replace(
        make_list("apps", "List the apps with the state of their shells", r.ShellEntry),
        name="apps.shells",
        path="/apps/shells",
    ),
    _make_shell_operation("explain", "Explain how a shell is made", r.AppReport),
    replace(
        _make_shell_operation("log", "Show the last lines of a shell's sshd", r.ShellLog),
        filters=i.LogFilter,
    ),
    _make_shell_operation("start", "Start a shell, and wait for it", r.ShellEntry),
    replace(
        _make_shell_operation("stop", "Close a shell's sessions, and stop it", r.ShellStop),
        body=i.StopOrder,
    ),
    make_list("sessions", "List the sessions, the newest first", t.SessionEntry, i.SessionFilter),
    Operation(
        name="sessions.get",
        summary="Show a session",
        role=Role.AUDITOR,
        answer=t.SessionEntry,
    ),
    make_end("sessions", "close", "Close sessions", list[t.SessionEntry]),
    replace(
        make_list("recordings", "List recordings of terminals", r.RecordingEntry, i.OwnerFilter),
        role=None,
    ),
    Operation(
        name="recordings.get",
        summary="Show a recording; the beginning of its id is enough",
        role=None,
        answer=r.RecordingState,
    ),
    Operation(
        name="recordings.file",
        method="GET",
        summary="Download a recording as it is on the disk",
        role=None,
        answer=bytes,
        is_file=True,
        is_for_person=True,
    ),
    make_list("hooks", "List the hooks", r.HookEntry),
    Operation(
        name="hooks.test",
        summary="Send a test message to a hook",
        role=_ADMIN,
        answer=r.HookResult,
    ),
    Operation(
        name="events.list",
        summary="List audit events, and wait for more",
        role=Role.AUDITOR,
        answer=list[t.EventEntry],
        filters=i.EventFilter,
        waits=True,
    ),
)
