"""The operations on apps and their shells: listing, starting, stopping and explaining them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import msgspec

from stagedoor.admin import sessions
from stagedoor.api.call import Call, DeniedError, Handler, check_line
from stagedoor.authz.roles import make_app_denial
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.role import Role
from stagedoor.model.selector import TargetPattern
from stagedoor.model.shell import ShellState
from stagedoor.model.target import Target
from stagedoor.store.sessions import list_sessions
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t
from stagedoor.wire.target import require_app

if TYPE_CHECKING:
    from stagedoor.admin.apps import Apps, ClusterApp

CLOSE_S = 10.0
WAIT_S = 15.0
"""How long a request over HTTP waits for a shell. Proxies cut off slow answers, so clients ask again."""


def list_apps(call: Call) -> t.Page[t.AppEntry]:
    """List the apps that the caller may read."""
    inside = Counter(record.target for record in list_sessions(call.service.database, limit=None))
    listed = set(call.apps.list_targets())
    targets = [target for target in listed if call.access.covers(Role.AUDITOR, target)]

    def show(target: Target) -> t.AppEntry:
        return t.AppEntry(target.login_name, target.app, target.environment, inside[str(target)])

    return call.list_page(targets, lambda target: target.login_name, show)


async def list_shells(call: Call) -> t.Page[r.ShellEntry]:
    """List the apps that the caller may read, with the state of their shells."""
    inside = await asyncio.to_thread(_list_users_inside, call)
    entries = await _list_own(call, inside)
    if call.apps.open_cluster is not None:
        async with call.apps.open_cluster() as apps:
            entries += await list_cluster_shells(apps, inside)
    visible = [
        entry
        for entry in entries
        if call.access.has(Role.AUDITOR, TargetPattern(entry.app or "*", entry.environment or "*"))
    ]
    return call.list_page(visible, lambda entry: f"{entry.target} {entry.kind}", lambda e: e)


def _list_users_inside(call: Call) -> Mapping[str, Sequence[str]]:
    """Return the users of the open sessions, by target."""
    users = defaultdict[str, list[str]](list)
    for session in list_sessions(call.service.database, limit=None):
        users[session.target].append(session.identity)
    return users


async def _list_own(call: Call, inside: Mapping[str, Sequence[str]]) -> list[r.ShellEntry]:
    """Return the static and the local shells."""
    static, local = call.settings.shells.static, call.settings.shells.local
    entries = [
        _make_entry(Target(s.app, s.environment), "static", "", inside, f"{s.host}:{s.port}")
        for s in static
    ]
    for shell in local:
        target = Target(shell.app, shell.environment)
        state = await call.apps.observe(target)
        entries.append(_make_entry(target, "local", state, inside))
    return entries


async def list_cluster_shells(
    apps: "Apps", inside: Mapping[str, Sequence[str]]
) -> list[r.ShellEntry]:
    """Return each app of a cluster, and each namespace that is not served or has shells left to end."""
    entries = [_show_app(app, inside) for app in await apps.list(inside)]
    rows = [
        (environment, ShellState.FAILED, f"the namespace {namespace} is not served: {why}")
        for namespace, (environment, why) in apps.list_unserved().items()
    ]
    ending = await apps.explain_ending()
    rows += [(name, ShellState.READY, sentence) for name, sentence in ending.items()]
    for environment, state, detail in rows:
        entry = _make_entry(Target("*", environment), "namespace", state, inside, "", detail)
        entries.append(msgspec.structs.replace(entry, app=None))
    return entries


def _show_app(app: "ClusterApp", inside: Mapping[str, Sequence[str]]) -> r.ShellEntry:
    return _make_entry(app.target, app.kind, app.state, inside, app.address, app.detail)


def _make_entry(
    target: Target,
    kind: str,
    state: str,
    inside: Mapping[str, Sequence[str]],
    address: str = "",
    detail: str = "",
) -> r.ShellEntry:
    users = len(inside.get(str(target), ()))
    return r.ShellEntry(
        str(target), target.app, target.environment, kind, str(state), detail, address, users
    )


async def explain_shell(call: Call) -> r.AppReport:
    """Explain how a shell is made, or would be."""
    target = _find_target(call, Role.AUDITOR)
    async with _open_cluster(call, target, "explained") as apps:
        report = await apps.explain(target)
    return r.AppReport(**report.to_json(), text=report.to_text())


async def start_shell(call: Call) -> r.ShellEntry:
    """Start a shell and wait for it. Over HTTP, wait some seconds, then return how far it is."""
    target = _find_target(call, Role.OPERATOR)
    async with _open_cluster(call, target, "started") as apps:
        try:
            async with asyncio.timeout(_get_limit(call)):
                app = await apps.start(target, call.apps.progress)
        except TimeoutError:
            app = await apps.describe(target)
    return _show_app(app, {})


async def stop_shell(call: Call) -> r.ShellStop:
    """Close the sessions in a shell, stop it, and wait for its end, over HTTP only some seconds."""
    target = _find_target(call, Role.OPERATOR)
    cluster = _open_cluster(call, target, "stopped")
    await _close_sessions(call, target)
    async with cluster as apps:
        try:
            async with asyncio.timeout(_get_limit(call)):
                was_up = await apps.stop(target)
        except TimeoutError:
            return r.ShellStop(str(target), was_up=True, is_up=True)
    return r.ShellStop(str(target), was_up=was_up, is_up=False)


async def _close_sessions(call: Call, target: Target) -> None:
    """Close the sessions in a shell. Raises StagedoorError if some stay open."""
    inside = await asyncio.to_thread(_request_close, call, target)
    if still := await sessions.wait_closed(call.service, inside, CLOSE_S):
        raise StagedoorError(
            f"{len(still)} of {len(inside)} sessions still open after {CLOSE_S:g} s "
            f"({' '.join(still[:3])}); see the gateway's log"
        )


def _request_close(call: Call, target: Target) -> Sequence[str]:
    """Ask the sessions in a shell to close, and return their ids."""
    check_line(call.body.reason)
    listed = list_sessions(call.service.database, limit=None)
    inside = [session.id for session in listed if session.target == str(target)]
    if inside:
        sessions.request_close(call.service, inside, call.body.reason)
    return inside


async def read_log(call: Call) -> r.ShellLog:
    """Return the last lines of the sshd in a shell."""
    target = _find_target(call, Role.AUDITOR)
    async with _open_cluster(call, target, "asked for its log") as apps:
        return r.ShellLog(await apps.read_logs(target, call.filters.lines))


def _get_limit(call: Call) -> float | None:
    return None if call.identity is None else WAIT_S


def _find_target(call: Call, role: Role) -> Target:
    """Return the app in the path. Raises DeniedError unless the caller has `role` for it."""
    target = require_app(call.path["name"])
    if not call.access.covers(role, target):
        raise DeniedError(make_app_denial(role, target))
    return target


def _open_cluster(call: Call, target: Target, what: str) -> "AbstractAsyncContextManager[Apps]":
    """Open the cluster's apps. Raises RefusedError for a shell of the settings, NotFoundError."""
    shells = call.settings.shells
    own = {Target(entry.app, entry.environment) for entry in shells.static}
    own |= {Target(entry.app, entry.environment) for entry in shells.local}
    if target in own:
        raise RefusedError(
            f"{target} is an entry of the settings and cannot be {what} here: a static shell is another "
            "server's, and a local one starts with a login and stops when it is no longer in use"
        )
    if call.apps.open_cluster is None:
        raise NotFoundError.with_fix(f"there is no app {target}", "see: stagedoor app list")
    return call.apps.open_cluster()


HANDLERS: Mapping[str, Handler] = {
    "apps.list": list_apps,
    "apps.shells": list_shells,
    "apps.explain": explain_shell,
    "apps.start": start_shell,
    "apps.stop": stop_shell,
    "apps.log": read_log,
}
