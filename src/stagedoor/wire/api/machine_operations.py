"""The operations of the API on what a machine keeps: recordings, hooks and the audit."""

from collections.abc import Sequence

from msgspec.structs import replace

from stagedoor.model.role import Role
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import types as t
from stagedoor.wire.api.operation import Operation, make_list

_ADMIN = Role.ADMINISTRATOR

MACHINE: Sequence[Operation] = (
    replace(
        make_list("recordings", "List recordings of terminals", t.RecordingEntry, i.OwnerFilter),
        role=None,
    ),
    Operation(
        name="recordings.get",
        method="GET",
        path="/recordings/{id}",
        summary="Show a recording; the beginning of its id is enough",
        role=None,
        answer=t.RecordingState,
        has_text_id=True,
    ),
    Operation(
        name="recordings.file",
        method="GET",
        path="/recordings/{id}/file",
        summary="Download a recording as it is on the disk",
        role=None,
        answer=bytes,
        is_file=True,
        is_for_person=True,
        has_text_id=True,
    ),
    make_list("hooks", "List the hooks", t.HookEntry),
    Operation(
        name="hooks.test",
        method="POST",
        path="/hooks/{name}/test",
        summary="Send a message to a hook that says that it is a test",
        role=_ADMIN,
        answer=t.HookResult,
    ),
    Operation(
        name="events.list",
        method="GET",
        path="/events",
        summary="List audit events, and wait for more",
        role=Role.AUDITOR,
        answer=list[t.EventEntry],
        filters=i.EventFilter,
        waits=True,
    ),
)
