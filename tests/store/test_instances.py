import signal
from pathlib import Path

import pytest

from stagedoor.model.errors import StoreError
from stagedoor.model.event import EventKind
from stagedoor.serve.doctor.gateway import check_data_folder
from stagedoor.settings.file import parse_settings
from stagedoor.settings.store_location import StoreLocation, StoreServer
from stagedoor.store.database import open_database
from stagedoor.store.journal import Filter, StoreJournal, read_entries
from stagedoor.store.liveness.instances import (
    LockState,
    close_lost,
    hold_instance,
    lock_state,
    make_instance_id,
)
from stagedoor.store.sessions import Live, list_sessions, update_live
from stagedoor.wire.finding import Level
from tests.store.sample import opened, python

WORKER = """
import sys
from pathlib import Path
from stagedoor.store.database import open_database
from stagedoor.store.liveness.instances import hold_instance
from stagedoor.store.journal import StoreJournal
from stagedoor.wire.finding import Level
from tests.store.sample import opened, place_from
held = hold_instance(Path(sys.argv[2]), "worker-1")
StoreJournal(open_database(place_from(sys.argv[1]))).append([opened("s1", instance="worker-1")])
print("in", flush=True)
sys.stdin.read()
held.close()
"""


def test_the_sessions_of_a_killed_worker_are_found_and_closed_as_lost(
    place: StoreLocation, tmp_path: Path
) -> None:
    folder = tmp_path / "instances"
    worker = python(WORKER, place, folder)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "in\n"
    database = open_database(place)
    assert lock_state(folder, "worker-1") is LockState.LIVES
    update_live(database, [Live("s1", 300, 400, 150.0)])
    assert close_lost(database, folder, now=500.0, instance="supervisor") == []
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=30)
    assert lock_state(folder, "worker-1") is LockState.DEAD
    assert close_lost(database, folder, now=500.0, instance="supervisor") == ["s1"]
    assert close_lost(database, folder, now=501.0, instance="supervisor") == []
    (row,) = list_sessions(database, open_only=False)
    assert (row.end, row.closed_at, row.sent, row.received) == ("lost", 500.0, 300, 400)
    event = read_entries(database, Filter(session="s1"))[-1].event
    assert (event.kind, event.reason, event.instance) == (
        EventKind.SESSION_CLOSED,
        "lost",
        "supervisor",
    )
    assert event.fields["detail"] == "the gateway process worker-1 died"
    assert list(folder.iterdir()) == []
    database.close()


def test_only_the_dead_lose_their_sessions(path: Path, tmp_path: Path) -> None:
    database = open_database(path)
    StoreJournal(database).append([opened("a", instance="alive"), opened("d", instance="dead")])
    held = hold_instance(tmp_path / "i", "alive")
    assert close_lost(database, tmp_path / "i", now=9.0, instance="x") == ["d"]
    held.release()
    held.release()
    assert close_lost(database, tmp_path / "i", now=9.0, instance="x") == ["a"]
    database.close()


def test_in_a_shared_store_who_has_no_file_here_is_not_dead_for_that(
    server: StoreServer, tmp_path: Path
) -> None:
    database = open_database(server)
    StoreJournal(database).append([opened("f", instance="far-away"), opened("n", instance="near")])
    hold_instance(tmp_path, "near").release()
    assert close_lost(database, tmp_path, now=9.0, instance="x") == []
    (tmp_path / "near.lock").touch()  # as a SIGKILL leaves it
    assert close_lost(database, tmp_path, now=9.0, instance="x") == ["n"]
    silent = frozenset({"far-away"})
    assert close_lost(
        database, tmp_path, now=9.0, instance="x", silent=silent, silent_for="is silent"
    ) == ["f"]
    event = read_entries(database, Filter(session="f"))[-1].event
    assert event.fields["detail"] == "the gateway process far-away is silent"
    database.close()


def test_who_lives_on_this_machine_is_never_dead_by_silence(
    server: StoreServer, tmp_path: Path
) -> None:
    database = open_database(server)
    held = hold_instance(tmp_path, "near")
    StoreJournal(database).append([opened("n", instance="near")])
    silent = frozenset({"near"})
    assert close_lost(database, tmp_path, now=9.0, instance="x", silent=silent) == []
    held.release()
    database.close()


def test_two_processes_cannot_be_one_instance(tmp_path: Path) -> None:
    held = hold_instance(tmp_path / "i", "one")
    with pytest.raises(StoreError, match=r"one\.lock"):
        hold_instance(tmp_path / "i", "one")
    held.release()


def test_an_instance_id_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    for hostile in ("../x", "a/b", "", "a\n"):
        with pytest.raises(StoreError, match="is not an instance id"):
            hold_instance(tmp_path, hostile)


def test_instance_ids_are_fit_for_their_purpose(tmp_path: Path) -> None:
    first, second = make_instance_id(), make_instance_id()
    assert first != second
    hold_instance(tmp_path, first).release()


def test_the_data_folder_that_it_makes_is_private_in_a_pod_s_volume_too(tmp_path: Path) -> None:
    """The kubelet gives an emptyDir with an fsGroup the mode 2777; a shared store makes no folder first."""
    volume = tmp_path / "state"
    volume.mkdir()
    volume.chmod(0o2777)
    hold_instance(volume / "data/gateways", "gateway-1").release()
    assert (volume / "data").stat().st_mode & 0o777 == 0o700
    settings = parse_settings(f'data_dir = "{volume}/data"\n', "the test's")
    assert [finding.level for finding in check_data_folder(settings)] == [Level.OK]
