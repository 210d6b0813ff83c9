"""The operations on recordings of terminals."""

from collections.abc import Mapping, Sequence

import msgspec

from stagedoor.admin import recordings
from stagedoor.admin.recordings import Recorded
from stagedoor.api.call import Call, FileAnswer, Handler, require_found
from stagedoor.api.views import format_iso
from stagedoor.authz.decide import has_somewhere, may_replay
from stagedoor.model.permission import Permission
from stagedoor.model.policy import Policy
from stagedoor.model.role import Role
from stagedoor.model.units import DAY_S
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t
from stagedoor.wire.rfc3339 import show_milliseconds


def list_recordings(call: Call) -> t.Page[r.RecordingEntry]:
    """List the recordings of apps that the caller may read, or may replay."""
    return call.list_page(
        _list_visible(call, call.filters.user),
        lambda recorded: f"{recorded.file.session} {recorded.file.number:09d}",
        lambda recorded: _show_recording(call, recorded),
    )


def get_recording(call: Call) -> r.RecordingState:
    """Show a recording, with its digest in the audit."""
    recorded = _find_recording(call)
    entry = _show_recording(call, recorded)
    digest = recordings.find_digest(call.service, recorded)
    return r.RecordingState(**msgspec.structs.asdict(entry), sha256=digest)


def open_recording(call: Call) -> FileAnswer:
    """Return the file of a recording that the caller may replay, as on the page of recordings."""
    recorded = _find_recording(call)
    target, identity = recorded.target, call.identity

    def may_play(policy: Policy) -> bool:
        return identity is None or may_replay(policy, identity, target, call.service.clock())

    playable = recorded if may_play(call.policy) else None
    file = require_found(playable, f"recording {call.path['id']}", "recording list").file
    viewer = None if identity is None else identity.name
    recordings.record_views(call.service, [recorded], identity=viewer)
    return FileAnswer(file.path, file.size, may_play)


def _find_recording(call: Call) -> Recorded:
    return recordings.find_recording(_list_visible(call), call.path["id"])


def _list_visible(call: Call, user: str | None = None) -> Sequence[Recorded]:
    """Return the recordings that the caller may see. Nothing is read for a caller who may see none."""
    is_auditor, identity = call.access.has_somewhere(Role.AUDITOR), call.identity
    if not is_auditor and identity is not None:
        now = call.service.clock()
        if not has_somewhere(call.policy, identity, Permission.REPLAY, now):
            return []
    listed = recordings.list_recordings(call.service, identity=user)
    return [recorded for recorded in listed if _may_see(call, recorded)]


def _may_see(call: Call, recorded: Recorded) -> bool:
    """Return whether the caller may see the recording. An unknown app's requires a role for all apps."""
    if call.access.has_for_app(Role.AUDITOR, recorded.target_name):
        return True
    if call.identity is None:
        return False
    return may_replay(call.policy, call.identity, recorded.target, call.service.clock())


def _show_recording(call: Call, recorded: Recorded) -> r.RecordingEntry:
    file, session = recorded.file, recorded.session
    keep_days = call.settings.recording.keep_days
    is_open = session is not None and session.end is None
    kept_until = None if keep_days is None or is_open else file.changed_at + keep_days * DAY_S
    return r.RecordingEntry(
        file.id,
        file.session,
        file.number,
        recorded.user,
        recorded.target_name,
        session.source if session else None,
        format_iso(recorded.opened_at),
        format_iso(session.closed_at if session else None),
        session.end if session else None,
        show_milliseconds(file.changed_at),
        format_iso(kept_until),
        file.size,
        recorded.sealed,
        file.path.name,
    )


HANDLERS: Mapping[str, Handler] = {
    "recordings.list": list_recordings,
    "recordings.get": get_recording,
    "recordings.file": open_recording,
}
