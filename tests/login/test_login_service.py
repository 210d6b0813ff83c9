"""A machine logs in, its person approves: the gateway's side, with real keys and signatures."""

import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stagedoor.admin.certificates.authorities import ensure_cas, load_user_ca
from stagedoor.admin.certificates.user_signer import CertificateError
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.service import AdminService, add_user, open_service
from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.authn.passes import make_link_identity
from stagedoor.keys.signing import find_signing_key
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.letters import derive_login_letters, show_letters
from stagedoor.model.pending_login import (
    LOGIN_PENDING_S,
    TRIES,
    LoginState,
    PendingLogin,
    describe_tries,
)
from stagedoor.model.secret import hash_secret
from stagedoor.model.source import Source
from stagedoor.settings.settings import Settings
from stagedoor.signin.login.approval import LoginApproval
from stagedoor.signin.login.service import (
    CLOCK_S,
    NAMESPACE,
    LoginResult,
    LoginService,
    make_login_text,
    make_renewal_text,
)
from stagedoor.signin.login.ssh_sign_ins import SshSignInService
from stagedoor.signin.passes import PassService
from stagedoor.store import people
from stagedoor.store.journal import read_entries
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in import pending_logins
from tests.fixtures.laptop import new_key
from tests.fixtures.people import open_session

ORIGIN, HERE = "https://gw.example", Source.of("192.0.2.7", 1)
VERIFIER = "a verifier of the client"


class Key:
    """Made, and used to sign, by ssh-keygen."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = new_key(folder / name)
        self.line = " ".join(self.file.with_suffix(".pub").read_text().split()[:2])

    def sign(self, text: bytes, namespace: str = NAMESPACE) -> str:
        command = ["ssh-keygen", "-Y", "sign", "-f", str(self.file), "-n", namespace, "-q"]
        return subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode()


@dataclass
class Installation:
    """A store with alice, who is signed in in a browser, and the services over it."""

    admin: AdminService
    logins: LoginService
    approval: LoginApproval
    alice: Identity
    folder: Path
    ahead_s: float = 0.0
    broken: bool = False
    revoked: dict[str, Denial] = field(default_factory=dict)

    def now(self) -> float:
        return time.time() + self.ahead_s

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        """Sign by the installation's own CA. Satisfies UserCertificates."""
        if self.broken:
            raise CertificateError("the signer is away; try again")
        assert ends_at > time.time()
        return load_user_ca(Settings(data_dir=self.folder)).sign_user(
            public_key, user, [user], 3600
        )

    async def begin(
        self, key: Key, *, port: int | None = 40000, source: Source = HERE
    ) -> PendingLogin:
        challenge = hash_secret(VERIFIER)
        signature = key.sign(make_login_text(ORIGIN, challenge))
        begun = await self.logins.begin(ORIGIN, challenge, signature, "laptop", port, source)
        assert isinstance(begun, PendingLogin), begun
        return begun

    async def poll(
        self, begun: PendingLogin, code: str | None = None
    ) -> LoginResult | LoginState | Denial:
        return await self.logins.poll(begun.id, VERIFIER, code, ORIGIN, HERE)

    async def letters(self, begun: PendingLogin, key: Key) -> str:
        """Return the letters that its terminal shows; the gateway knows them by its first question."""
        assert await self.poll(begun) is LoginState.WAITING
        signed = find_signing_key(key.sign(b"text"), NAMESPACE, b"text")
        assert signed is not None
        return derive_login_letters(ORIGIN, begun.id, signed.fingerprint, VERIFIER)

    async def approve(
        self, begun: PendingLogin, letters: str | None, who: Identity | None = None
    ) -> tuple[PendingLogin, str | None] | Denial:
        return await self.approval.approve(who or self.alice, begun.id, letters, ORIGIN)

    async def logged_in(self, key: Key) -> LoginResult:
        begun = await self.begin(key)
        assert not isinstance(await self.approve(begun, await self.letters(begun, key)), Denial)
        result = await self.poll(begun)
        assert isinstance(result, LoginResult), result
        return result

    async def renew(self, key: Key, *, at: float | None = None) -> LoginResult | Denial:
        when = int(self.now() if at is None else at)
        return await self.logins.renew(
            ORIGIN, when, "nonce", key.sign(make_renewal_text(ORIGIN, when, "nonce")), HERE
        )


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    settings = Settings(data_dir=tmp_path / "data")
    with open_service(settings) as service:
        ensure_cas(settings)
        database = service.database
        add_user(service, "alice", password="correct horse")
        identity = make_link_identity(load_policy(database).users["alice"])
        _, session = open_session(database, identity, time.time())

        async def at_once(verdict: Callable[[], Awaitable[Identity | Denial]]) -> Identity | Denial:
            return await verdict()

        def now() -> float:
            return made.now()

        context = WorkerContext(settings, database, lambda: load_policy(database), now)
        given = PassService(context, at_once)
        made = Installation(
            service,
            LoginService(context, given, None, lambda _: None),
            LoginApproval(context),
            replace(identity, sign_in=session.sign_in),
            settings.data_dir,
        )
        made.logins = LoginService(context, given, made, made.revoked.get)
        yield made


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path, "key")


def certificate_of(line: str | None, folder: Path) -> str:
    assert line is not None
    file = folder / "cert.pub"
    file.write_text(line + "\n")
    return subprocess.run(
        ["ssh-keygen", "-Lf", file], capture_output=True, text=True, check=True
    ).stdout


async def test_the_letters_log_a_machine_in_once(
    here: Installation, key: Key, tmp_path: Path
) -> None:
    begun = await here.begin(key)
    letters = await here.letters(begun, key)
    done = await here.approve(begun, letters.lower())
    assert not isinstance(done, Denial)
    result = await here.poll(begun)
    assert isinstance(result, LoginResult)
    assert result.user == "alice"
    assert result.secret is not None
    assert "alice" in certificate_of(result.certificate, tmp_path)
    [login] = [record.sign_in for record in list_sign_ins(here.admin) if record.key_fingerprint]
    assert (login.name, login.label, login.source) == ("alice", "laptop", "192.0.2.7")
    again = await here.poll(begun)
    assert isinstance(again, Denial), "it is spent"


@pytest.mark.identity(4, 5)
async def test_a_click_is_worth_nothing_without_code_and_verifier(
    here: Installation, key: Key
) -> None:
    """The attacker began, and sends the link; or another person of the machine receives the code."""
    begun = await here.begin(key)
    done = await here.approve(begun, None)
    assert not isinstance(done, Denial)
    _, code = done
    assert code is not None
    assert await here.poll(begun) is LoginState.WAITING
    assert await here.poll(begun, "a guess") is LoginState.WAITING, "a guess stops nothing"
    for verifier in ("", "another", code, begun.id):
        got = await here.logins.poll(begun.id, verifier, code, ORIGIN, HERE)
        assert isinstance(got, Denial)
        assert got.reason is Reason.BAD_REQUEST
    assert isinstance(await here.poll(begun, code), LoginResult)
    assert isinstance(await here.poll(begun, code), Denial), "replayed"


@pytest.mark.identity(4)
async def test_wrong_letters_end_it(here: Installation, key: Key) -> None:
    begun = await here.begin(key)
    letters = await here.letters(begun, key)
    for left in range(TRIES - 1, -1, -1):
        got = await here.approve(begun, "XXXX-XXXX")
        assert isinstance(got, Denial)
        assert (left > 0) == (describe_tries(left) in got.message)
    assert isinstance(await here.approve(begun, letters), Denial)
    assert await here.poll(begun) is LoginState.DENIED


async def test_a_person_denies_it(here: Installation, key: Key) -> None:
    begun = await here.begin(key)
    assert await here.approval.deny(here.alice, begun.id) is None
    assert await here.poll(begun) is LoginState.DENIED


async def test_it_ends_after_three_minutes(here: Installation, key: Key) -> None:
    begun = await here.begin(key)
    letters = await here.letters(begun, key)
    here.ahead_s = LOGIN_PENDING_S + 1
    assert isinstance(await here.approval.find(here.alice, begun.id), Denial)
    assert isinstance(await here.approve(begun, letters), Denial)
    assert isinstance(await here.poll(begun), Denial)


async def test_only_a_person_lets_a_machine_in(here: Installation, key: Key) -> None:
    """A token, a link for one app, a login: each would get more than it is."""
    begun = await here.begin(key)
    letters = await here.letters(begun, key)
    for who in (
        replace(here.alice, sign_in=None),
        replace(here.alice, scopes=("connect:app01",)),
    ):
        for answer in (
            await here.approval.find(who, begun.id),
            await here.approve(begun, letters, who),
        ):
            assert isinstance(answer, Denial)
            assert answer.reason is Reason.NO_GRANT


async def test_a_key_is_certified_for_who_holds_it_alone(
    here: Installation, key: Key, tmp_path: Path
) -> None:
    challenge = hash_secret(VERIFIER)
    for text, namespace in (
        (make_login_text("https://other.example", challenge), NAMESPACE),
        (make_login_text(ORIGIN, hash_secret("another")), NAMESPACE),
        (make_login_text(ORIGIN, challenge), "git"),
    ):
        signature = key.sign(text, namespace)
        got = await here.logins.begin(ORIGIN, challenge, signature, "laptop", None, HERE)
        assert isinstance(got, Denial)
        assert "is not valid" in got.message
    good = key.sign(make_login_text(ORIGIN, challenge))
    assert find_signing_key(good, NAMESPACE, make_login_text(ORIGIN, challenge)) is not None
    lines = good.splitlines()
    for bad in ("", good[:100], good.replace(lines[2], lines[2][::-1]), "A" * 5000, good + "x"):
        assert find_signing_key(bad, NAMESPACE, make_login_text(ORIGIN, challenge)) is None


async def test_pending_logins_of_a_source_are_bounded(here: Installation, key: Key) -> None:
    for _ in range(pending_logins.LIMITS.of_source):
        await here.begin(key)
    challenge = hash_secret(VERIFIER)
    signature = key.sign(make_login_text(ORIGIN, challenge))
    here.ahead_s = 60  # what was begun at once is forgotten, what waits is not
    got = await here.logins.begin(ORIGIN, challenge, signature, "laptop", None, HERE)
    assert isinstance(got, Denial)
    assert got.reason is Reason.THROTTLED
    await here.begin(key, source=Source.of("192.0.2.8", 1))


@pytest.mark.identity(22)
async def test_a_renewal_wants_the_key_and_a_sign_in_that_lasts(
    here: Installation, key: Key, tmp_path: Path
) -> None:
    assert isinstance(await here.renew(key), Denial), "it never logged in"
    await here.logged_in(key)
    renewed = await here.renew(key)
    assert isinstance(renewed, LoginResult)
    assert renewed.secret is None
    assert "alice" in certificate_of(renewed.certificate, tmp_path)
    assert isinstance(await here.renew(Key(tmp_path, "other")), Denial)
    end_sign_ins(here.admin, list_sign_ins(here.admin, "alice"), "laptop stolen")
    over = await here.renew(key)
    assert isinstance(over, Denial)
    assert over.reason is Reason.CREDENTIAL_WRONG


@pytest.mark.identity(24)
async def test_a_clock_that_is_wrong_is_named(here: Installation, key: Key) -> None:
    await here.logged_in(key)
    assert isinstance(await here.renew(key, at=time.time() + 240), LoginResult)
    for off, way in ((2 * CLOCK_S, "10 min ahead"), (-2 * CLOCK_S, "10 min behind")):
        got = await here.renew(key, at=time.time() + off)
        assert isinstance(got, Denial)
        assert way in got.message


async def test_use_moves_a_logins_end_and_never_beyond_the_persons(
    here: Installation, key: Key
) -> None:
    first = await here.logged_in(key)
    here.ahead_s = 3 * 3600
    renewed = await here.renew(key)
    assert isinstance(renewed, LoginResult)
    assert first.ends_at < renewed.ends_at <= time.time() + here.ahead_s + 12 * 3600
    here.ahead_s = 14 * 3600
    last = await here.renew(key)
    assert isinstance(last, LoginResult)
    latest = [sign_in for sign_in in list_sign_ins(here.admin) if sign_in.key_fingerprint]
    assert last.ends_at == latest[0].sign_in.expires_at
    assert last.ends_at <= time.time() + 24 * 3600


async def test_a_logout_ends_the_login_and_no_other(here: Installation, key: Key) -> None:
    result = await here.logged_in(key)
    assert result.secret is not None
    assert await here.logins.log_out("sgl_unknown", HERE) is None
    assert await here.logins.log_out(result.secret, HERE) is None
    [left] = list_sign_ins(here.admin)
    assert left.key_fingerprint is None, "the browser's goes on"
    assert isinstance(await here.renew(key), Denial)


async def test_where_nothing_can_be_signed_the_machine_learns_why(
    here: Installation, key: Key
) -> None:
    here.broken = True
    result = await here.logged_in(key)
    assert result.certificate is None
    assert "signer is away" in result.why
    got = await here.renew(key)
    assert isinstance(got, Denial)
    assert got.reason is Reason.OVERLOADED


async def test_a_changed_password_ends_what_it_let_in(here: Installation, key: Key) -> None:
    await here.logged_in(key)
    with here.admin.change("test") as change:
        people.set_password(change.transaction, "alice", None)
    got = await here.renew(key)
    assert isinstance(got, Denial)
    assert "password" in got.message


async def test_a_changed_password_ends_certificates_for_who_is_connected_still(
    here: Installation, key: Key
) -> None:
    """An ssh connection outlives it; what it opens is refused, and so must be the word of the CA."""
    await here.logged_in(key)
    database = here.admin.database
    policy = load_policy(database)
    [shown] = policy.bound_keys.values()
    alice = replace(here.alice, sign_in=shown.sign_in)
    context = WorkerContext(Settings(data_dir=here.folder), database, lambda: load_policy(database))
    ssh = SshSignInService(context, tuple, here, lambda _: None)
    assert isinstance(await ssh.issue_certificate(alice, key.line), str)
    with here.admin.change("test") as change:
        people.set_password(change.transaction, "alice", None)
    refused = await ssh.issue_certificate(alice, key.line)
    assert isinstance(refused, Denial)
    assert "password" in refused.message


async def test_a_revoked_key_gets_no_login_and_no_certificate(here: Installation, key: Key) -> None:
    """Be it revoked before, while it waits, or once it is logged in."""
    await here.logged_in(key)
    begun = await here.begin(key)
    await here.approve(begun, await here.letters(begun, key))
    bound = len(load_policy(here.admin.database).bound_keys)
    here.revoked[key.line] = why = Denial(Reason.CREDENTIAL_WRONG, "it was revoked")
    waited = await here.poll(begun)
    assert isinstance(waited, Denial)
    assert waited.message == why.message
    assert len(load_policy(here.admin.database).bound_keys) == bound
    assert await here.renew(key) == why
    challenge = hash_secret(VERIFIER)
    signature = key.sign(make_login_text(ORIGIN, challenge))
    assert await here.logins.begin(ORIGIN, challenge, signature, "laptop", None, HERE) == why


@pytest.mark.identity(3)
async def test_letters_codes_and_secrets_are_in_no_audit(here: Installation, key: Key) -> None:
    begun = await here.begin(key)
    letters = await here.letters(begun, key)
    await here.approve(begun, "WWWW-WWWW")
    await here.approve(begun, show_letters(letters))
    result = await here.poll(begun)
    assert isinstance(result, LoginResult)
    assert result.secret is not None
    audited = "".join(str(entry) for entry in read_entries(here.admin.database))
    assert "login.answer" in audited
    for secret in (letters, show_letters(letters), "WWWW", result.secret, VERIFIER):
        assert secret not in audited
