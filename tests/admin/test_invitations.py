"""Invitations: good once, for one user, for a while, and for nothing but a password."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.passwords import verify
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import RefusedError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import User
from stagedoor.model.secret import hash_secret
from stagedoor.model.target import Target
from stagedoor.model.webpass import Invitation, SignInLink, Ticket, WebPass, WebSession
from stagedoor.settings.settings import Settings
from stagedoor.settings.web import WebSettings
from stagedoor.signin.credentials import CredentialService
from stagedoor.signin.invitations import MAX_LIFETIME_S, MintedInvitation, invite
from stagedoor.store.database import open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import passes

PASSWORD = "chosen by herself"


class Office:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            data_dir=folder,
            web=WebSettings(addresses=("127.0.0.1:8000",), public_url="https://gw.example"),
        )
        with admin.open_service(self.settings) as service:
            admin.add_user(service, "ann", password="the old password")
        self.database = open_database(self.settings.store_location)
        context = WorkerContext(self.settings, self.database, lambda: load_policy(self.database))
        self.web = CredentialService(context, lambda line: None)

    def invite(
        self, name: str, *, ago_s: float = 0, lasts_s: float = 3600, **options: tuple[str, ...]
    ) -> MintedInvitation:
        with admin.open_service(self.settings, clock=lambda: time.time() - ago_s) as service:
            return invite(self.settings, service, name, service.clock() + lasts_s, **options)

    def user(self, name: str) -> User:
        return load_policy(self.database).users[name]

    def secret(self, made: MintedInvitation) -> str:
        head, _, behind = made.url.partition("#")
        assert head == "https://gw.example/invitation", "it reaches no server"
        return behind.partition("&")[0]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.database.close()


async def test_a_new_user_sets_a_password_once(office: Office) -> None:
    made = office.invite("carol", groups=("dev",))
    assert made.added
    assert made.url not in repr(made)
    assert office.user("carol") == User("carol", frozenset({"dev"}))
    secret = office.secret(made)
    for short in ("short", "", "x" * 1025):
        denial = await office.web.accept_invitation(secret, short)
        assert isinstance(denial, Denial)
        assert denial.reason is Reason.BAD_REQUEST, "it may be tried again"
    result = await office.web.accept_invitation(secret, PASSWORD)
    assert isinstance(result, Identity)
    assert (result.name, result.method) == ("carol", Method.PASSWORD)
    assert verify(office.user("carol").password_hash or "", PASSWORD)
    assert result.password_hash == office.user("carol").password_hash
    again = await office.web.accept_invitation(secret, "of somebody else")
    assert isinstance(again, Denial)
    assert again.reason is Reason.CREDENTIAL_WRONG
    assert "stagedoor user invite" in again.message
    text = json.dumps([dict(e.event.fields) for e in read_entries(office.database)])
    assert "user.invite" in text
    assert secret not in text
    assert PASSWORD not in text


async def test_who_forgot_a_password_is_invited_again_and_keeps_the_groups(office: Office) -> None:
    made = office.invite("ann")
    assert not made.added
    with pytest.raises(RefusedError, match="user group ann"):
        office.invite("ann", groups=("ops",))
    result = await office.web.accept_invitation(office.secret(made), PASSWORD)
    assert isinstance(result, Identity)
    assert verify(office.user("ann").password_hash or "", PASSWORD)


async def test_it_is_over(office: Office) -> None:
    """By time, by a later one, by a password that was set meanwhile, and with its user."""
    expired = office.invite("late", ago_s=60, lasts_s=30)
    replaced, changed = office.invite("ann"), office.invite("ann")
    gone = office.invite("gone")
    with admin.open_service(office.settings) as service:
        admin.set_password(service, "ann", "by the administrator")
        admin.remove_user(service, "gone")
        admin.add_user(service, "gone")
    for made in (expired, replaced, changed, gone):
        denial = await office.web.accept_invitation(office.secret(made), PASSWORD)
        assert isinstance(denial, Denial)
        assert "ask an administrator for another" in denial.line
    assert verify(office.user("ann").password_hash or "", "by the administrator")
    assert office.user("late").password_hash is office.user("gone").password_hash is None


async def test_no_other_pass_sets_a_password_and_it_is_no_other_pass(office: Office) -> None:
    secret = office.secret(office.invite("ann"))
    given = passes.find(office.database, Invitation, secret)
    assert given is not None
    fields = {"name": "ann", "method": Method.PASSWORD, "expires_at": given.expires_at}
    others: dict[type[WebPass], dict[str, object]] = {
        SignInLink: {},
        WebSession: {"latest_end": given.expires_at},
        Ticket: {"purpose": Target("app01")},
    }
    for kind, more in others.items():
        assert passes.use_up(office.database, kind, secret) is None
        other = passes.make_secret()
        passes.issue(office.database, kind(id=hash_secret(other), **fields, **more), 0.0)  # type: ignore[arg-type]
        assert isinstance(await office.web.accept_invitation(other, PASSWORD), Denial)
    for guess in ("", "x", secret[:-1], secret + "x", "\udc80"):
        assert isinstance(await office.web.accept_invitation(guess, PASSWORD), Denial)
    assert verify(office.user("ann").password_hash or "", "the old password")


@pytest.mark.parametrize("lasts_s", [0, -1, MAX_LIFETIME_S + 60])
def test_it_ends_within_days(office: Office, lasts_s: float) -> None:
    with pytest.raises(RefusedError, match="14 days"):
        office.invite("carol", lasts_s=lasts_s)
    assert "carol" not in load_policy(office.database).users


@pytest.mark.parametrize("name", ["Carol", "a:b", "../x", "a&b", ""])
def test_a_name_is_a_name(office: Office, name: str) -> None:
    with pytest.raises(RefusedError):
        office.invite(name)
