"""The API over a store, with a person for each role, and no network."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.requests.offers import RequestOffers
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.api.answers import ApiAnswer
from stagedoor.api.call import AppSource
from stagedoor.api.service import ApiService
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.identity import Identity, Method
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.shell import ShellState
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.store.policy import load_policy

JSON = {"content-type": "application/json"}
APPS = (Target("a-web"), Target("a-db", "production"), Target("secret"))
ROLES = {
    "ada": (Role.ADMINISTRATOR, "*"),
    "olga": (Role.OWNER, "a-*"),
    "otto": (Role.OPERATOR, "*"),
    "ann": (Role.AUDITOR, "*"),
    "ansel": (Role.AUDITOR, "a-*"),
}


@dataclass
class Reply:
    status: int
    said: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> dict[str, str]:
        return {"if-match": self.headers["ETag"]}


def add_people(service: admin.AdminService) -> None:
    """Add `ada`, `olga`, `otto`, `ann` and `ansel`, who have the roles in ROLES, and `nick`, who has none."""
    for name in (*ROLES, "nick"):
        admin.add_user(service, name)
    for name, (role, app) in ROLES.items():
        roles.add_role(service, RoleRule(0, f"user:{name}", role, app))


class World:
    """The API over a store that has the users of `add_people`."""

    def __init__(self, service: admin.AdminService) -> None:
        self.service = service
        self.database = service.database
        self.now = time.time()
        self.api = self.make_api(service.data_dir)

    def make_context(self, data_dir: Path) -> WorkerContext:
        settings, now = Settings(data_dir=data_dir), lambda: self.now
        return WorkerContext(settings, self.database, lambda: load_policy(self.database), now)

    def make_api(
        self,
        data_dir: Path,
        open_cluster: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    ) -> ApiService:
        rules, context = StepUpRules(), self.make_context(data_dir)
        return ApiService(
            context,
            rules,
            AppSource(
                lambda: APPS, lambda target: asyncio.sleep(0, ShellState.ABSENT), open_cluster
            ),
            lambda line: None,
            RequestService(context, rules, RequestOffers(context, lambda: APPS)),
        )

    def person(self, name: str, *, fresh: bool = True) -> Identity:
        user_verified_at = self.now if fresh else None
        return Identity(name, frozenset(), Method.SSO, "Company", user_verified_at=user_verified_at)

    def token(self, name: str, *scopes: str) -> Identity:
        token = admin.create_token(self.service, name, scopes=scopes or None)
        return Identity(name, frozenset(), Method.TOKEN, token.id, scopes or None)

    async def ask(
        self,
        who: str | Identity,
        what: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Reply:
        """Send `GET /users`, or another request, as a person who was there a moment ago."""
        identity = self.person(who) if isinstance(who, str) else who
        method, _, path = what.partition(" ")
        admitted = await self.api.admit(identity, method, path)
        if not isinstance(admitted, ApiAnswer):
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            admitted = await self.api.answer(admitted, query, {**JSON, **(headers or {})}, sent)
        document = json.loads(admitted.body) if admitted.file is None else None
        return Reply(admitted.status, document, admitted.headers)

    def actions(self) -> list[str]:
        """Return the changes in the audit, each with its actor."""
        from stagedoor.admin.sessions import list_entries
        from stagedoor.store.journal import Filter

        return [
            f"{entry.event.identity}: {entry.event.fields['action']}"
            for entry in list_entries(self.service, Filter())
            if "action" in entry.event.fields
        ]
