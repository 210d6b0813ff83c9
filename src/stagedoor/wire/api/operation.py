"""One operation of the API: its place, its types and its rights."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from stagedoor.model.role import ApiScope, Role
from stagedoor.model.units import KIB
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api.types import Page

_PARAMETER = re.compile(r"\{(\w+)\}")
_TEXT = r"[^/\x00-\x1f\x7f]{1,200}"
_METHODS = {"list": "GET", "get": "GET", "add": "POST", "change": "PUT", "remove": "DELETE"}
_BY_NAME = ("apps", "hooks", "users")
"""The resources whose rows have a name; others have an `id`."""
_BY_NUMBER = ("grants", "request-rules", "requests", "roles")
"""The resources whose `id` is a number."""
_OF_POLICY = ("grants", "roles", "users")
"""The resources whose rows have an ETag, and whose changes `dry_run` previews."""
_FOR_ASKING = ("requests.add", "requests.get", "requests.leave", "requests.list")
"""The operations with which users ask for access."""
_SLOW_OPERATIONS = ("apps.start", "apps.stop", "hooks.test")
"""The operations that act on a shell or another server, which may be slow to answer."""
_NAMES_ROWS = frozenset({"fingerprint", "ids", "subject", "user"})
"""The fields of a request that name rows, which may not exist."""


class Operation(Struct, frozen=True, kw_only=True):
    """An operation of the API.

    `path` is below `PREFIX`. Method, path and status follow from the name unless they are given: `users.get`
    is GET /users/{name}, `users.disable` is POST /users/{name}/disable, and `users.add` is POST /users, with
    201. `role` is the lowest role with which a request may succeed for any app; the operation's function
    checks the role for the apps concerned. If it is None, no role is needed: grants or the rules of access on
    request decide. `filters` are the parameters of its query. An operation that `is_for_person` creates
    credentials or roles, or shows what users typed, and so refuses tokens. An answer that `has_secret` is not
    stored for repeated requests. One that `is_file` consists of the bytes of a file.
    """

    name: str
    method: str = ""
    path: str = ""
    summary: str
    role: Role | None
    answer: Any
    body: Any = None
    filters: type[i.Input] = i.NoFilter
    status: int = 0
    is_list: bool = False
    is_for_person: bool = False
    has_secret: bool = False
    is_file: bool = False
    waits: bool = False
    max_body_bytes: int = 64 * KIB

    def __post_init__(self) -> None:
        """Set the method, the path and the status by the name."""
        resource, _, verb = self.name.partition(".")
        row = "/{name}" if resource in _BY_NAME else "/{id}"
        place = "" if verb in ("list", "add") else row if verb in _METHODS else f"{row}/{verb}"
        force_setattr(self, "method", self.method or _METHODS.get(verb, "POST"))
        force_setattr(self, "path", self.path or f"/{resource}{place}")
        force_setattr(self, "status", self.status or (201 if verb == "add" else 200))

    @property
    def scopes(self) -> tuple[ApiScope, ...]:
        """Return the scopes of which a token needs one."""
        usual = ApiScope.READ if self.method == "GET" else ApiScope.WRITE
        return (usual, ApiScope.REQUEST) if self.name in _FOR_ASKING else (usual,)

    @property
    def wants_proof(self) -> bool:
        """Return whether a person gives a fresh proof of presence first.

        Rules of access on request say that themselves, for approvers.
        """
        return self.is_file or (self.role is not None and self.method != "GET")

    @property
    def changes_policy(self) -> bool:
        """Return whether the operation changes the policy."""
        return self.method != "GET" and self.name not in _SLOW_OPERATIONS

    @property
    def parameters(self) -> list[str]:
        """Return the names in the path."""
        return _PARAMETER.findall(self.path)

    @property
    def resource(self) -> str:
        """Return the first part of the name, such as `users`."""
        return self.name.partition(".")[0]

    @property
    def has_preview(self) -> bool:
        """Return whether `dry_run` shows who would gain and lose access."""
        return self.method != "GET" and self.resource in _OF_POLICY

    @property
    def is_tagged(self) -> bool:
        """Return whether the row has an ETag."""
        is_read = self.name.endswith(".get") and self.resource in _OF_POLICY
        return is_read or self.is_matched

    @property
    def is_matched(self) -> bool:
        """Return whether the operation changes a row, and so needs its ETag in If-Match."""
        return self.method in ("DELETE", "PUT") and self.resource in _OF_POLICY

    @property
    def statuses(self) -> list[int]:
        """Return the statuses of all refusals, sorted."""
        always = {400, 401, 403, 422, 429, 500, 503}
        if self.method != "GET":
            always |= {408, 413}
        if self.body is not None:
            always |= {415}
        fields = {*self.filters.__struct_fields__, *getattr(self.body, "__struct_fields__", ())}
        if self.parameters or fields & _NAMES_ROWS:
            always |= {404}
        if self.method == "POST":
            always |= {409}
        if self.is_matched:
            always |= {412, 428}
        return sorted(always)

    def parse_path(self, path: str) -> Mapping[str, str] | None:
        """Return the parameters in `path`, or None if it is not the path of this operation."""
        pattern = _PARAMETER.sub(self._expression, self.path)
        match = re.fullmatch(pattern, path, re.ASCII)
        return None if match is None else match.groupdict()

    def _expression(self, parameter: re.Match[str]) -> str:
        name = parameter[1]
        return rf"(?P<{name}>{'[1-9][0-9]{0,8}' if self.is_number(name) else _TEXT})"

    def is_number(self, parameter: str) -> bool:
        """Return whether a parameter of the path is a number."""
        return parameter == "id" and self.resource in _BY_NUMBER


def make_list(name: str, summary: str, item: Any, filters: type[i.Input] = i.NoFilter) -> Operation:
    """Return an operation that lists items of the resource `name`, by page."""
    return Operation(
        name=f"{name}.list",
        summary=summary,
        role=Role.AUDITOR,
        answer=Page[item],
        filters=filters,
        is_list=True,
    )


def make_end(name: str, verb: str, summary: str, answer: Any) -> Operation:
    """Return an operation that ends what users have opened."""
    return Operation(
        name=f"{name}.{verb}",
        path=f"/{name}/{verb}",
        summary=summary,
        role=Role.OPERATOR,
        answer=answer,
        body=i.SessionsEnd,
    )
