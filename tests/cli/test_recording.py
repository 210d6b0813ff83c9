"""`stagedoor recording` as an administrator meets it."""

import hashlib
import time
from pathlib import Path

import pyrage
import pytest

from stagedoor.admin.service import AdminService
from stagedoor.keys.age import AgeSeal
from stagedoor.model.errors import NotFoundError, RefusedError, StagedoorError
from stagedoor.model.event import Event, EventKind
from stagedoor.recording.asciicast_file import Seal
from stagedoor.store.journal import StoreJournal
from stagedoor.wire.terminal.asciicast import AsciicastEvent as Shown
from stagedoor.wire.terminal.asciicast import (
    AsciicastHeader,
    AsciicastReader,
    encode_event,
    encode_header,
)
from tests.cli.conftest import Desk
from tests.store.sample import opened

S1, S2 = "0199aaaa111122223333444455", "0199bbbb111122223333444455"
HEADER = AsciicastHeader(80, 24, 1_760_000_000, title="alice in app01.ssh")
EVENTS = [Shown(0.5, "o", "hello ☃\r\n"), Shown(0.6, "o", "\x1b[6nbye"), Shown(1.0, "m", "exit 0")]


def keep(desk: Desk, name: str, seal: Seal | None = None) -> Path:
    folder = desk.data_dir / "recordings"
    folder.mkdir(exist_ok=True)
    pieces = [encode_header(HEADER), b"".join(map(encode_event, EVENTS))]
    path = folder / name
    path.write_bytes(b"".join(seal.seal(piece) if seal else piece for piece in pieces))
    return path


def write_audit(service: AdminService, path: Path) -> None:
    """The audit has it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    session = path.name.partition(".")[0]
    fields = {"recording": path.name, "sha256": digest}
    event = Event(time.time(), EventKind.RECORDING_ENDED, "one", session, "alice", fields=fields)
    StoreJournal(service.database).append([event])


@pytest.fixture
def sessions(service: AdminService) -> AdminService:
    StoreJournal(service.database).append(
        [opened(S1, at=time.time() - 90), opened(S2, at=time.time(), who="bob")]
    )
    return service


def test_where_nothing_was_recorded_the_list_is_empty(alice: Desk) -> None:
    assert alice.json("recording", "list") == []
    assert alice.out("recording", "list") == ""


@pytest.mark.usefixtures("sessions")
def test_recordings_are_listed_with_whose_they_are(alice: Desk) -> None:
    keep(alice, f"{S2}.1.cast.age", AgeSeal([str(pyrage.x25519.Identity.generate().to_public())]))
    keep(alice, f"{S1}.10.cast")
    keep(alice, f"{S1}.2.cast")
    (alice.data_dir / "recordings" / "notes.txt").write_text("not ours")
    rows = alice.json("recording", "list")
    assert [(row["id"], row["user"], row["channel"], row["encrypted"]) for row in rows] == [
        (f"{S1}.2", "alice", 2, False),
        (f"{S1}.10", "alice", 10, False),
        (f"{S2}.1", "bob", 1, True),
    ]
    assert [r["id"] for r in alice.json("recording", "list", "--user", "bob")] == [f"{S2}.1"]
    assert "app01" in alice.out("recording", "list")


@pytest.mark.usefixtures("sessions")
def test_a_recording_is_exported_whole_and_played_without_what_would_answer(alice: Desk) -> None:
    keep(alice, f"{S1}.1.cast")
    reader = AsciicastReader([alice.out("recording", "export", S1[:8]).encode()])
    assert (reader.header, list(reader.read_events())) == (HEADER, EVENTS)
    shown = alice.out("recording", "play", S1)
    assert "hello ☃" in shown
    assert "\x1b[6n" not in shown
    assert "bye" in shown


@pytest.mark.usefixtures("sessions")
def test_an_export_never_overwrites_and_is_for_the_owner_only(alice: Desk, tmp_path: Path) -> None:
    keep(alice, f"{S1}.1.cast")
    target = tmp_path / "out.cast"
    alice.out("recording", "export", S1, "-o", str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    again = alice.run("recording", "export", S1, "-o", str(target))
    assert isinstance(again.exception, StagedoorError)
    assert "exists" in str(again.exception)


def test_a_file_that_was_changed_since_the_audit_has_it_is_told(
    sessions: AdminService, alice: Desk
) -> None:
    path = keep(alice, f"{S1}.1.cast")
    write_audit(sessions, path)
    alice.out("recording", "export", S1)
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo"))
    result = alice.run("recording", "play", S1)
    assert "hallo" in result.stdout, "it is shown all the same"
    assert isinstance(result.exception, StagedoorError)
    assert "was changed" in str(result.exception)


@pytest.mark.usefixtures("sessions")
def test_an_encrypted_recording_asks_for_the_key_and_opens_with_it(
    alice: Desk, tmp_path: Path
) -> None:
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"# age-keygen\n{key}\n")
    path = keep(alice, f"{S1}.1.cast.age", AgeSeal([str(key.to_public())]))
    without = alice.run("recording", "export", S1)
    assert isinstance(without.exception, RefusedError)
    assert "--identity" in str(without.exception)
    output = alice.out("recording", "export", S1, "--identity", str(tmp_path / "key"))
    assert list(AsciicastReader([output.encode()]).read_events()) == EVENTS
    path.write_bytes(b"nonsense\n")
    damaged = alice.run("recording", "export", S1, "--identity", str(tmp_path / "key"))
    assert isinstance(damaged.exception, StagedoorError)


@pytest.mark.usefixtures("sessions")
def test_an_id_that_is_unknown_or_of_two_is_told(alice: Desk) -> None:
    keep(alice, f"{S1}.1.cast")
    keep(alice, f"{S1}.2.cast")
    for given, error in ((S2, NotFoundError), (S1, RefusedError), ("01", RefusedError)):
        assert isinstance(alice.run("recording", "play", given).exception, error)
    assert "hello" in alice.out("recording", "play", f"{S1}.2")


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("content", [b"", b"nonsense\n", b'{"version": 1}\n', b"\xff\n"])
def test_a_file_that_is_no_recording_is_told_in_one_line(alice: Desk, content: bytes) -> None:
    keep(alice, f"{S1}.1.cast").write_bytes(content)
    result = alice.run("recording", "export", S1)
    assert isinstance(result.exception, StagedoorError)
    assert "\n" not in str(result.exception)


@pytest.mark.usefixtures("sessions")
def test_a_recording_that_was_cut_off_shows_what_there_is(alice: Desk) -> None:
    path = keep(alice, f"{S1}.1.cast")
    path.write_bytes(path.read_bytes()[:-5])
    result = alice.run("recording", "play", S1)
    assert result.exception is None
    assert "hello" in result.stdout
    assert "cut off" in result.stderr
