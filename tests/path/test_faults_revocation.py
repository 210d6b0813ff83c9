"""Each credential, user or grant that is taken away ends its sessions, in every worker, within 5 s."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.person import set_disabled
from tests.listeners.wire import basic, bearer, eventually
from tests.pace import allow
from tests.path.faulty import Faulty, Inside, serving

WITHIN_S = allow(5.0)
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with serving(tmp_path_factory.mktemp("revocation"), workers=2) as one:
        yield one


@dataclass
class Guest:
    """A user of one test's own, who is let in by a grant of their own."""

    gateway: Faulty
    name: str
    grant: int
    token: str
    token_id: str

    @property
    def by_token(self) -> str:
        return bearer(self.token)

    @property
    def by_password(self) -> str:
        return basic(self.name, PASSWORD)

    def change(self, what: Callable[[admin.AdminService], object]) -> None:
        with self.gateway.service() as service:
            what(service)


@pytest.fixture
def guest(gateway: Faulty, request: pytest.FixtureRequest) -> Guest:
    name = f"guest{abs(hash(request.node.name)) % 10**9}"
    with gateway.service() as service:
        admin.add_user(service, name, password=PASSWORD)
        grant = admin.add_grant(service, f"user:{name}", "app01").id
        token = admin.create_token(service, name)
    gateway.wait_for_policy()
    return Guest(gateway, name, grant, token.text, token.id)


def assert_all_cut(
    gateway: Faulty, since: float, sessions: list[Inside], reason: str, detail: str
) -> None:
    for inside in sessions:
        # What has an end of its own is cut only when that has come, in `since`.
        inside.client.sock.settimeout(WITHIN_S + max(0.0, since - time.monotonic()))
        inside.wait_until_cut()
    assert time.monotonic() - since < WITHIN_S, "the promise is 5 s"
    gateway.wait_for_ends(*sessions)
    eventually("all are closed", lambda: len(ends_of(gateway, sessions)) == len(sessions))
    ends = ends_of(gateway, sessions)
    assert {end for end, _ in ends.values()} == {reason}
    assert all(detail in shown for _, shown in ends.values()), ends


def ends_of(gateway: Faulty, sessions: list[Inside]) -> dict[str, tuple[str, str]]:
    closed = gateway.closed()
    return {
        inside.session: closed[inside.session] for inside in sessions if inside.session in closed
    }


def grant_remove(guest: Guest, service: admin.AdminService) -> None:
    admin.remove_grant(service, guest.grant)


def user_remove(guest: Guest, service: admin.AdminService) -> None:
    admin.remove_user(service, guest.name)


def user_disable(guest: Guest, service: admin.AdminService) -> None:
    set_disabled(service, guest.name, disabled=True)


def token_revoke(guest: Guest, service: admin.AdminService) -> None:
    admin.revoke_token(service, guest.token_id)


def password_change(guest: Guest, service: admin.AdminService) -> None:
    admin.set_password(service, guest.name, PASSWORD + " 2")


def password_removal(guest: Guest, service: admin.AdminService) -> None:
    admin.set_password(service, guest.name, None)


CHANGES = [
    (grant_remove, "by_token", "no grant for"),
    (grant_remove, "by_password", "no grant for"),
    (user_remove, "by_token", "there is no user"),
    (user_remove, "by_password", "there is no user"),
    (user_disable, "by_token", "is disabled"),
    (user_disable, "by_password", "is disabled"),
    (token_revoke, "by_token", "was removed"),
    (password_change, "by_password", "password of"),
    (password_removal, "by_password", "password of"),
]


@pytest.mark.parametrize(
    ("change", "way", "detail"), CHANGES, ids=[f"{c.__name__}-{w}" for c, w, _ in CHANGES]
)
def test_what_is_taken_away_closes_the_live_sessions_in_every_worker(
    gateway: Faulty,
    guest: Guest,
    change: Callable[[Guest, admin.AdminService], None],
    way: str,
    detail: str,
) -> None:
    credential = getattr(guest, way)
    with contextlib.ExitStack() as stack:
        bystander = stack.enter_context(gateway.entered())
        by_worker = gateway.spread(stack, credential)
        sessions = [inside for many in by_worker.values() for inside in many]
        guest.change(lambda service: change(guest, service))
        since = time.monotonic()
        assert_all_cut(gateway, since, sessions, "revoked", detail)
        assert gateway.ask("app01-ssh:22", credential) in (403, 407), "nor do they get in again"
        bystander.works()


@pytest.mark.identity(29)
def test_a_user_who_is_enabled_has_all_of_it_again(gateway: Faulty, guest: Guest) -> None:
    guest.change(lambda service: user_disable(guest, service))
    gateway.wait_for_policy()
    for credential in (guest.by_token, guest.by_password):
        assert gateway.ask("app01-ssh:22", credential) == 407
    guest.change(lambda service: set_disabled(service, guest.name, disabled=False))
    gateway.wait_for_policy()
    for credential in (guest.by_token, guest.by_password):
        with gateway.entered(credential) as inside:
            inside.works()


def test_another_credential_of_the_same_user_keeps_its_sessions(
    gateway: Faulty, guest: Guest
) -> None:
    """A new password ends what the old one opened; a token is a credential of its own."""
    with (
        gateway.entered(guest.by_token) as by_token,
        gateway.entered(guest.by_password) as by_password,
    ):
        guest.change(lambda service: password_change(guest, service))
        by_password.wait_until_cut()
        by_token.works()
        guest.change(lambda service: token_revoke(guest, service))
        by_token.wait_until_cut()


def test_a_grant_that_expires_closes_the_live_sessions(gateway: Faulty, guest: Guest) -> None:
    with contextlib.ExitStack() as stack:
        with gateway.service() as service:
            until = time.time() + 15
            admin.add_grant(service, f"user:{guest.name}", "app*", expires_at=until)
            admin.remove_grant(service, guest.grant)
        by_worker = gateway.spread(stack, guest.by_token)
        sessions = [inside for many in by_worker.values() for inside in many]
        for inside in sessions:
            inside.works()
        since = time.monotonic() + max(0.0, until - time.time())
        assert_all_cut(gateway, since, sessions, "expired", "ended at")
        assert time.time() >= until, "not before its time"
        assert gateway.ask("app01-ssh:22", guest.by_token) == 403


def test_a_token_that_expires_closes_the_live_sessions(gateway: Faulty, guest: Guest) -> None:
    with gateway.service() as service:
        token = admin.create_token(service, guest.name, expires_at=time.time() + 15).text
    credential = bearer(token)
    gateway.wait_for_policy()
    with gateway.entered(credential) as inside:
        inside.wait_until_cut()
        assert gateway.wait_for_ends(inside) == {inside.session: "expired"}


def test_a_grant_beside_it_keeps_the_session(gateway: Faulty, guest: Guest) -> None:
    with gateway.entered(guest.by_token) as inside:
        with gateway.service() as service:
            admin.add_grant(service, f"user:{guest.name}", "app*")
            admin.remove_grant(service, guest.grant)
        with gateway.changed() as service:
            admin.add_user(service, f"{guest.name}-later")
        inside.works()


def test_session_close_closes_that_session_with_the_administrators_words(
    gateway: Faulty, guest: Guest
) -> None:
    with contextlib.ExitStack() as stack:
        by_worker = gateway.spread(stack, guest.by_token)
        chosen = [many[0] for many in by_worker.values()]
        others = [inside for many in by_worker.values() for inside in many[1:]]
        done = gateway.command(
            "session",
            "close",
            *(inside.session for inside in chosen),
            "--reason",
            "laptop stolen",
        )
        assert "Closed 2 sessions" in done.stdout + done.stderr
        for inside in chosen:
            inside.wait_until_cut()
        assert set(ends_of(gateway, chosen).values()) == {("evicted", "laptop stolen")}
        for inside in others:
            inside.works()
