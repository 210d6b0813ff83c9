"""`stagedoor store backup` and `restore`: what is refused, what is kept, and what a file may hold."""

import io
import json
import os
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from stagedoor.admin.service import AdminService, open_service
from stagedoor.model.errors import ConflictError, RefusedError, StagedoorError
from stagedoor.settings.file import load_settings
from stagedoor.store.journal import StoreJournal, read_entries
from tests.cli.conftest import Desk
from tests.store.sample import opened


def elsewhere(desk: Desk, folder: Path) -> Desk:
    folder.mkdir()
    file = folder / "stagedoor.toml"
    file.write_text(desk.settings_file.read_text().replace(str(desk.data_dir), f"{folder}/data"))
    return Desk(file, folder / "data")


def backup(desk: Desk, to: Path, *more: str) -> Path:
    return Path(desk.out("store", "backup", str(to), *more).strip())


def test_writers_go_on_and_the_backup_is_of_one_moment(
    alice: Desk, service: AdminService, tmp_path: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            StoreJournal(service.database).append([opened(f"a-{number}"), opened(f"b-{number}")])
            number += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        files = [backup(alice, tmp_path / f"{name}.tar.gz") for name in ("one", "two")]
    finally:
        stop.set()
        writing.join()
    for number, file in enumerate(files):
        other = elsewhere(alice, tmp_path / f"there{number}")
        other.out("store", "restore", str(file))
        with open_service(other.data_dir) as restored:
            entries = read_entries(restored.database, limit=100_000)
        sessions = [entry.event.session for entry in entries if entry.event.session]
        assert len(sessions) % 2 == 0, "both of a transaction or none"
        assert other.json("user", "list")[0]["name"] == "alice"


def test_a_machine_without_settings_gets_those_of_the_backup(alice: Desk, tmp_path: Path) -> None:
    with alice.settings_file.open("a") as settings:
        settings.write('[tunnel]\npublic_url = "https://gw.example"\n')
    file = backup(alice, tmp_path)
    assert file.parent == tmp_path
    before = alice.settings_file.read_text()
    shutil.rmtree(alice.data_dir)
    alice.settings_file.unlink()
    alice.out("store", "restore", str(file))
    assert alice.settings_file.read_text() == before
    assert alice.json("user", "list")[0]["name"] == "alice"


def test_what_is_there_is_never_lost(alice: Desk, tmp_path: Path) -> None:
    file = backup(alice, tmp_path / "b.tar.gz")
    assert isinstance(alice.run("store", "backup", str(file)).exception, ConflictError)
    alice.out("user", "add", "bob", "--no-password")
    refused = alice.run("store", "restore", str(file)).exception
    assert isinstance(refused, RefusedError)
    assert "is not empty" in str(refused)
    assert [user["name"] for user in alice.json("user", "list")] == ["alice", "bob"]
    result = alice.run("store", "restore", str(file), "--force")
    assert result.exception is None
    assert [user["name"] for user in alice.json("user", "list")] == ["alice"]
    (aside,) = alice.data_dir.glob("before-restore-*")
    assert (aside / "stagedoor.db").exists()
    assert str(aside) in result.stderr


def test_files_that_are_elsewhere_are_named(alice: Desk, tmp_path: Path) -> None:
    with alice.settings_file.open("a") as settings:
        settings.write(f'[keys]\nhost_ca_file = "{tmp_path}/host_ca"\n')
    result = alice.run("store", "backup", str(tmp_path / "b.tar.gz"), "--no-recordings")
    assert f"Not in it, so back it up yourself: {tmp_path}/host_ca" in result.stderr
    assert "private keys" in result.stderr


def test_a_backup_that_fails_leaves_nothing(alice: Desk, tmp_path: Path) -> None:
    (alice.data_dir / "stagedoor.db").write_bytes(b"x" * 4096)
    failed = alice.run("store", "backup", str(tmp_path / "b.tar.gz")).exception
    assert isinstance(failed, StagedoorError)
    assert not [path for path in tmp_path.iterdir() if "b.tar.gz" in path.name]
    missing = alice.run("store", "backup", str(tmp_path / "no" / "b.tar.gz")).exception
    assert isinstance(missing, StagedoorError)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("keys/../../evil", tarfile.REGTYPE),
        ("/etc/evil", tarfile.REGTYPE),
        ("keys/evil", tarfile.SYMTYPE),
        ("keys/a/b", tarfile.REGTYPE),
        ("bin", tarfile.DIRTYPE),
    ],
)
def test_no_file_of_a_backup_leaves_its_folder(
    alice: Desk, tmp_path: Path, name: str, kind: bytes
) -> None:
    good, bad = backup(alice, tmp_path / "good.tar.gz"), tmp_path / "bad.tar.gz"
    with tarfile.open(good) as source, tarfile.open(bad, "w:gz") as target:
        for member in source.getmembers():
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
        forged = tarfile.TarInfo(name)
        forged.type, forged.linkname, forged.size = kind, "/etc/passwd", 0
        target.addfile(forged)
    refused = elsewhere(alice, tmp_path / "there").run("store", "restore", str(bad)).exception
    assert isinstance(refused, RefusedError)
    assert not list(tmp_path.rglob("evil"))


def test_anything_may_be_given(alice: Desk, tmp_path: Path) -> None:
    there = elsewhere(alice, tmp_path / "there")
    odd = tmp_path / "odd"
    newer = io.BytesIO()
    with tarfile.open(fileobj=newer, mode="w:gz") as tar:
        member = tarfile.TarInfo("manifest.json")
        text = json.dumps({"form": 2, "version": "9"}).encode()
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    for content in (b"", b"\x1f\x8b", os.urandom(100), newer.getvalue()):
        odd.write_bytes(content)
        assert isinstance(there.run("store", "restore", str(odd)).exception, RefusedError), content
    assert not there.data_dir.exists()
    cut = backup(alice, tmp_path / "b.tar.gz").read_bytes()
    odd.write_bytes(cut[: len(cut) // 2])
    assert isinstance(there.run("store", "restore", str(odd)).exception, RefusedError)


def test_a_postgresql_store_is_dumped_and_restored(
    alice: Desk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    here = request.getfixturevalue("postgresql")
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    first, second = here.database(), here.database()
    desks = []
    for name, server in (("first", first), ("second", second)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "stagedoor.toml"
        file.write_text(
            f'data_dir = "{tmp_path / name}/data"\n[store]\nurl = "{server.url}"\n'
            + (f'password_file = "{server.password_file}"\n' if server.password_file else "")
        )
        desks.append(Desk(file, tmp_path / name / "data"))
    try:
        desks[0].out("user", "add", "carol", "--no-password")
        file = backup(desks[0], tmp_path / "b.tar.gz")
        desks[1].out("store", "restore", str(file))
        assert [user["name"] for user in desks[1].json("user", "list")] == ["carol"]
        assert desks[1].run("store", "restore", str(file)).exception is not None
        desks[1].out("user", "add", "dave", "--no-password")
        desks[1].out("store", "restore", str(file), "--force")
        assert [user["name"] for user in desks[1].json("user", "list")] == ["carol"]
        refused = elsewhere(alice, tmp_path / "there").run("store", "restore", str(file)).exception
        assert isinstance(refused, RefusedError)
        assert "another kind" in str(refused)
        assert load_settings(desks[1].settings_file).store.url == second.url
    finally:
        for server in (first, second):
            here.drop(server)
