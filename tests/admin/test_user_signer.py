"""Certificates of sign-ins: which users get them, how far they reach, and that the audit has them first."""

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from stagedoor.admin.certificates.revocation import list_revoked_sign_ins
from stagedoor.admin.certificates.user_signer import (
    CertificateError,
    NoGrantError,
    TooManyCertificatesError,
    UserSigner,
)
from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import format_public_line, load_or_create, make_key
from stagedoor.model.certificate import Certificate
from stagedoor.model.errors import RefusedError, StagedoorError, StoreError
from stagedoor.model.event import Event, EventKind
from stagedoor.model.grant import GrantRule
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.permission import Permission
from stagedoor.model.rate import Rate
from stagedoor.store import grants, people
from stagedoor.store.database import Database, Transaction, open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import certified, identities, passes
from stagedoor.store.sign_in.tables import certified_sign_ins
from stagedoor.wire.ssh.certificate import parse_certificate
from stagedoor.wire.ssh.key import PublicKey, parse_public_key
from tests.fixtures.people import open_machine, open_session, sign_in
from tests.keys.test_ca import shown
from tests.ssh import newest
from tests.store.sample import change

NOW = 1_700_000_000.0
SESSION_S = 12 * 3600.0


class Desk:
    """A store with a signed-in user `alice`, whose `key` is bound, and a signer."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.database = open_database(folder / "store.db")
        self.authority = CertificateAuthority(load_or_create(folder / "ca"), lambda: self.now)
        self.key = format_public_line(make_key())
        with self.database.write() as transaction:
            for name in ("alice", "bob"):
                people.add_user(transaction, name, frozenset({"crew"}), None, NOW)
        self.grant("group:crew", Permission.ENTER)
        self.sign_in = self.log_in("alice", self.key)

    def log_in(self, user: str, key: str) -> SignIn:
        identity = Identity(user, frozenset(), Method.SSO, "Company")
        by = sign_in(self.database, identity, self.now, session_s=SESSION_S)
        with change(self.database, "login") as made:
            _, login = open_machine(
                made.transaction,
                by,
                self.now,
                fingerprint=fingerprint(key),
                public_key=key,
                session_s=SESSION_S,
            )
        return login.sign_in

    def grant(
        self,
        subject: str,
        *permissions: Permission,
        app: str = "app01",
        expires_at: float | None = None,
    ) -> int:
        rule = GrantRule(0, subject, app, "*", expires_at, frozenset(permissions))
        with change(self.database, "grant.add") as made:
            return grants.add_grant(made.transaction, rule, self.now)

    def take_away(self, grant: int) -> None:
        with change(self.database, "grant.remove") as made:
            grants.remove_grant(made.transaction, grant)

    def signer(
        self,
        sign: Callable[..., str] | None = None,
        valid_s: float = 3600.0,
        **rates: Rate,
    ) -> UserSigner:
        sign = sign or self.authority.sign_sign_in
        return UserSigner(self.database, sign, valid_s, lambda: self.now, **rates)

    def signed(self) -> list[Event]:
        events = [entry.event for entry in read_entries(self.database)]
        return [event for event in events if event.kind is EventKind.CERTIFICATE_SIGNED]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.close()


def fingerprint(line: str) -> str:
    key = parse_public_key(line)
    assert isinstance(key, PublicKey)
    return key.fingerprint


def read(line: str) -> Certificate:
    signed = parse_certificate(b64decode(line.split()[1]))
    assert signed is not None
    return signed.certificate


@pytest.mark.identity(20, 21)
def test_it_is_for_one_name_for_an_hour_and_its_serial_is_the_sign_in(desk: Desk) -> None:
    number = desk.sign_in.number
    line = desk.signer().sign("alice", number, desk.key, desk.sign_in.ends_at)
    certificate = read(line)
    assert certificate.principals == ("alice",)
    assert certificate.serial == number
    assert certificate.key_id == f"sign-in {number} of alice"
    assert certificate.valid_after == NOW - 300
    assert certificate.valid_before == NOW + 3600
    assert not certificate.critical_options
    [event] = desk.signed()
    assert event.identity == "alice"
    assert event.fields == {
        "sign_in": str(number),
        "key": fingerprint(desk.key),
        "valid_before": int(NOW + 3600),
    }


@pytest.mark.identity(21)
def test_both_versions_of_openssh_read_it(desk: Desk, tmp_path: Path) -> None:
    desk.now = time.time()
    sign_in = desk.log_in("alice", desk.key)
    line = desk.signer().sign("alice", sign_in.number, desk.key, sign_in.ends_at)
    keygens = ["ssh-keygen"]
    try:
        keygens.append(str(newest.folder() / "ssh-keygen"))
    except newest.MissingError as error:
        pytest.skip(str(error))
    for keygen in keygens:
        lines = shown(tmp_path, line, keygen)
        assert f"Serial: {sign_in.number}" in lines
        at = lines.index("Principals:")
        assert lines[at + 1 : at + 3] == ["alice", "Critical Options: (none)"]


@pytest.mark.identity(20, 24)
def test_it_never_outlasts_the_sign_in_whatever_is_asked_for(desk: Desk) -> None:
    number, ends_at = desk.sign_in.number, desk.sign_in.ends_at
    desk.now = ends_at - 600
    assert read(desk.signer().sign("alice", number, desk.key, NOW * 2)).valid_before == ends_at
    asked = desk.now + 60
    assert read(desk.signer().sign("alice", number, desk.key, asked)).valid_before == asked
    short = desk.signer(valid_s=300)
    assert read(short.sign("alice", number, desk.key, ends_at)).valid_before == desk.now + 300
    desk.now = ends_at
    with pytest.raises(CertificateError, match="sign-in is over"):
        desk.signer().sign("alice", number, desk.key, NOW * 2)


@pytest.mark.identity(20, 22)
def test_nobody_gets_one_for_anothers_key_or_sign_in(desk: Desk) -> None:
    """No request is believed, not even a worker's."""
    others = format_public_line(make_key())
    bobs = desk.log_in("bob", others)
    signer = desk.signer()
    number, ends_at = desk.sign_in.number, desk.sign_in.ends_at
    for user, numbered, key in (
        ("alice", number, others),
        ("alice", number, format_public_line(make_key())),
        ("alice", bobs.number, others),
        ("alice", bobs.number, desk.key),
        ("bob", number, desk.key),
        ("bob", bobs.number, desk.key),
        ("root", number, desk.key),
        ("alice", 0, desk.key),
        ("alice", -1, desk.key),
        ("alice", 2**63, desk.key),
        ("alice", number, f'command="sh" {desk.key}'),
        ("alice", number, "rubbish"),
        ("alice", number, desk.authority.sign_user(desk.key, "alice", ["alice"], 60)),
    ):
        with pytest.raises(CertificateError):
            signer.sign(user, numbered, key, ends_at)
    assert desk.signed() == []


@pytest.mark.identity(22)
def test_a_sign_in_that_was_ended_gets_none(desk: Desk) -> None:
    signer = desk.signer()
    ask = (desk.sign_in.number, desk.key, desk.sign_in.ends_at)
    signer.sign("alice", *ask)
    with change(desk.database, "end") as made:
        passes.end_sign_in(made.transaction, desk.sign_in.id, "laptop stolen", desk.now)
    with pytest.raises(CertificateError, match="sign-in is over"):
        signer.sign("alice", *ask)
    assert len(desk.signed()) == 1


@pytest.mark.identity(29)
def test_a_user_who_is_disabled_gets_none(desk: Desk) -> None:
    ask = ("alice", desk.sign_in.number, desk.key, desk.sign_in.ends_at)
    with change(desk.database, "user.disable") as made:
        people.set_disabled(made.transaction, "alice", 1.0)
    with pytest.raises(CertificateError, match="'alice' is disabled"):
        desk.signer().sign(*ask)
    with pytest.raises(RefusedError, match="'alice' is disabled"):
        desk.log_in("alice", format_public_line(make_key()))
    with change(desk.database, "user.enable") as made:
        people.set_disabled(made.transaction, "alice", None)
    assert desk.signer().sign(*ask)


def test_who_may_enter_no_app_gets_none(desk: Desk) -> None:
    """By name, by a group of either kind or by the grant to all, only a grant that lets enter now counts."""
    key = format_public_line(make_key())
    with desk.database.write() as transaction:
        people.add_user(transaction, "carol", frozenset({"guests"}), None, NOW)
        people.add_user(transaction, "carolina", frozenset(), None, NOW)
    sign_in = desk.log_in("carol", key)
    signer = desk.signer()

    def ask() -> str:
        return signer.sign("carol", sign_in.number, key, sign_in.ends_at)

    def refused() -> None:
        with pytest.raises(NoGrantError, match=r"may not enter any app.*ask your administrator"):
            ask()

    refused()
    desk.grant("user:carol", Permission.WATCH, Permission.REPLAY, Permission.FORWARD, app="*")
    desk.grant("group:guests", Permission.ENTER, app="*", expires_at=NOW)
    desk.grant("user:carolina", Permission.ENTER)
    desk.grant("group:carol", Permission.ENTER)
    refused()
    assert desk.signed() == []
    for subject in ("user:carol", "group:guests", "group:provided", "everybody"):
        grant = desk.grant(subject, Permission.ENTER, Permission.FILES)
        if subject == "group:provided":
            refused()
            with change(desk.database, "sso.sign-in") as made:
                identities.set_provided_groups(made.transaction, "carol", frozenset({"provided"}))
        assert ask()
        desk.take_away(grant)
        refused()


@pytest.mark.parametrize(
    ("permissions", "extensions"),
    [
        ((), {"permit-pty"}),
        ((Permission.FORWARD,), {"permit-pty", "permit-port-forwarding"}),
        ((Permission.AGENT,), {"permit-pty", "permit-agent-forwarding"}),
        (
            (Permission.AGENT, Permission.FORWARD),
            {"permit-pty", "permit-agent-forwarding", "permit-port-forwarding"},
        ),
    ],
)
def test_it_permits_forwards_only_where_a_grant_does(
    desk: Desk, permissions: tuple[Permission, ...], extensions: set[str]
) -> None:
    if permissions:
        desk.grant("group:crew", *permissions, expires_at=NOW + 60)
    desk.grant("user:bob", Permission.AGENT, Permission.FORWARD)
    ask = ("alice", desk.sign_in.number, desk.key, desk.sign_in.ends_at)
    signer = desk.signer()
    assert read(signer.sign(*ask)).extensions == extensions
    desk.now += 60
    assert read(signer.sign(*ask)).extensions == {"permit-pty"}


def test_it_ends_with_the_grants_that_it_rests_on(desk: Desk) -> None:
    """Servers that trust the CA see no grant end, so the certificate does."""
    key = format_public_line(make_key())
    with desk.database.write() as transaction:
        people.add_user(transaction, "carol", frozenset(), None, NOW)
    sign_in = desk.log_in("carol", key)
    signer = desk.signer()

    def ends_in_s() -> float:
        line = signer.sign("carol", sign_in.number, key, sign_in.ends_at)
        return read(line).valid_before - NOW

    desk.grant("user:carol", Permission.ENTER, app="app02", expires_at=NOW + 600)
    assert ends_in_s() == 600
    desk.grant("user:carol", Permission.WATCH, app="app03", expires_at=NOW + 10)
    assert ends_in_s() == 600
    desk.grant("user:carol", Permission.ENTER, app="app04", expires_at=NOW + 7200)
    assert ends_in_s() == 3600
    desk.grant("user:carol", Permission.AGENT, app="app05", expires_at=NOW + 60)
    assert ends_in_s() == 60
    desk.grant("user:carol", Permission.AGENT, app="app06")
    assert ends_in_s() == 3600


def test_what_was_signed_is_revoked_while_its_user_may_enter_nothing(desk: Desk) -> None:
    desk.signer().sign("alice", desk.sign_in.number, desk.key, desk.sign_in.ends_at)

    def revoked() -> object:
        return dict(list_revoked_sign_ins(desk.database, load_policy(desk.database), desk.now))

    assert revoked() == {}
    desk.take_away(1)
    assert revoked() == {"alice": [desk.sign_in.number]}
    desk.grant("everybody", Permission.WATCH)
    assert revoked() == {"alice": [desk.sign_in.number]}
    desk.grant("user:alice", Permission.ENTER, expires_at=desk.now + 60)
    assert revoked() == {}
    desk.now += 60
    assert revoked() == {"alice": [desk.sign_in.number]}


@pytest.mark.identity(23)
def test_what_was_signed_is_revoked_once_its_sign_in_is_over_and_until_it_expires(
    desk: Desk,
) -> None:
    signer, number = desk.signer(), desk.sign_in.number

    def revoked(void: tuple[str, ...] = ()) -> object:
        return certified.list_revoked(desk.database, desk.now, void)

    signer.sign("alice", number, desk.key, desk.sign_in.ends_at)
    desk.now += 1800
    signer.sign("alice", number, desk.key, desk.sign_in.ends_at)
    signer.sign("alice", number, desk.key, desk.now + 60)  # an earlier end takes nothing back
    assert revoked() == {}
    assert revoked((fingerprint(desk.key),)) == {"alice": [number]}
    with change(desk.database, "remove") as made:
        people.remove_user(made.transaction, "alice")
    assert revoked() == {"alice": [number]}
    desk.now += 3599
    assert revoked() == {"alice": [number]}
    desk.now += 1
    assert revoked() == {}
    others = format_public_line(make_key())
    bobs = desk.log_in("bob", others)
    desk.signer().sign("bob", bobs.number, others, bobs.ends_at)
    with desk.database.read() as transaction:
        kept = transaction.execute(certified_sign_ins.select()).all()
    assert [row.number for row in kept] == [bobs.number]


def test_a_browsers_sign_in_has_no_key_and_gets_none(desk: Desk) -> None:
    identity = Identity("alice", frozenset(), Method.SSO, "Company")
    _, browser = open_session(desk.database, identity, NOW)
    with pytest.raises(CertificateError, match="not the one of your sign-in"):
        desk.signer().sign("alice", browser.sign_in.number, desk.key, NOW + 60)


@pytest.mark.identity(26)
def test_the_audit_has_it_before_it_is_signed(desk: Desk) -> None:
    def sign(*given: object) -> NoReturn:
        assert len(desk.signed()) == 1
        raise StagedoorError("the token was pulled out")

    with pytest.raises(StagedoorError, match="pulled out"):
        desk.signer(sign).sign("alice", desk.sign_in.number, desk.key, NOW + 60)


@pytest.mark.identity(26)
def test_without_an_audit_nothing_is_signed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(**_: bool) -> Iterator[Transaction]:
        raise StoreError("the disk is full", "its log says why")
        yield

    monkeypatch.setattr(desk.database, "write", full)
    signed: list[object] = []

    def sign(*given: object) -> str:
        signed.append(given)
        return ""

    with pytest.raises(StoreError, match="disk is full") as failed:
        desk.signer(sign).sign("alice", desk.sign_in.number, desk.key, NOW + 60)
    assert "disk" not in failed.value.public
    assert signed == []


@pytest.mark.identity(26)
def test_so_many_are_signed_for_one_and_for_all(desk: Desk) -> None:
    bobs_key = format_public_line(make_key())
    bobs = desk.log_in("bob", bobs_key)
    signer = desk.signer(of_a_user=Rate(3, 10.0), of_all=Rate(5, 1.0))

    def ask(user: str, sign_in: SignIn, key: str) -> None:
        signer.sign(user, sign_in.number, key, NOW + 600)

    for _ in range(3):
        ask("alice", desk.sign_in, desk.key)
    with pytest.raises(TooManyCertificatesError, match="you asked for so many") as refused:
        ask("alice", desk.sign_in, desk.key)
    assert refused.value.retry_after_s == 10
    for _ in range(2):
        ask("bob", bobs, bobs_key)
    with pytest.raises(TooManyCertificatesError, match="all together") as refused:
        ask("bob", bobs, bobs_key)
    assert refused.value.retry_after_s == 1
    assert len(desk.signed()) == 5
    desk.now += 10
    ask("alice", desk.sign_in, desk.key)


def test_the_store_may_be_another_database_object(desk: Desk, tmp_path: Path) -> None:
    """As the supervisor has it: workers write the sign-in, it reads."""
    other: Database = open_database(tmp_path / "store.db", create=False)
    try:
        signer = UserSigner(other, desk.authority.sign_sign_in, 3600, lambda: desk.now)
        signer.sign("alice", desk.sign_in.number, desk.key, NOW + 60)
        assert len(desk.signed()) == 1
    finally:
        other.close()
