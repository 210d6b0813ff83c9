"""The fields of requests for terminals, and the JSON of their answers. Pure."""

from collections.abc import Sequence

from stagedoor.holder.folder import FolderError, check_name
from stagedoor.listeners.web.post import Fields
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.presence import PresenceEntry
from stagedoor.model.share import Share
from stagedoor.model.target import Target
from stagedoor.wire.target import parse_login, parse_target


def read_target(body: Fields) -> Target | Denial:
    """Return the app in `target`, written as for direct login or as for CONNECT."""
    name = body.get("target")
    if not isinstance(name, str):
        return Denial(Reason.BAD_REQUEST, 'the body names no target; write {"target": "app01"}')
    return parse_login(name) or parse_target(name)


def check_terminal_name(name: str) -> str | Denial:
    """Return `name` if it is a valid name of a terminal."""
    try:
        check_name(name)
    except FolderError as error:
        return Denial(Reason.BAD_REQUEST, str(error))
    return name


def list_at_terminal(
    present: Sequence[PresenceEntry], target: Target, terminal: str
) -> list[dict[str, object]]:
    """Return the sessions at one terminal as JSON."""
    return [
        describe_person(entry)
        for entry in present
        if entry.target == str(target) and entry.terminal == terminal
    ]


def describe_person(entry: PresenceEntry) -> dict[str, object]:
    """Return a session at a terminal as JSON; `since` is seconds since the epoch."""
    return {
        "name": entry.name,
        "from": _remove_port(entry.source),
        "looks": entry.is_watching,
        "since": entry.since,
    }


def _remove_port(source: str) -> str:
    """Return the address of a source without its port, which has no meaning to users."""
    return source.rpartition(":")[0].strip("[]") or source


def describe_share(share: Share) -> dict[str, object]:
    """Return a share as JSON, without its secret."""
    return {
        "id": share.id,
        "app": share.target.login_name,
        "terminal": share.terminal,
        "typing": share.typing,
        "expires_at": share.expires_at,
    }


def make_watching_denial() -> Denial:
    """Return the refusal to watch, the same for an unknown session as for a forbidden one."""
    return Denial.with_fix(
        Reason.NO_GRANT,
        "there is no such session, or you may not watch it",
        "an administrator allows it with: stagedoor grant add user:NAME APP --allow watch --without enter",
        "the live sessions that you may watch are on the home page",
    )
