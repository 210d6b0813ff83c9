"""Entries of the audit about a channel: all of it, or enough to know what the rest was."""

import hashlib
import tracemalloc
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.audit.words import make_noted_event
from stagedoor.model.event import EventKind
from stagedoor.model.session import OpenedSession
from stagedoor.recording.channel_audit import (
    BATCH,
    COMMAND_BYTES,
    NAMED,
    TAIL_BYTES,
    ChannelAudit,
    ChannelRequest,
    FileAudit,
    describe_request,
    encode_line,
)
from stagedoor.wire.ssh.sftp import FileEvent
from tests.recording.conftest import OPENED


class Notes:
    """An audit that keeps the events it receives, as it would write them."""

    def __init__(self) -> None:
        self.all: list[tuple[EventKind, Mapping[str, Any]]] = []

    def __call__(self, opened: OpenedSession, kind: EventKind, fields: Mapping[str, Any]) -> None:
        self.all.append((kind, make_noted_event(opened, kind, fields, "i", 0.0).fields))

    def of(self, kind: EventKind) -> list[Mapping[str, Any]]:
        return [fields for noted, fields in self.all if noted is kind]


def test_a_command_of_64_kib_is_there_whole() -> None:
    """It was cut at 400 characters, and what followed ran."""
    notes = Notes()
    command = "true " + "#" * (COMMAND_BYTES - 12) + "; evil"
    ChannelAudit(notes, OPENED, 1, ChannelRequest("exec", command), None)
    (opened,) = notes.of(EventKind.CHANNEL_OPENED)
    assert opened["what"] == command
    assert "what_sha256" not in opened


def test_of_a_longer_one_there_are_both_ends_its_length_and_its_hash() -> None:
    notes = Notes()
    command = "true " + "#" * 100_000 + "; evil"
    ChannelAudit(notes, OPENED, 1, ChannelRequest("exec", command), None)
    (opened,) = notes.of(EventKind.CHANNEL_OPENED)
    assert (
        opened["what"] + opened["what_end"]
        == command[: COMMAND_BYTES - TAIL_BYTES] + command[-TAIL_BYTES:]
    )
    assert opened["what_bytes"] == len(command)
    assert opened["what_sha256"] == hashlib.sha256(command.encode()).hexdigest()


def test_a_command_of_several_lines_is_told_as_it_was() -> None:
    notes = Notes()
    witness = ChannelAudit(notes, OPENED, 1, ChannelRequest("exec", "echo a\nrm b\x1b[2K"), None)
    witness.record_end(0, 0, 0)
    (opened,) = notes.of(EventKind.CHANNEL_OPENED)
    assert opened["what"] == "echo a\\nrm b\\x1b[2K"


def test_where_it_is_named_again_it_is_marked_that_it_was_cut() -> None:
    notes = Notes()
    ChannelAudit(notes, OPENED, 1, ChannelRequest("exec", "x" * 5000), None).record_end(0, 0, 0)
    (closed,) = notes.of(EventKind.CHANNEL_CLOSED)
    assert closed["what"].endswith("…")


@given(st.text(max_size=50), st.integers(0, 4000))
def test_any_command_can_be_written(text: str, times: int) -> None:
    fields = describe_request(text * times)
    event = make_noted_event(OPENED, EventKind.CHANNEL_OPENED, fields, "i", 0.0)
    for value in event.fields.values():
        assert value is None or isinstance(value, int) or value.isprintable()


def test_a_thousand_files_have_an_event_each_and_every_thousand_more_one() -> None:
    """Files after the first thousand were counted, and nothing else was known of them."""
    notes = Notes()
    witness = ChannelAudit(notes, OPENED, 1, ChannelRequest("subsystem", "sftp"), None)
    events = [FileEvent("transfer", f"f{n}", received=n) for n in range(NAMED + BATCH + 10)]
    witness.record_files(events)
    witness.record_end(0, 0, 0)
    assert [note["path"] for note in notes.of(EventKind.CHANNEL_FILE)] == [
        f"f{n}" for n in range(NAMED)
    ]
    first, rest = notes.of(EventKind.CHANNEL_FILES)
    assert (first["files"], rest["files"]) == (BATCH, 10)
    assert (first["first"], first["last"]) == ("f1000", "f1999")
    assert first["received"] == sum(range(1000, 2000))
    assert first["did"] == "1000 transfer"
    digest = hashlib.sha256(b"".join(map(encode_line, events)))
    assert rest["sha256"] == digest.hexdigest()
    (closed,) = notes.of(EventKind.CHANNEL_CLOSED)
    assert closed["files"] == len(events)


def test_a_long_path_is_told_whole() -> None:
    notes = Notes()
    witness = ChannelAudit(notes, OPENED, 1, ChannelRequest("subsystem", "sftp"), None)
    path = "/srv/" + "folder/" * 500 + "secret"
    witness.record_files([FileEvent("transfer", path)])
    assert notes.of(EventKind.CHANNEL_FILE)[0]["path"] == path


def test_the_tally_keeps_no_names() -> None:
    tally = FileAudit()
    tracemalloc.start()
    try:
        for n in range(3 * BATCH - 1):
            list(tally.add(FileEvent("remove", f"{n}" + "x" * 10_000)))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_sftp_server_that_is_asked_for_as_a_command_is_watched_as_well() -> None:
    notes = Notes()
    witness = ChannelAudit(
        notes, OPENED, 1, ChannelRequest("exec", "/usr/lib/openssh/sftp-server -e"), None
    )
    witness.take_input(b"\0\0\0\x0a\x0d\0\0\0\1\0\0\0\1f")
    witness.record_end(None, 0, 0)
    (event,) = notes.of(EventKind.CHANNEL_FILE)
    assert (event["did"], event["path"], event["whole"]) == ("remove", "f", False)
