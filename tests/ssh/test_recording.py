"""Recordings through a whole gateway, from the terminal to `stagedoor recording`."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from stagedoor.model.permission import Permission
from stagedoor.wire.terminal.asciicast import AsciicastEvent, AsciicastReader
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import Laptop, open_laptop
from tests.fixtures.terminal import console
from tests.ssh.test_direct_gateway import events, inside, ssh_in_terminal, terminal
from tests.waiting import wait_until

RECORDED = (
    ("everybody", "app01", frozenset({Permission.RECORD})),
    ("user:dev", "app0*", frozenset({Permission.RUN})),
)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    settings = SSH_TABLE + local("app01") + local("app02")
    apps = ("app01", "app02")
    with open_laptop(tmp_path_factory.mktemp("recorded"), settings, apps, RECORDED) as one:
        yield one


def listed(laptop: Laptop) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(laptop.gateway.look("recording", "list", "--json"))
    return found


def file_of(laptop: Laptop, recording: dict[str, object]) -> Path:
    return laptop.gateway.data_dir / "recordings" / str(recording["file"])


def finished(laptop: Laptop) -> dict[str, object]:
    """Return the newest recording, once no session is open and it is written to its end."""
    wait_until(lambda: not inside(laptop))
    newest = listed(laptop)[-1]
    wait_until(
        lambda: any(
            e["fields"]["recording"] == newest["file"] for e in events(laptop, "recording.ended")
        ),  # type: ignore[index]  # JSON
        what=f"the end of {newest}",
    )
    return newest


def exported(
    laptop: Laptop, recording_id: object, *options: str
) -> tuple[AsciicastReader, list[AsciicastEvent]]:
    done = laptop.gateway.command("recording", "export", str(recording_id), *options)
    reader = AsciicastReader([done.stdout.encode()])
    return reader, list(reader.read_events())


def output(events: list[AsciicastEvent]) -> str:
    return "".join(event.data for event in events if event.code == "o")


def test_a_terminal_is_recorded_with_its_sizes_and_its_end(laptop: Laptop) -> None:
    before = len(listed(laptop))
    script = (
        f"stty rows 43 cols 132; ssh -F {laptop.config()} -tt app01@gw "
        "'echo seen ☃; sleep 0.2; exit 4'"
    )
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert b"this session is recorded" in done.stdout
    assert len(listed(laptop)) > before
    recording = finished(laptop)
    assert (recording["user"], recording["target"], recording["encrypted"]) == (
        "dev",
        "app01.ssh",
        False,
    )
    reader, shown = exported(laptop, recording["id"])
    assert (reader.header.width, reader.header.height) == (132, 43)
    assert reader.header.command == "echo seen ☃; sleep 0.2; exit 4"
    assert "seen ☃" in output(shown)
    assert shown[-1].code == "m"
    assert shown[-1].data == "exit 4"
    assert shown[-1].at >= 0.2, "with its timing"
    assert file_of(laptop, recording).stat().st_mode & 0o777 == 0o600


def test_what_is_typed_without_being_shown_is_not_recorded(laptop: Laptop) -> None:
    with terminal(laptop) as one:
        one.type(b"stty -echo; echo Pass''word; read secret; stty echo; echo got-${#secret}\n")
        one.shows(b"Password")
        one.type(b"hunter2\n")
        one.shows(b"got-7")
        one.type(b"exit\n")
        assert one.ends() == 0
    text = output(exported(laptop, finished(laptop)["id"])[1])
    assert "got-7" in text
    assert "hunter2" not in text


def test_it_is_on_the_disk_while_the_session_is_open(laptop: Laptop) -> None:
    with terminal(laptop) as one:
        path = file_of(laptop, listed(laptop)[-1])
        wait_until(lambda: b"ready-42" in path.read_bytes())
        assert listed(laptop)[-1]["end"] is None
        one.type(b"exit\n")
        one.ends()


def test_commands_and_transfers_are_events_and_not_recordings(
    laptop: Laptop, tmp_path: Path
) -> None:
    before = len(listed(laptop))
    laptop.ssh("app01@gw", "echo not-recorded", check=True)
    (tmp_path / "file").write_bytes(b"x" * 5000)
    copy = ["scp", "-F", str(laptop.config()), str(tmp_path / "file"), f"app01@gw:{tmp_path}/copy"]
    subprocess.run(copy, check=True, timeout=60)

    def asked() -> set[object]:
        return {event["fields"]["what"] for event in events(laptop, "channel.closed")}  # type: ignore[index]  # JSON

    wait_until(lambda: {"echo not-recorded", "sftp"} <= asked())
    (file,) = [event["fields"] for event in events(laptop, "channel.file")]
    assert isinstance(file, dict)
    assert (file["path"], file["sent"], file["whole"]) == (f"{tmp_path}/copy", 5000, True)
    assert len(listed(laptop)) == before


def test_an_app_that_is_not_named_is_not_recorded(laptop: Laptop) -> None:
    before = len(listed(laptop))
    with terminal(laptop, "app02@gw") as one:
        one.type(b"exit\n")
        one.ends()
        assert b"recorded" not in one.shown
    assert len(listed(laptop)) == before


def test_a_recording_that_was_changed_is_reported_when_it_is_read(laptop: Laptop) -> None:
    with terminal(laptop) as one:
        one.type(b"exit\n")
        one.ends()
    recording = finished(laptop)
    path = file_of(laptop, recording)
    path.write_bytes(path.read_bytes().replace(b"ready-42", b"ready-43"))
    done = laptop.gateway.command("recording", "export", str(recording["id"]), check=False)
    assert done.returncode == 1
    assert "was changed" in done.stderr
    assert "ready-43" in done.stdout


def test_play_shows_it_on_a_terminal_at_the_speed_that_was_asked_for(laptop: Laptop) -> None:
    with terminal(laptop) as one:
        one.type(b"printf '\\033[6n\\033]52;c;eA==\\007\\033[5i\\033[?1003h\\033[?1049h'; exit\n")
        one.ends()
    recording = finished(laptop)["id"]
    words = [sys.executable, "-m", "stagedoor", "--config", str(laptop.gateway.file)]
    words += ["recording", "play", str(recording), "--speed", "100"]
    play = shlex.join(words)
    done = subprocess.run(
        ["script", "-qec", play, "/dev/null"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    assert b"ready-42" in done.stdout
    assert b"\x1b[6n" not in done.stdout
    assert b"\x1b]52" not in done.stdout
    assert b"\x1b[5i" not in done.stdout
    assert b"\x1b[?1003h" not in done.stdout
    assert done.stdout.rfind(b"\x1b[?1049l") > done.stdout.rfind(b"\x1b[?1049h") > 0


def test_sealed_recordings_open_for_a_recipient_only(tmp_path: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{key}\n")
    (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    settings = SSH_TABLE + f'[recording]\nrecipients = ["{key.to_public()}"]\n'
    with open_laptop(tmp_path / "laptop", settings + local("app01"), permits=RECORDED) as laptop:
        with terminal(laptop) as one:
            one.type(b"exit\n")
            one.ends()
        recording = finished(laptop)
        assert len(listed(laptop)) == 1
        assert recording["encrypted"] is True
        assert b"ready" not in file_of(laptop, recording).read_bytes()
        identity = ("--identity", str(tmp_path / "key"))
        assert "ready-42" in output(exported(laptop, recording["id"], *identity)[1])
        for options in ((), ("--identity", str(tmp_path / "other"))):
            done = laptop.gateway.command(
                "recording", "export", str(recording["id"]), *options, check=False
            )
            assert done.returncode != 0
            assert "--identity" in done.stderr


@pytest.mark.parametrize("then", ["end", "continue"])
def test_a_session_that_cannot_be_recorded_is_refused_or_goes_on_as_the_settings_say(
    tmp_path: Path, then: str
) -> None:
    settings = SSH_TABLE + f'[recording]\non_failure = "{then}"\n'
    with open_laptop(tmp_path, settings + local("app01"), permits=RECORDED) as laptop:
        # Root can write into every folder, but not into a file in a folder's place.
        (laptop.gateway.data_dir / "recordings").write_text("")
        with console(ssh_in_terminal(laptop, "app01@gw")) as one:
            with suppress(OSError):  # it may have been refused already
                one.type(b"echo ready-$((40+2)); exit\n")
            code = one.ends()
        if then == "end":
            assert code == 255
            assert b"has to be recorded and cannot be" in one.shown
            assert b"ready-42" not in one.shown
        else:
            assert code == 0
            assert b"ready-42" in one.shown
        wait_until(lambda: events(laptop, "recording.failed"))
        laptop.gateway.wait_for(lambda line: line["event"] == "recording failed")


def test_what_is_old_is_removed_and_the_list_says_until_when_the_rest_is_kept(
    tmp_path: Path,
) -> None:
    settings = SSH_TABLE + "[recording]\nkeep_days = 30\n" + local("app01")
    old = tmp_path / "data" / "recordings" / "0199aaaa111122223333444455.1.cast"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"{}\n")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    with open_laptop(tmp_path, settings, permits=RECORDED) as laptop:
        laptop.gateway.wait_for(
            lambda line: line["event"] == "recording removed" and line["recording"] == old.name
        )
        assert not old.exists()
        with terminal(laptop) as one:
            (row,) = listed(laptop)
            assert row["kept_until"] is None, "it is being written"
            one.type(b"exit\n")
            one.ends()
        row = finished(laptop)
        written, until = (
            datetime.fromisoformat(str(row[key])) for key in ("written_at", "kept_until")
        )
        assert until - written == timedelta(days=30)
        assert "KEPT UNTIL" in laptop.gateway.command("recording", "list").stdout


def test_a_run_of_a_recorded_user_is_recorded_with_its_timing_when_it_ends(laptop: Laptop) -> None:
    before = len(listed(laptop))
    command = "seq 30000; sleep 1; echo problem >&2; exit 3"
    done = laptop.ssh("gw", "run", "app01", "--", command)
    assert done.returncode == 3
    assert b"its output is recorded" in done.stderr
    one = finished(laptop)
    assert one["user"] == "dev"
    assert one["target"] == "app01.ssh"
    reader, recorded = exported(laptop, one["id"])
    assert reader.header.command == command
    assert output(recorded) == done.stdout.decode() + "problem\n"
    first, problem, end = recorded[0], recorded[-2], recorded[-1]
    assert problem.data == "problem\n"
    assert 0 <= first.at < problem.at - 0.5 <= end.at
    assert end.data == "exited 3"
    assert not json.loads(laptop.gateway.look("session", "list", "--json")), "none is open"
    # Another app of the same user, for which nothing is recorded.
    assert b"recorded" not in laptop.ssh("gw", "run", "app02", "--", "true").stderr
    assert len(listed(laptop)) == before + 1
