"""A full disk: every right can be taken away, and none can be given."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin import sessions as admin_sessions
from stagedoor.admin.person import set_disabled
from stagedoor.admin.service import AdminService
from stagedoor.admin.shares import end_share, make_share
from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.authn.passes import make_link_identity
from stagedoor.model.errors import StoreError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.model.permission import Permission
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.passkeys import remove_passkey
from stagedoor.signin.provider_accounts import link_account, unlink_account
from stagedoor.store.database import open_database
from stagedoor.store.journal import StoreJournal, read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sessions import list_sessions
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.passkeys import add_passkey
from stagedoor.store.sqlite.reserve import ROOM, SIZE
from stagedoor.wire.target import parse_login
from tests.fixtures.people import open_session
from tests.store.full_disk import SmallDisk, small_disk
from tests.store.sample import denied, opened
from tests.waiting import wait_until

PASSWORD = "correct horse battery staple"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH6bDyNSkWDNRGXY1SbFhSAhgJQFJd1Oc3KG0VqXmVtF x"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture
def service(disk: SmallDisk) -> Iterator[AdminService]:
    """A store on the small disk that another process has open too, as a worker has."""
    file = disk.folder / "data" / "stagedoor.db"
    worker = open_database(file)
    database = open_database(file)
    yield AdminService(database, file.parent, "root@here", lambda: 1000.0)
    database.close()
    worker.close()


def test_each_right_can_be_taken_away(service: AdminService, disk: SmallDisk) -> None:
    for name in ("ann", "bob", "cid"):
        admin.add_user(service, name, groups=["dev"], password=PASSWORD)
    grants = [admin.add_grant(service, "user:ann", f"app{n:02}").id for n in range(12)]
    watch = admin.add_grant(
        service, "group:dev", "app01", permissions=frozenset({Permission.WATCH})
    ).id
    files = frozenset({Permission.FILES})
    token = admin.create_token(service, "ann").id
    (key,) = admin.add_keys(service, "ann", [KEY])
    target = parse_login("app01")
    assert target is not None
    user = admin.read_policy(service).users["ann"]
    host = Identity("ann", user.groups, Method.PASSWORD, password_hash=user.password_hash)
    share, _ = make_share(service, host, target, "main", 600.0, typing=False)
    StoreJournal(service.database).append([opened("s1"), opened("s2")])
    disk.fill()

    admin.change_grant(service, grants[0], without=files)
    for number in grants:
        admin.remove_grant(service, number)
    admin.remove_grant(service, watch)
    admin.revoke_token(service, token)
    admin.remove_key(service, key.fingerprint)
    end_share(service, share.id)
    admin.change_groups(service, "ann", remove=["dev"])
    admin.set_password(service, "bob", None)
    admin.remove_user(service, "cid")
    assert admin_sessions.request_close(service, ["s1"], "laptop stolen") == 1

    reader = open_database(service.data_dir / "stagedoor.db")  # as another worker sees it
    policy = load_policy(reader)
    assert policy.grants == ()
    assert not policy.tokens
    assert not policy.keys
    assert not policy.shares
    assert sorted(policy.users) == ["ann", "bob"]
    assert policy.users["ann"].groups == frozenset()
    assert policy.users["bob"].password_hash is None
    assert {s.id: s.close_reason for s in list_sessions(reader)}["s1"] == "laptop stolen"
    said = [e.event.fields.get("action") for e in read_entries(reader) if e.event.fields]
    assert said.count("grant.remove") == 13, "and each stands in the audit"
    reader.close()


def test_what_filled_the_disk_does_not_take_all_that_is_freed(
    service: AdminService, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.add_user(service, "ann")
    grants = [admin.add_grant(service, "user:ann", f"app{n:02}").id for n in range(12)]
    disk.fill()
    allocate, late = os.posix_fallocate, []

    def slow(fd: int, offset: int, size: int) -> None:
        """The first time it comes when the filler has taken all there was."""
        if size != ROOM and not late:
            late.append(size)
            wait_until(disk.is_full, what="what was freed is taken")
        allocate(fd, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", slow)
    for number in grants:
        admin.remove_grant(service, number)
    assert late
    assert admin.read_policy(service).grants == ()


def test_sign_ins_passkeys_and_people_too(service: AdminService, disk: SmallDisk) -> None:
    company = SingleSignOnSettings(
        name="Company",
        issuer="https://id.example",
        client_id="stagedoor",
        client_secret_file=disk.folder,
        redirect_uri="https://shell.example/sign-in/sso",
    )
    database, now = service.database, service.clock()
    for name in ("ann", "bob", "cid"):
        admin.add_user(service, name, password=PASSWORD)
    link_account(service, "cid", company, "1")

    by_password = make_link_identity(load_policy(database).users["ann"])
    by_provider = Identity("cid", frozenset(), Method.SSO, "Company")
    _, signed_out = open_session(database, by_password, now)
    for who in (by_password, by_provider):
        open_session(database, who, now)
    key = PasskeyRecord("5f3a91c0e2b74d18", "ann", "laptop", "gw.example", b"x", 0, now)
    with database.write() as transaction:
        add_passkey(transaction, key, 1)
    disk.fill()

    with service.change("web.sign-out", revokes=True) as change:
        passes.end_sign_in(change.transaction, signed_out.id, None, now)
    assert unlink_account(service, company, "1") == "cid"
    assert end_sign_ins(service, list_sign_ins(service, "ann"), "laptop stolen") == 1
    assert remove_passkey(service, key.id) == key
    assert set_disabled(service, "bob", disabled=True)

    assert list_sign_ins(service) == []
    assert list(load_policy(database).disabled) == ["bob"]


def test_nothing_else_uses_what_is_kept_for_it(service: AdminService, disk: SmallDisk) -> None:
    admin.add_user(service, "ann")
    grants = [admin.add_grant(service, "user:ann", f"app{n:02}").id for n in range(3)]
    disk.fill()
    journal = StoreJournal(service.database)
    admin.remove_grant(service, grants[0])
    for _ in range(200):
        with pytest.raises(StoreError, match="disk full"):
            journal.append([denied()] * 20)
    with pytest.raises(StoreError, match="disk full"):
        admin.add_grant(service, "user:ann", "more")
    with pytest.raises(StoreError, match="disk full"):
        admin.change_groups(service, "ann", add=["ops"])
    for number in grants[1:]:
        admin.remove_grant(service, number)
    assert not admin.read_policy(service).grants


def test_it_is_kept_again_as_soon_as_there_is_space(service: AdminService, disk: SmallDisk) -> None:
    reserve = service.data_dir / "stagedoor.db.reserve"
    assert reserve.stat().st_size == SIZE
    assert reserve.stat().st_mode & 0o777 == 0o600
    admin.add_user(service, "ann")
    for _ in range(3):
        number = admin.add_grant(service, "user:ann", "app01").id
        disk.fill()
        admin.remove_grant(service, number)
        assert reserve.stat().st_size == 0
        disk.free()
        StoreJournal(service.database).append([denied()])
        assert reserve.stat().st_size == SIZE
    assert not list(service.data_dir.glob("*.reserve.*")), "no draft is left"


def test_a_disk_with_space_keeps_its_reserve(service: AdminService) -> None:
    admin.add_user(service, "ann")
    reserve = service.data_dir / "stagedoor.db.reserve"
    before = reserve.stat().st_ino
    admin.remove_user(service, "ann")
    assert reserve.stat().st_ino == before


def test_what_a_file_system_only_promises_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fallocate(2) on ZFS does: the size is there, and no block of it."""
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, at, size: os.ftruncate(fd, at + size))
    open_database(tmp_path / "stagedoor.db").close()
    status = (tmp_path / "stagedoor.db.reserve").stat()
    assert (status.st_size, status.st_blocks * 512 >= SIZE) == (SIZE, True)
