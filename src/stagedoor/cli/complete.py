"""Completions of names from the store, for the shell.

Every command imports this module, so imports that only a completion needs happen when the tab key is pressed.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from stagedoor.admin.service import AdminService, open_service, read_policy
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission, to_words
from stagedoor.model.policy import Policy
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings

COMPLETE_S = 2.0
"""How long a press of the tab key waits for a cluster."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _find_settings(ctx: click.Context) -> Settings:
    """Return the settings. During a completion click runs no callback, so the context has no installation."""
    given = ctx.find_root().params.get("settings_file")
    return Installation(Path(given) if given else None).settings


def _offer(read: Callable[[AdminService], Iterable[tuple[str, str]]]) -> Complete:
    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            with open_service(_find_settings(ctx), create=False) as service:
                return [
                    CompletionItem(name, help=about)
                    for name, about in read(service)
                    if name.startswith(incomplete)
                ]
        except StagedoorError:
            return []  # an error message would break the command line

    return complete


def _of_policy(read: Callable[[Policy], Iterable[tuple[str, str]]]) -> Complete:
    return _offer(lambda service: read(read_policy(service)))


user_names = _of_policy(lambda p: ((name, "") for name in p.all_users))
token_ids = _of_policy(lambda p: ((t.id, t.user) for t in p.tokens.values()))
fingerprints = _of_policy(lambda p: ((k.fingerprint, k.user) for k in p.keys.values()))
grant_ids = _of_policy(
    lambda p: (
        (str(g.id), f"{g.subject} {g.app_pattern}: {to_words(g.permissions)}") for g in p.grants
    )
)

request_rule_ids = _of_policy(
    lambda p: ((str(r.id), f"{r.subject} {r.app_pattern}") for r in p.request_rules.values())
)
role_ids = _of_policy(
    lambda p: ((str(r.id), f"{r.subject} {r.role} {r.app_pattern}") for r in p.roles.values())
)
request_ids = _of_policy(
    lambda p: ((str(r.id), f"{r.user} {r.apps}: {r.reason}") for r in p.requests.values())
)


def _list_recordings(service: AdminService) -> Iterator[tuple[str, str]]:
    from stagedoor.admin.recordings import list_recordings

    for recording in list_recordings(service):
        session = recording.session
        yield recording.file.id, f"{session.identity} {session.target}" if session else ""


def _list_sessions(service: AdminService) -> Iterator[tuple[str, str]]:
    from stagedoor.store.sessions import list_sessions

    for session in list_sessions(service.database):
        yield session.id, f"{session.identity} {session.target}"


def _list_passkeys(service: AdminService) -> Iterator[tuple[str, str]]:
    from stagedoor.store.sign_in.passkeys import list_passkeys

    with service.database.read() as transaction:
        for passkey in list_passkeys(transaction):
            yield passkey.id, f"{passkey.user} {passkey.name}"


def _sign_ins(service: AdminService) -> Iterator[tuple[str, str]]:
    from stagedoor.admin.sign_ins import list_sign_ins, show_id

    for record in list_sign_ins(service):
        sign_in = record.sign_in
        yield show_id(sign_in.id), f"{sign_in.name} {sign_in.source or ''}"


recording_ids = _offer(_list_recordings)
session_ids = _offer(_list_sessions)
passkey_ids = _offer(_list_passkeys)
sign_in_ids = _offer(_sign_ins)


def _list_subjects(current: Policy) -> list[tuple[str, str]]:
    groups = {group for user in current.all_users.values() for group in user.groups}
    names = [f"user:{name}" for name in current.all_users] + [
        f"group:{name}" for name in sorted(groups)
    ]
    return [(name, "") for name in (*names, ALL_USERS)]


subjects = _of_policy(_list_subjects)


def complete_permissions(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the last one of several permissions between commas."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{permission}")
        for permission in Permission
        if permission.startswith(last) and permission not in there
    ]


def list_settings_targets(settings: Settings) -> list[Target]:
    """Return the targets of the static and the local shells."""
    targets = [Target(entry.app, entry.environment) for entry in settings.shells.static]
    return targets + [Target(entry.app, entry.environment) for entry in settings.shells.local]


def list_cluster_targets(settings: Settings) -> list[Target]:
    """Return the targets of the cluster, none if the settings name no cluster.

    Raises StagedoorError if the cluster does not answer within COMPLETE_S.
    """
    if not settings.kubernetes.is_used:
        return []
    from stagedoor.serve.prepare import check_kubernetes

    check_kubernetes(settings)
    # Imported here, since its libraries are an extra.
    from stagedoor.admin.apps import list_targets

    return list(asyncio.run(list_targets(settings, within_s=COMPLETE_S)))


def complete_apps(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the apps of the settings, and those of the cluster if it answers within COMPLETE_S."""
    try:
        settings = _find_settings(ctx)
        names = list_settings_targets(settings) + list_cluster_targets(settings)
    except StagedoorError:
        return []  # an error message would break the command line
    shown = sorted({str(target).removesuffix(".ssh") for target in names})
    return [CompletionItem(name) for name in shown if name.startswith(incomplete)]
