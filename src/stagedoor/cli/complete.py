"""What the shell's completion offers for names that stand in the store."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from stagedoor.admin.recordings.recordings import list_recordings
from stagedoor.admin.service import AdminService, open_service, policy
from stagedoor.admin.sessions import list_sessions
from stagedoor.admin.sign_in.passkeys import list_passkeys
from stagedoor.admin.sign_in.sign_ins import list_sign_ins, shown_id
from stagedoor.cli.installation import Installation
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission, to_words
from stagedoor.model.policy import Policy
from stagedoor.model.selector import EVERYBODY
from stagedoor.model.target import Target
from stagedoor.serve.prepare import check_kubernetes
from stagedoor.settings.settings import Settings

COMPLETE_S = 2.0
"""How long somebody who presses the tab key waits for a cluster."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offer(read: Callable[[AdminService], Iterable[tuple[str, str]]]) -> Complete:
    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # While completing, click parses the options but runs no callback: there is no ctx.obj.
        given = ctx.find_root().params.get("settings_file")
        installation = Installation(Path(given) if given else None)
        try:
            with open_service(installation.settings, create=False) as service:
                return [
                    CompletionItem(name, help=about)
                    for name, about in read(service)
                    if name.startswith(incomplete)
                ]
        except StagedoorError:
            return []  # there is nobody to tell between two key presses

    return complete


def _of_policy(read: Callable[[Policy], Iterable[tuple[str, str]]]) -> Complete:
    return _offer(lambda service: read(policy(service)))


user_names = _of_policy(lambda p: ((name, "") for name in p.everybody))
token_ids = _of_policy(lambda p: ((t.id, t.user) for t in p.tokens.values()))
fingerprints = _of_policy(lambda p: ((k.fingerprint, k.user) for k in p.keys.values()))
grant_ids = _of_policy(
    lambda p: (
        (str(g.id), f"{g.subject} {g.app_pattern}: {to_words(g.permissions)}") for g in p.grants
    )
)
recording_ids = _offer(
    lambda o: (
        (r.file.id, f"{r.session.identity} {r.session.target}" if r.session else "")
        for r in list_recordings(o)
    )
)
session_ids = _offer(lambda o: ((s.id, f"{s.identity} {s.target}") for s in list_sessions(o)))

passkey_ids = _offer(lambda o: ((p.id, f"{p.user} {p.name}") for p in list_passkeys(o)))

sign_in_ids = _offer(
    lambda o: (
        (shown_id(bytes.fromhex(s.id)), f"{s.user} {s.source or ''}") for s in list_sign_ins(o)
    )
)


def _subjects(found: Policy) -> list[tuple[str, str]]:
    groups = {group for user in found.everybody.values() for group in user.groups}
    names = [f"user:{name}" for name in found.everybody] + [
        f"group:{name}" for name in sorted(groups)
    ]
    return [(name, "") for name in (*names, EVERYBODY)]


subjects = _of_policy(_subjects)


def permissions(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The last of several between commas."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{one}")
        for one in Permission
        if one.startswith(last) and one not in there
    ]


def targets_of_the_settings(settings: Settings) -> list[Target]:
    """The static and the local shells."""
    found = [Target(entry.app, entry.environment) for entry in settings.shells.static]
    return found + [Target(entry.app, entry.environment) for entry in settings.shells.local]


def targets_of_the_cluster(settings: Settings) -> list[Target]:
    """None where the settings name no cluster. Raises StagedoorError where it does not answer at once."""
    if not settings.kubernetes.namespaces:
        return []
    check_kubernetes(settings)
    # Only now: its libraries are an extra.
    from stagedoor.admin.apps import offered

    return list(asyncio.run(offered(settings, within_s=COMPLETE_S)))


def app_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The apps of the settings, and those of the cluster if it answers between two key presses."""
    given = ctx.find_root().params.get("settings_file")
    try:
        settings = Installation(Path(given) if given else None).settings
        names = targets_of_the_settings(settings) + targets_of_the_cluster(settings)
    except StagedoorError:
        return []  # there is nobody to tell between two key presses
    shown = sorted({str(target).removesuffix(".ssh") for target in names})
    return [CompletionItem(name) for name in shown if name.startswith(incomplete)]
