"""What the older lists in the settings add to grants, and the commands that say it instead. Pure.

They are read for one version more. Each does what it did, and nothing else.
"""

import shlex
from collections.abc import Iterator

from stagedoor.model.permission import Permission
from stagedoor.model.permission_settings import PermissionSettings
from stagedoor.model.selector import EVERYBODY, Selector, parse_entry, parse_viewer
from stagedoor.settings.settings import Settings


def listed_in(settings: Settings) -> PermissionSettings:
    """By lists that `Settings` has checked."""
    given = tuple((selector, permission) for _, _, selector, permission in _given(settings))
    movers = settings.web.files
    return PermissionSettings(
        given,
        None if movers is None else tuple(s for s in map(parse_entry, movers) if s is not None),
    )


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """One line for each entry that a grant says now, with the command that gives that grant."""
    lines = [
        f"{name} = [{entry!r}] is read for one version more; instead run: {_command(selector, permission)}"
        for name, entry, selector, permission in _given(settings)
    ]
    movers = settings.web.files
    if movers is not None:
        entries = [s for s in map(parse_entry, movers) if s is not None]
        lines.append(
            "web.files is read for one version more; instead take it from each grant that is not for those "
            "in it (stagedoor grant change ID --without files)"
            + "".join(f", then run: {_command(one, Permission.FILES)}" for one in entries)
            if Selector(EVERYBODY) not in entries
            else "web.files names everybody, which is so without it: take it out of the settings"
        )
    return tuple(lines)


def _given(settings: Settings) -> Iterator[tuple[str, str, Selector, Permission]]:
    for name, entries, parse, permission in (
        ("ssh.local_forward", settings.ssh.local_forward, parse_entry, Permission.FORWARD),
        ("ssh.agent_forward", settings.ssh.agent_forward, parse_entry, Permission.AGENT),
        ("recording.sessions", settings.recording.sessions, parse_entry, Permission.RECORD),
        ("recording.viewers", settings.recording.viewers, parse_viewer, Permission.REPLAY),
    ):
        for entry in entries:
            selector = parse(entry)
            if selector is not None:
                yield name, entry, selector, permission


def _command(selector: Selector, permission: Permission) -> str:
    kind, _, name = selector.subject.partition(":")
    if kind == "grant":
        return f"stagedoor grant change {name} --allow {permission}"
    words = ["stagedoor", "grant", "add", selector.subject, selector.app_pattern]
    if selector.environment_pattern != "*":
        words += ["--environment", selector.environment_pattern]
    command = f"{shlex.join(words)} --allow {permission} --without enter"
    if selector.whole or selector.subject == EVERYBODY:
        return command
    return f"{command}, once for each {kind} that {name!r} matches: grants take whole names"
