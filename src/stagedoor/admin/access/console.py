"""The service of the administrators' pages, which checks the role and then calls the functions of `admin`.

Each method checks the role first. A change also requires a fresh proof of identity.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from stagedoor.admin import service as admin
from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.access.questions import explain_access
from stagedoor.admin.access.views import (
    GrantRow,
    HealthReport,
    PersonRow,
    PersonView,
    RowPage,
    SessionRow,
)
from stagedoor.admin.audit.search import SearchPage, search_audit
from stagedoor.admin.blocking import call_blocking
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.guard import PolicyGuard
from stagedoor.admin.person import set_disabled
from stagedoor.admin.service import AdminService
from stagedoor.admin.sign_ins import end_sign_ins, find_sign_in, list_sign_ins
from stagedoor.authz.access_request import check_fresh
from stagedoor.authz.decide import combine_permissions, list_matching
from stagedoor.authz.explain import AccessAnswer
from stagedoor.authz.roles import (
    AdminAccess,
    check_leaving,
    check_taking,
    find_admin_access,
    make_app_denial,
    make_role_denial,
)
from stagedoor.authz.step_up import StepUpRules, has_typed_password
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError
from stagedoor.model.event import Event
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.selector import EVERYWHERE
from stagedoor.model.target import Target
from stagedoor.store.sessions import SessionRecord, find_sessions, list_sessions
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.store.sqlite.audit_index import AuditIndex
from stagedoor.wire.target import parse_login

_T = TypeVar("_T")
PAGE = 100
"""The rows of one page."""
MAX_SESSIONS = 1000
"""The open sessions that one page may show; a search finds the others."""
_RECORDED_METHODS = ("direct", "web")
"""Sessions by other access methods are encrypted end to end."""
NO_PAGE = Denial(Reason.NO_GRANT, "there is no such page here, or you may not see it")


class ConsoleService:
    """The data and the actions of the administrators' pages. Belongs to one event loop.

    It uses the store in a thread.
    """

    def __init__(
        self,
        context: WorkerContext,
        step_up: StepUpRules,
        apps: Callable[[], Iterable[Target]],
        read_health: Callable[[bool], HealthReport],
    ) -> None:
        """`apps` returns the existing apps, and `read_health` the state, with all checks if given True."""
        self._context = context
        self.settings = context.settings
        self.database = context.database
        self.policy, self.now = context.policy, context.now
        self.step_up = step_up
        self.apps = apps
        self._read_health = read_health
        self._checking: asyncio.Task[HealthReport | Denial] | None = None

    # Roles.

    def find_access(self, identity: Identity) -> AdminAccess:
        """Return the roles of a person. A token, or a sign-in for some apps only, has none."""
        if not identity.is_person:
            return AdminAccess(identity.name)
        return find_admin_access(self.policy(), identity.name, self.now())

    def has_any(self, identity: Identity) -> bool:
        """Return whether the person has any role, and so sees these pages."""
        return self.find_access(identity).has_somewhere(Role.AUDITOR)

    def has_all(self, identity: Identity) -> bool:
        """Return whether the person has a role for all apps, and so sees people and health too."""
        return self.find_access(identity).has(Role.AUDITOR)

    def check_role(self, identity: Identity, role: Role) -> Denial | None:
        """Return why the person may not see a page for `role`. Without any role, it reveals nothing."""
        access = self.find_access(identity)
        if access.has(role):
            return None
        return make_role_denial(role, EVERYWHERE) if access.has_somewhere(Role.AUDITOR) else NO_PAGE

    def check_change(self, identity: Identity, refused: Denial | None, what: str) -> Denial | None:
        """Return `refused` or, without it, why the person's sign-in or proof of presence does not suffice."""
        if refused is not None:
            return refused
        policy, now = self.policy(), self.now()
        credential = policy.check_credential(identity, now)
        if isinstance(credential, Denial):
            return credential
        if has_typed_password(policy, identity, now - self.step_up.fresh_s):
            return None
        return check_fresh(policy, identity, what, self.step_up, now)

    def open_service(self, identity: Identity) -> AdminService:
        """Return the opened store, with the person as the author of changes.

        Call this before you judge a change, which then raises StalePolicyError if the policy has changed
        since.
        """
        return self._context.make_service(identity.name, guard=PolicyGuard(self.policy()))

    # Sessions.

    async def list_sessions(self, identity: Identity, wanted: str) -> Sequence[SessionRow] | Denial:
        """Return the open sessions that the person sees, the newest first.

        The name of their user or app, or their address, contains `wanted`.
        """
        access = self.find_access(identity)
        if not access.has_somewhere(Role.AUDITOR):
            return NO_PAGE
        policy, now = self.policy(), self.now()

        def read() -> Sequence[SessionRow]:
            rows = []
            for session in list_sessions(self.database, limit=None):
                if not access.has_for_app(Role.AUDITOR, session.target):
                    continue
                if any(
                    wanted in text for text in (session.identity, session.target, session.source)
                ):
                    may_end = access.has_for_app(Role.OPERATOR, session.target)
                    is_recorded = _is_recorded(policy, session, now)
                    rows.append(SessionRow(session, may_end, is_recorded))
                if len(rows) == MAX_SESSIONS:
                    break
            return rows

        return await call_blocking(read)

    async def end_session(self, identity: Identity, id_: str, reason: str) -> Denial | None:
        """Close a session. `reason` is shown to its user."""
        if not self.has_any(identity):
            return NO_PAGE
        matches = await call_blocking(find_sessions, self.database, id_, limit=1)
        if isinstance(matches, Denial):
            return matches
        session = matches[0] if matches and matches[0].id == id_ else None
        service = self.open_service(identity)
        access = self.find_access(identity)
        if session is None or not access.has_for_app(Role.AUDITOR, session.target):
            return Denial(Reason.BAD_REQUEST, "there is no such session")
        refused = None
        if not access.has_for_app(Role.OPERATOR, session.target):
            refused = make_app_denial(Role.OPERATOR, parse_login(session.target))
        if (denial := self.check_change(identity, refused, "closing a session")) is not None:
            return denial
        said = " ".join(reason.split())[:200] or f"closed by {identity.name}"
        if not said.isprintable():
            return Denial(Reason.BAD_REQUEST, "the reason holds control characters")
        done = await call_blocking(admin_sessions.request_close, service, [id_], said)
        return done if isinstance(done, Denial) else None

    # People.

    async def list_people(
        self, identity: Identity, wanted: str, after: str
    ) -> RowPage[PersonRow] | Denial:
        """Return a page of the users whose name or group contains `wanted`, from the name `after` on."""
        if (denial := self.check_role(identity, Role.AUDITOR)) is not None:
            return denial
        policy = self.policy()
        matching = [
            user
            for name, user in policy.all_users.items()
            if not wanted or wanted in name or any(wanted in group for group in user.groups)
        ]
        page = [user for user in matching if user.name > after][: PAGE + 1]
        names = [user.name for user in page[:PAGE]]
        keys = Counter(key.user for key in policy.keys.values())
        tokens = Counter(token.user for token in policy.tokens.values())
        used = await self._read_uses(names)
        rows = [
            PersonRow(
                user,
                user.name in policy.disabled,
                keys[user.name],
                tokens[user.name],
                used.get(user.name),
            )
            for user in page[:PAGE]
        ]
        return RowPage(rows, names[-1] if len(page) > PAGE else None, len(matching))

    async def find_person(self, identity: Identity, name: str) -> PersonView | Denial:
        """Return everything about one user."""
        if (denial := self.check_role(identity, Role.AUDITOR)) is not None:
            return denial
        policy = self.policy()
        user = policy.all_users.get(name)
        if user is None:
            return Denial(Reason.BAD_REQUEST, "there is no such user")
        rules = policy.find_grants(user.subjects)

        def read() -> tuple[list[SignInRecord], list[SessionRecord]]:
            sessions = list_sessions(self.database, open_only=False, identity=name, limit=20)
            return list_sign_ins(self.open_service(identity), name), sessions

        stored = await call_blocking(read)
        if isinstance(stored, Denial):
            return stored
        grants = await self.make_grant_rows(identity, rules)
        keys = [key for key in policy.keys.values() if key.user == name]
        tokens = [token for token in policy.tokens.values() if token.user == name]
        used = await self._read_uses([name])
        row = PersonRow(user, name in policy.disabled, len(keys), len(tokens), used.get(name))
        may = [self.find_access(identity).has(role) for role in (Role.OPERATOR, Role.ADMINISTRATOR)]
        sign_ins, sessions = stored
        return PersonView(row, grants, keys, tokens, sign_ins, sessions, *may)

    async def update_person(
        self, identity: Identity, name: str, act: str, id_: str
    ) -> Denial | None:
        """Disable or enable a user, or end a sign-in, or remove a key or a token. Return None on success."""
        service = self.open_service(identity)
        role = Role.OPERATOR if act in ("disable", "sign-in") else Role.ADMINISTRATOR
        refused = self.check_role(identity, role)
        if refused is None and act in ("disable", "enable"):
            refused = check_leaving(self.find_access(identity), name)
        if (denial := self.check_change(identity, refused, "changing a user")) is not None:
            return denial

        def change() -> None:
            policy = self.policy()
            match act:
                case "disable" | "enable":
                    set_disabled(service, name, disabled=act == "disable")
                case "sign-in":
                    record = find_sign_in(service, id_)
                    if record.sign_in.name != name:
                        raise NotFoundError("there is no such sign-in")
                    why = "an administrator ended your sign-in"
                    end_sign_ins(service, [record], why, require_proof=True)
                case "key" if id_ in policy.keys and policy.keys[id_].user == name:
                    admin.remove_key(service, id_)
                case "token" if id_ in policy.tokens and policy.tokens[id_].user == name:
                    admin.revoke_token(service, id_)
                case _:
                    raise NotFoundError("nothing has that name any more")

        return await call_blocking(change)

    async def _read_uses(self, names: Sequence[str]) -> dict[str, float]:
        """Return when these users last opened a session, as far as the index has it."""
        return await self.read_index(lambda index: index.read_user_uses(names), {})

    async def make_grant_rows(
        self, identity: Identity, rules: Sequence[GrantRule]
    ) -> list[GrantRow]:
        """Return the rows of grants, each with its last use as far as the index has it."""
        numbers = [rule.id for rule in rules]
        none: dict[int, tuple[float, str]] = {}
        used = await self.read_index(lambda index: index.read_grant_uses(numbers), none)
        access, now = self.find_access(identity), self.now()
        return [
            GrantRow(
                rule,
                used.get(rule.id),
                rule.expires_at is not None and rule.expires_at <= now,
                rule.access_set is None and check_taking(access, rule) is None,
            )
            for rule in rules
        ]

    async def read_index(self, read: Callable[[AuditIndex], _T], none: _T) -> _T:
        """Return a value from the audit's index, or `none` without one."""

        def load() -> _T:
            index = AuditIndex.open_to_read(self.settings.data_dir)
            if index is None:
                return none
            try:
                return read(index)
            finally:
                index.close_file()

        loaded = await call_blocking(load)
        return none if isinstance(loaded, Denial) else loaded

    # Audit, explanations and health.

    async def search_audit(
        self, identity: Identity, text: str, since: float | None, before: int | None
    ) -> SearchPage | Denial:
        """Return the events that the person may see: all of them, or those of the apps of their role."""
        access = self.find_access(identity)
        if not access.has_somewhere(Role.AUDITOR):
            return NO_PAGE

        def may_see(event: Event) -> bool:
            return access.has_for_app(Role.AUDITOR, event.target)

        folder = self.settings.data_dir
        return await call_blocking(
            search_audit, self.database, folder, text, may_see=may_see, since=since, before=before
        )

    def explain(self, identity: Identity, name: str, target: Target) -> AccessAnswer | Denial:
        """Return why the user `name` may enter `target` or not."""
        access = self.find_access(identity)
        if not access.has_somewhere(Role.AUDITOR):
            return NO_PAGE
        if not access.covers(Role.AUDITOR, target):
            return make_app_denial(Role.AUDITOR, target)
        try:
            return explain_access(self.policy(), name, target, self.now(), self.step_up, access)
        except NotFoundError as error:
            return Denial(Reason.BAD_REQUEST, str(error))

    async def read_health(self, identity: Identity, *, checks: bool) -> HealthReport | Denial:
        """Return the state of the installation, with all checks if wanted.

        The checks take long, so all who ask while they run get the same result.
        """
        if (denial := self.check_role(identity, Role.AUDITOR)) is not None:
            return denial
        if not checks:
            return await call_blocking(self._read_health, False)
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(call_blocking(self._read_health, True))
        return await asyncio.shield(self._checking)


def _is_recorded(policy: Policy, session: SessionRecord, now: float) -> bool:
    """Return whether terminals of the session's user in its app are recorded, by the current policy."""
    user, target = policy.users.get(session.identity), parse_login(session.target)
    if session.access_method not in _RECORDED_METHODS or user is None or target is None:
        return False
    rules = list_matching(policy, user, target, now, includes_unbegun=False)
    return Permission.RECORD in combine_permissions(rules)
