"""The table of the API's operations: routes, checks, OpenAPI, client and reference are made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stagedoor.model.role import Role
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import types as t
from stagedoor.wire.api.operation import Operation

PREFIX = "/api/v1"
MAX_PAGE = 1000
PAGE = 100
"""The items of a page if the request does not say."""
MAX_BODY_BYTES = 64 * 1024


def _list(name: str, summary: str, item: Any, filters: type[i.Input] = i.NoFilter) -> Operation:
    return Operation(
        name=f"{name}.list",
        method="GET",
        path=f"/{name}",
        summary=summary,
        role=Role.AUDITOR,
        answer=t.Page[item],
        filters=filters,
        is_list=True,
    )


def _end(name: str, verb: str, summary: str, answer: Any) -> Operation:
    return Operation(
        name=f"{name}.{verb}",
        method="POST",
        path=f"/{name}/{verb}",
        summary=summary,
        role=Role.OPERATOR,
        answer=answer,
        body=i.SessionsEnd,
        problems=(404,),
    )


def _ask(name: str, path: str, summary: str, body: Any = None) -> Operation:
    """Return an operation on access requests, for which their rules alone say who may do it."""
    return Operation(
        name=f"requests.{name}",
        method="POST",
        path=f"/requests{path}",
        summary=summary,
        role=None,
        body=body,
        answer=t.AccessRequestEntry,
        status=201 if name == "add" else 200,
    )


_ADMIN, _OWNER = Role.ADMINISTRATOR, Role.OWNER
OPERATIONS: Sequence[Operation] = (
    _list("users", "List the users", t.UserEntry, i.UserFilter),
    Operation(
        name="users.add",
        method="POST",
        path="/users",
        summary="Add a user",
        role=_ADMIN,
        body=i.UserNew,
        answer=t.UserEntry,
        status=201,
        is_for_person=True,
    ),
    Operation(
        name="users.get",
        method="GET",
        path="/users/{name}",
        summary="Show a user",
        role=Role.AUDITOR,
        answer=t.UserEntry,
        is_tagged=True,
    ),
    Operation(
        name="users.groups",
        method="PUT",
        path="/users/{name}/groups",
        summary="Set a user's groups",
        role=_ADMIN,
        body=i.UserGroups,
        answer=t.UserEntry,
        is_tagged=True,
        is_matched=True,
        is_for_person=True,
    ),
    Operation(
        name="users.password",
        method="POST",
        path="/users/{name}/password",
        summary="Set a user's password, or remove it",
        role=_ADMIN,
        body=i.UserPassword,
        answer=t.UserEntry,
        is_for_person=True,
    ),
    Operation(
        name="users.disable",
        method="POST",
        path="/users/{name}/disable",
        summary="Disable a user, and close their sessions",
        role=Role.OPERATOR,
        answer=t.UserEntry,
    ),
    Operation(
        name="users.enable",
        method="POST",
        path="/users/{name}/enable",
        summary="Allow a disabled user to log in again",
        role=_ADMIN,
        answer=t.UserEntry,
    ),
    Operation(
        name="users.remove",
        method="DELETE",
        path="/users/{name}",
        summary="Remove a user with their keys, tokens and grants",
        role=_ADMIN,
        answer=t.RemovedUser,
        is_tagged=True,
        is_matched=True,
    ),
    _list("groups", "List the groups", t.GroupEntry),
    _list("grants", "List the grants", t.GrantEntry, i.GrantFilter),
    Operation(
        name="grants.add",
        method="POST",
        path="/grants",
        summary="Add a grant",
        role=_OWNER,
        body=i.GrantNew,
        answer=t.GrantEntry,
        status=201,
        problems=(404,),
    ),
    Operation(
        name="grants.get",
        method="GET",
        path="/grants/{id}",
        summary="Show a grant",
        role=Role.AUDITOR,
        answer=t.GrantEntry,
        is_tagged=True,
    ),
    Operation(
        name="grants.change",
        method="PUT",
        path="/grants/{id}",
        summary="Set what a grant permits, besides entering",
        role=_OWNER,
        body=i.GrantChange,
        answer=t.GrantEntry,
        is_tagged=True,
        is_matched=True,
    ),
    Operation(
        name="grants.remove",
        method="DELETE",
        path="/grants/{id}",
        summary="Remove a grant",
        role=_OWNER,
        answer=t.GrantEntry,
        is_tagged=True,
        is_matched=True,
    ),
    _list("roles", "List the roles", t.RoleEntry),
    Operation(
        name="roles.add",
        method="POST",
        path="/roles",
        summary="Give a role",
        role=_ADMIN,
        body=i.RoleNew,
        answer=t.RoleEntry,
        status=201,
        is_for_person=True,
        problems=(404,),
    ),
    Operation(
        name="roles.get",
        method="GET",
        path="/roles/{id}",
        summary="Show a role",
        role=Role.AUDITOR,
        answer=t.RoleEntry,
        is_tagged=True,
    ),
    Operation(
        name="roles.remove",
        method="DELETE",
        path="/roles/{id}",
        summary="Take a role away",
        role=_ADMIN,
        answer=t.RoleEntry,
        is_tagged=True,
        is_matched=True,
        is_for_person=True,
    ),
    _list("request-rules", "List the rules of access on request", t.RequestRuleEntry),
    Operation(
        name="request-rules.add",
        method="POST",
        path="/request-rules",
        summary="Add a rule of access on request",
        role=_ADMIN,
        body=i.RequestRuleNew,
        answer=t.RequestRuleEntry,
        status=201,
        is_for_person=True,
    ),
    Operation(
        name="request-rules.remove",
        method="DELETE",
        path="/request-rules/{id}",
        summary="Remove a rule; what was approved by it ends",
        role=_ADMIN,
        answer=t.RequestRuleEntry,
    ),
    replace(
        _list("requests", "List access requests, the newest first", t.AccessRequestEntry),
        filters=i.AccessRequestFilter,
        role=None,
    ),
    Operation(
        name="requests.get",
        method="GET",
        path="/requests/{id}",
        summary="Show an access request and the decisions on it",
        role=None,
        answer=t.AccessRequestState,
    ),
    _ask("add", "", "Ask for access", i.AccessRequestNew),
    _ask("decide", "/{id}/decide", "Approve or deny a request", i.DecisionNew),
    _ask("leave", "/{id}/leave", "Withdraw one's own request, or give back what was approved"),
    Operation(
        name="requests.end",
        method="POST",
        path="/requests/{id}/end",
        summary="End a request of any user",
        role=Role.OPERATOR,
        answer=t.AccessRequestEntry,
    ),
    _ask("review", "/{id}/review", "Record the review of a use of break-glass"),
    Operation(
        name="access.explain",
        method="GET",
        path="/access/explain",
        summary="Explain why a user may enter an app or not",
        role=Role.AUDITOR,
        filters=i.UserAppFilter,
        answer=t.AccessReport,
        problems=(404, 422),
    ),
    Operation(
        name="access.who",
        method="GET",
        path="/access/who",
        summary="List the users who may enter an app now",
        role=Role.AUDITOR,
        filters=i.AppFilter,
        answer=list[t.AdmittedUser],
        problems=(422,),
    ),
    _list("apps", "List the apps that are known now", t.AppEntry),
    _list("sessions", "List the sessions, the newest first", t.SessionEntry, i.SessionFilter),
    Operation(
        name="sessions.get",
        method="GET",
        path="/sessions/{id}",
        summary="Show a session",
        role=Role.AUDITOR,
        answer=t.SessionEntry,
        has_text_id=True,
    ),
    _end("sessions", "close", "Close sessions", list[t.SessionEntry]),
    _list("sign-ins", "List the sign-ins that last", t.SignInEntry, i.OwnerFilter),
    _end("sign-ins", "end", "End sign-ins and their sessions", list[t.SignInEntry]),
    _list("tokens", "List the tokens, without secrets", t.TokenEntry, i.OwnerFilter),
    Operation(
        name="tokens.add",
        method="POST",
        path="/tokens",
        summary="Create a token",
        role=_ADMIN,
        body=i.TokenNew,
        answer=t.TokenMade,
        status=201,
        is_for_person=True,
        has_secret=True,
        problems=(404,),
    ),
    Operation(
        name="tokens.remove",
        method="DELETE",
        path="/tokens/{id}",
        summary="Revoke a token; its sessions close",
        role=_ADMIN,
        answer=t.TokenEntry,
        has_text_id=True,
    ),
    _list("keys", "List the public keys", t.KeyEntry, i.OwnerFilter),
    Operation(
        name="keys.add",
        method="POST",
        path="/keys",
        summary="Register public keys",
        role=_ADMIN,
        body=i.KeysNew,
        answer=list[t.KeyEntry],
        status=201,
        is_for_person=True,
        problems=(404,),
    ),
    Operation(
        name="keys.remove",
        method="POST",
        path="/keys/remove",
        summary="Remove a public key",
        role=_ADMIN,
        body=i.KeyRemoval,
        answer=t.KeyEntry,
        problems=(404,),
    ),
    Operation(
        name="events.list",
        method="GET",
        path="/events",
        summary="List audit events, and wait for more",
        role=Role.AUDITOR,
        answer=list[t.EventEntry],
        filters=i.EventFilter,
        waits=True,
    ),
)

BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}


def find_operation(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | list[str]:
    """Return the operation of a request and the parameters in its path, or the methods that the path has.

    There are none for a path that does not exist.
    """
    methods = []
    literal = [operation for operation in OPERATIONS if operation.path == path]
    for operation in literal or OPERATIONS:
        parameters = operation.parse_path(path)
        if parameters is None:
            continue
        if operation.method == method:
            return operation, parameters
        methods.append(operation.method)
    return sorted(set(methods))
