"""What a request for terminals says, and what its answer says of terminals and people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from stagedoor.holder.folder import FolderError, check_name
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_login, parse_target

Asked = Mapping[str, Any]
"""The JSON object that a request's body is."""


def target_in(asked: Asked) -> Target | Denial:
    """The app that it is about, as for direct login or as for CONNECT."""
    name = asked.get("target")
    if not isinstance(name, str):
        return Denial(Reason.BAD_REQUEST, 'the body names no target; write {"target": "app01"}')
    return parse_login(name) or parse_target(name)


def terminal_in(asked: Asked) -> str | Denial:
    """The name of the terminal that it is about."""
    return terminal_named(str(asked.get("terminal", "")))


def terminal_named(name: str) -> str | Denial:
    """`name`, if it is one of a terminal."""
    try:
        check_name(name)
    except FolderError as error:
        return Denial(Reason.BAD_REQUEST, str(error))
    return name


def at_terminal(
    present: Sequence[PresenceEntry], target: Target, terminal: str
) -> list[dict[str, object]]:
    """Those of `present` who are at that one."""
    return [
        person(each) for each in present if each.target == str(target) and each.terminal == terminal
    ]


def person(each: PresenceEntry) -> dict[str, object]:
    """Somebody at a terminal, as JSON; `since` is seconds since the epoch."""
    return {
        "name": each.name,
        "from": _host(each.source),
        "looks": each.is_watching,
        "since": each.since,
    }


def _host(source: str) -> str:
    """Return the address of a source without the port, which tells a person nothing."""
    return source.rpartition(":")[0].strip("[]") or source


def shown(share: Share) -> dict[str, object]:
    """A share, as JSON and without its secret."""
    return {
        "id": share.id,
        "app": share.target.login_name,
        "terminal": share.terminal,
        "typing": share.typing,
        "expires_at": share.expires_at,
    }


def nothing_to_watch() -> Denial:
    """In the same words for a session that is not there, and one that may not be watched."""
    return Denial.with_mend(
        Reason.NO_GRANT,
        "there is no such session, or you may not watch it",
        "an administrator lets you: stagedoor grant add user:NAME APP --allow watch --without enter",
        "the live sessions that you may watch are on the home page",
    )
