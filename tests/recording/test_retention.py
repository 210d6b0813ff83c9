"""Old recordings go when they should, and never one that is being written."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.recording.folder import RecordingFolder, StoredRecording, list_stored
from stagedoor.recording.recorder import Recorder
from stagedoor.recording.retention import (
    YOUNG_S,
    FolderRetention,
    Removal,
    Retention,
    choose_removals,
    sweep,
)
from tests.recording.conftest import BOUND_S, HEADER, OPENED, Overs
from tests.stopped import killed

NOW = 1_800_000_000.0
DAY_S = 86400.0


def recorded(number: int, age_s: float, size: int = 10) -> StoredRecording:
    name = f"0199aaaa.{number}"
    return StoredRecording(Path(f"{name}.cast"), name, "0199aaaa", number, "", size, NOW - age_s)


def gone(files: list[StoredRecording], **retention: float | int) -> list[tuple[int, str]]:
    removals = choose_removals(files, NOW, Retention(**retention))  # type: ignore[arg-type]  # as named there
    return [(removal.file.number, removal.why) for removal in removals]


def test_what_is_older_than_said_goes_and_no_other() -> None:
    files = [recorded(1, 31 * DAY_S), recorded(2, 30 * DAY_S), recorded(3, 0)]
    assert gone(files, keep_s=30 * DAY_S) == [(1, "age")]
    assert gone(files) == []


def test_what_ended_longest_ago_goes_until_the_rest_fits() -> None:
    files = [recorded(1, 100, 50), recorded(2, 300, 50), recorded(3, 200, 50)]
    assert gone(files, total_bytes=150) == []
    assert gone(files, total_bytes=149) == [(2, "space")]
    assert gone(files, total_bytes=50) == [(2, "space"), (3, "space")]


def test_what_goes_for_its_age_makes_room_for_the_others() -> None:
    files = [recorded(1, 9 * DAY_S, 90), recorded(2, 100, 50), recorded(3, 90, 50)]
    assert gone(files, keep_s=DAY_S, total_bytes=100) == [(1, "age")]


def test_what_was_written_a_moment_ago_stays_however_little_room_there_is() -> None:
    files = [recorded(1, YOUNG_S / 2, 1000), recorded(2, YOUNG_S * 2, 1000)]
    assert gone(files, total_bytes=1) == [(2, "space")]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000)), max_size=20),
    st.none() | st.floats(1, 1e6),
    st.none() | st.integers(0, 5000),
)
def test_what_is_left_is_young_enough_and_fits_or_is_too_young_to_go(
    made: list[tuple[float, int]], keep_s: float | None, total_bytes: int | None
) -> None:
    files = [recorded(number, age_s, size) for number, (age_s, size) in enumerate(made)]
    going = {
        removal.file.number
        for removal in choose_removals(files, NOW, Retention(keep_s, total_bytes))
    }
    left = [file for file in files if file.number not in going]
    if keep_s is not None:
        assert all(NOW - file.changed_at <= keep_s for file in left)
    if total_bytes is not None and sum(file.size for file in left) > total_bytes:
        assert all(NOW - file.changed_at <= YOUNG_S for file in left)
    if keep_s is None and total_bytes is None:
        assert not going


def put(folder: Path, number: int, age_s: float, size: int = 10) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"0199aaaa.{number}.cast"
    made = path.with_suffix(".new")  # who looks meanwhile sees it as old as it is to be, or not yet
    made.write_bytes(b"x" * size)
    os.utime(made, (NOW - age_s, NOW - age_s))
    return made.rename(path)


def test_a_sweep_removes_the_old_and_leaves_other_files_alone(folder: Path) -> None:
    old, new = put(folder, 1, 3 * DAY_S), put(folder, 2, 0)
    foreign = folder / "notes.txt"
    foreign.write_text("keep me")
    os.utime(foreign, (0, 0))
    link = folder / "0199aaaa.3.cast"
    link.symlink_to(foreign)
    assert [removal.file.path for removal in sweep(folder, NOW, Retention(keep_s=DAY_S))] == [old]
    assert sorted(folder.iterdir()) == sorted([new, foreign, link])
    assert sweep(folder, NOW, Retention(keep_s=DAY_S)) == []


def test_where_nothing_was_ever_recorded_a_sweep_finds_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "never", NOW, Retention(keep_s=1)) == []


async def test_what_is_being_written_stays_however_old_and_goes_once_it_has_ended(
    folder: Path, recorder_with: Callable[..., Recorder], overs: Overs
) -> None:
    recording = await recorder_with().begin(
        OPENED, 1, HEADER, on_room=lambda: None, on_failure=lambda why: None
    )
    os.utime(folder / recording.name, (0, 0))  # as after a long idle night
    strict = Retention(keep_s=1, total_bytes=0)
    assert sweep(folder, NOW, strict) == []
    assert (folder / recording.name).exists()
    recording.end()
    overs.wait()
    os.utime(folder / recording.name, (0, 0))
    assert [removal.file.path.name for removal in sweep(folder, NOW, strict)] == [recording.name]


def test_what_another_process_writes_stays_until_that_process_is_dead(folder: Path) -> None:
    path = put(folder, 1, 3 * DAY_S)
    holding = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; file = open(sys.argv[1]);"
         "fcntl.flock(file, fcntl.LOCK_SH); print('held', flush=True); sys.stdin.read()", path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with killed(holding):
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"held\n"
        assert sweep(folder, NOW, Retention(keep_s=1)) == []
    assert [removal.file.path for removal in sweep(folder, NOW, Retention(keep_s=1))] == [path]


def test_two_that_sweep_at_once_remove_each_file_once(folder: Path) -> None:
    for number in range(200):
        put(folder, number, 3 * DAY_S)
    removals: list[Removal] = []
    gate = threading.Barrier(4)

    def one() -> None:
        gate.wait(BOUND_S)
        removals.extend(sweep(folder, NOW, Retention(keep_s=DAY_S)))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert list_stored(folder) == []
    assert sorted(removal.file.number for removal in removals) == list(range(200))


class Observer:
    """An observer that keeps the reports of a keeper, and waits for them."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.problems: list[str] = []
        self._changed = threading.Condition()

    def on_removed(self, gone: Sequence[Removal]) -> None:
        with self._changed:
            self.removed += [removal.file.path.name for removal in gone]
            self._changed.notify_all()

    def on_problem(self, problem: str) -> None:
        with self._changed:
            self.problems.append(problem)
            self._changed.notify_all()

    def wait(self, true: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, BOUND_S), (self.removed, self.problems)


def test_a_keeper_looks_at_the_start_and_then_again_and_again(folder: Path) -> None:
    observer = Observer()
    put(folder, 1, 3 * DAY_S)
    keeper = FolderRetention(
        folder, Retention(keep_s=DAY_S), observer.on_removed, observer.on_problem,
        clock=lambda: NOW, every_s=0.02,
    )  # fmt: skip
    keeper.start()
    try:
        observer.wait(lambda: len(observer.removed) == 1)
        put(folder, 2, 3 * DAY_S)
        observer.wait(lambda: len(observer.removed) == 2)
    finally:
        keeper.stop()
    assert observer.problems == []


def test_a_folder_that_cannot_be_read_is_told_and_looked_at_again(tmp_path: Path) -> None:
    observer = Observer()
    place = tmp_path / "recordings"
    place.write_text("no folder")
    keeper = FolderRetention(
        place, Retention(keep_s=DAY_S), observer.on_removed, observer.on_problem,
        clock=lambda: NOW, every_s=0.02,
    )  # fmt: skip
    keeper.start()
    try:
        observer.wait(lambda: observer.problems)
        place.unlink()
        put(place, 1, 3 * DAY_S)
        observer.wait(lambda: observer.removed)
    finally:
        keeper.stop()
    assert "Not a directory" in observer.problems[0]


def test_where_all_is_kept_for_ever_no_thread_looks(folder: Path) -> None:
    path = put(folder, 1, 100 * 365 * DAY_S)
    keeper = FolderRetention(folder, Retention(), lambda gone: None, lambda problem: None)
    keeper.start()
    keeper.stop()
    assert path.exists()


def test_a_recording_is_held_from_its_first_moment(folder: Path) -> None:
    with (
        closing(RecordingFolder(folder).create("0199aaaa.1.cast")),
        (folder / "0199aaaa.1.cast").open("rb") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
