"""Logins with argon2, a policy that changes, and a client that guesses."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from stagedoor.authn import authenticator as module
from stagedoor.authn import passwords
from stagedoor.authn.authenticator import Authenticator, VerifyLimits
from stagedoor.authn.throttle import ThrottleLimits
from stagedoor.authn.tokens import mint
from stagedoor.model.credential import PasswordCredential, TokenCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, TokenRecord, User
from stagedoor.model.rate import Rate
from stagedoor.model.secret import hash_secret
from stagedoor.model.source import Source
from stagedoor.model.webpass import KeyLogin
from tests import hashing
from tests.waiting import BOUND_S

HASH = hashing.CHEAP.hash("open sesame")
RIGHT = PasswordCredential("dev", "open sesame")
WRONG = PasswordCredential("dev", "open barley")
HERE = Source.of("192.0.2.1", 40000)
ELSEWHERE = Source.of("192.0.2.2", 40000)


@pytest.fixture
def real_hash() -> Iterator[str]:
    """Return the hash of the right password, made as the program makes it."""
    with hashing.using(hashing.REAL):
        yield hashing.REAL.hash("open sesame")


def guess(n: int, name: str = "dev") -> PasswordCredential:
    return PasswordCredential(name, f"guess {n}")


class AuthenticatorMaker:
    """A policy and a clock that a test may change."""

    def __init__(self) -> None:
        self.policy = Policy(users={"dev": User("dev", frozenset({"crew"}), HASH)})
        self.now = 1000.0
        self.verified: list[str] = []
        self.made: list[Authenticator] = []

    def authenticator(
        self, limits: VerifyLimits | None = None, throttle: ThrottleLimits | None = None
    ) -> Authenticator:
        made = Authenticator(
            lambda: self.policy,
            lambda: self.now,
            limits=limits,
            throttle=throttle,
        )
        self.made.append(made)
        return made


@pytest.fixture
async def maker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AuthenticatorMaker]:
    maker = AuthenticatorMaker()
    real = passwords.verify

    def counted(password_hash: str, password: str) -> bool:
        maker.verified.append(password_hash)
        return real(password_hash, password)

    monkeypatch.setattr(module.passwords, "verify", counted)
    yield maker
    for made in maker.made:
        made.stop_threads()


async def test_the_right_password_is_its_user(maker: AuthenticatorMaker) -> None:
    assert await maker.authenticator().authenticate(RIGHT, HERE) == Identity(
        "dev", frozenset({"crew"}), Method.PASSWORD
    )


async def test_line_27_an_unknown_name_costs_a_verification_and_reads_like_a_wrong_password(
    maker: AuthenticatorMaker, real_hash: str
) -> None:
    maker.policy = Policy(users={"dev": User("dev", password_hash=real_hash)})
    authenticator = maker.authenticator()
    wrong = await authenticator.authenticate(WRONG, HERE)
    unknown = await authenticator.authenticate(PasswordCredential("eve", "x"), HERE)
    assert isinstance(wrong, Denial)
    assert isinstance(unknown, Denial)
    assert wrong.message.replace("dev", "eve") == unknown.message
    assert len(maker.verified) == 2
    # The same parameters, so the same work.
    assert maker.verified[1].split("$")[1:4] == real_hash.split("$")[1:4]


@pytest.mark.parametrize("secret", ["\ud800", "sgl_\ud800", "\0"])
async def test_text_that_is_no_unicode_is_a_wrong_password_and_no_fault(
    maker: AuthenticatorMaker, secret: str
) -> None:
    """JSON can say it (RFC 8259 §8.2). As a fault it would be a guess that costs and counts nothing."""
    verdict = await maker.authenticator().authenticate(PasswordCredential("dev", secret), HERE)
    assert isinstance(verdict, Denial)
    assert verdict.reason is Reason.CREDENTIAL_WRONG


async def test_a_user_without_a_password_is_not_told_from_an_unknown_one(
    maker: AuthenticatorMaker,
) -> None:
    maker.policy = Policy(users={"bare": User("bare")})
    for name in ("bare", "eve"):
        verdict = await maker.authenticator().authenticate(PasswordCredential(name, ""), HERE)
        assert isinstance(verdict, Denial)
        assert verdict.reason is Reason.CREDENTIAL_WRONG
    assert len(maker.verified) == 2


async def test_a_verified_password_is_not_verified_again(maker: AuthenticatorMaker) -> None:
    authenticator = maker.authenticator()
    for _ in range(5):
        assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    assert len(maker.verified) == 1
    maker.now += 601
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    assert len(maker.verified) == 2


async def test_a_changed_password_and_a_removed_user_are_refused_at_once(
    maker: AuthenticatorMaker,
) -> None:
    authenticator = maker.authenticator()
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    before = maker.policy
    maker.policy = Policy(
        users={"dev": User("dev", frozenset(), passwords.hash_password("another"))}
    )
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Denial)
    maker.policy = Policy()
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Denial)
    maker.policy = before
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


async def test_groups_are_those_of_now_for_a_remembered_password_too(
    maker: AuthenticatorMaker,
) -> None:
    authenticator = maker.authenticator()
    await authenticator.authenticate(RIGHT, HERE)
    maker.policy = Policy(users={"dev": User("dev", frozenset({"leads"}), HASH)})
    verdict = await authenticator.authenticate(RIGHT, HERE)
    assert isinstance(verdict, Identity)
    assert verdict.groups == {"leads"}


async def test_line_29_nothing_shown_is_no_failure(maker: AuthenticatorMaker) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=1))
    for _ in range(20):
        verdict = await authenticator.authenticate(None, HERE)
        assert isinstance(verdict, Denial)
        assert verdict.reason is Reason.CREDENTIAL_MISSING
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


async def test_a_guesser_waits_and_nobody_else_does(maker: AuthenticatorMaker) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=2))
    for n in range(2):
        await authenticator.authenticate(guess(n), HERE)
    verdict = await authenticator.authenticate(WRONG, HERE)
    assert isinstance(verdict, Denial)
    assert verdict.reason is Reason.THROTTLED
    assert "wrong passwords for this name came from your address" in verdict.message
    assert "or use a token or key" in verdict.message
    assert verdict.retry_after_s == 1
    assert len(maker.verified) == 2
    assert isinstance(await authenticator.authenticate(RIGHT, ELSEWHERE), Identity)
    maker.now += 1
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


async def test_the_memory_of_right_passwords_is_no_oracle_for_a_throttled_guesser(
    maker: AuthenticatorMaker,
) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=2))
    await authenticator.authenticate(RIGHT, ELSEWHERE)
    for n in range(2):
        await authenticator.authenticate(guess(n), HERE)
    right = await authenticator.authenticate(RIGHT, HERE)
    assert right == await authenticator.authenticate(WRONG, HERE)


async def test_a_stale_token_neither_throttles_nor_is_throttled(maker: AuthenticatorMaker) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=1))
    good, gone = mint(), mint()
    maker.policy = Policy(
        users=maker.policy.users,
        tokens={good.id: TokenRecord(good.id, "dev", good.secret_hash)},
    )
    for _ in range(10):
        await authenticator.authenticate(PasswordCredential("dev", gone.text), HERE)
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    await authenticator.authenticate(WRONG, HERE)
    verdict = await authenticator.authenticate(PasswordCredential("dev", good.text), HERE)
    assert isinstance(verdict, Identity)


async def test_fifty_logins_at_once_cost_one_verification(maker: AuthenticatorMaker) -> None:
    authenticator = maker.authenticator()
    verdicts = await asyncio.gather(*(authenticator.authenticate(RIGHT, HERE) for _ in range(50)))
    assert all(isinstance(verdict, Identity) for verdict in verdicts)
    assert len(maker.verified) == 1


@pytest.fixture
def quick(maker: AuthenticatorMaker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Verifications that cost nothing, in their order; none begins before the function is called."""
    gate = threading.Event()

    def verify(password_hash: str, password: str) -> bool:
        assert gate.wait(BOUND_S)
        maker.verified.append(password_hash)
        return (password_hash, password) == (HASH, RIGHT.secret)

    monkeypatch.setattr(module.passwords, "verify", verify)
    return gate.set


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Verifications that all wait until the function is called."""
    gate = threading.Event()
    monkeypatch.setattr(module.passwords, "verify", lambda *_: not gate.wait(30))
    return gate.set


async def test_hanging_up_does_not_make_a_guess_uncounted(
    maker: AuthenticatorMaker, held: Callable[[], None]
) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=3))
    for n in range(3):
        task = asyncio.create_task(authenticator.authenticate(guess(n), HERE))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    verdict = await authenticator.authenticate(PasswordCredential("dev", "guess 4"), HERE)
    assert isinstance(verdict, Denial)
    assert verdict.reason is Reason.THROTTLED
    held()


async def test_a_flood_of_passwords_is_refused_beyond_a_bound(
    maker: AuthenticatorMaker, held: Callable[[], None]
) -> None:
    authenticator = maker.authenticator(
        VerifyLimits(threads=1, waiting=7, waiting_per_source=4),
        ThrottleLimits(free_tries=1000),
    )

    def start(n: int, source: Source) -> "asyncio.Task[Identity | Denial]":
        credential = PasswordCredential(f"user{n}", "x")
        return asyncio.create_task(authenticator.authenticate(credential, source))

    here = [start(n, HERE) for n in range(20)]
    refused = await done(here, 16)
    assert {v.reason for v in refused} == {Reason.THROTTLED}
    assert {v.message for v in refused} == {
        "4 passwords from your address are being verified; try again in 1 s, "
        "or use a token or key, which never has to wait"
    }
    # Another source still has room, until all is full. Then who has most makes room for who has less.
    there = [start(n, ELSEWHERE) for n in range(4)]
    third = asyncio.create_task(authenticator.authenticate(WRONG, Source.of("192.0.2.3", 1)))
    [last] = await done(there, 1)
    assert last.reason is Reason.OVERLOADED
    assert last.retry_after_s
    assert "7 passwords wait to be verified, and no address has more of them" in last.message
    held()
    verdicts = await asyncio.gather(*here, *there, third)
    assert len([v for v in verdicts if v.reason is Reason.CREDENTIAL_WRONG]) == 8  # type: ignore[union-attr]  # all are denials
    assert isinstance(await authenticator.authenticate(None, HERE), Denial)


async def done(tasks: "list[asyncio.Task[Identity | Denial]]", count: int) -> list[Denial]:
    """Return the verdicts of the first `count` of them that end."""
    async with asyncio.timeout(BOUND_S):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0)
    verdicts = [task.result() for task in tasks if task.done()]
    assert len(verdicts) == count
    return [v for v in verdicts if isinstance(v, Denial)]


async def test_guesses_for_made_up_names_from_five_sources_keep_nobody_out(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    """They fill the queue of 64; eight people whose first login it is come from eight other addresses."""
    authenticator = maker.authenticator()
    flood = [
        asyncio.create_task(
            authenticator.authenticate(guess(n, f"made-up{n}"), Source.of(f"203.0.113.{source}", 1))
        )
        for source in range(5)
        for n in range(16)
    ]
    await done(flood, 80 - 64 - 2)  # there is room for no more of them
    people = [
        asyncio.create_task(authenticator.authenticate(RIGHT, Source.of(f"192.0.2.{n}", 40000)))
        for n in range(8)
    ]
    await done(flood, 80 - 64 - 2 + 8)  # each has taken the place of one
    quick()
    verdicts = await asyncio.gather(*people)
    assert all(isinstance(verdict, Identity) for verdict in verdicts), verdicts
    await asyncio.gather(*flood)
    turn_of_last = max(n for n, verified in enumerate(maker.verified) if verified == HASH)
    assert turn_of_last < 2 + 5 + 8 + 2, "13 sources take turns, and two were verified already"


async def test_one_source_has_a_budget_of_wrong_passwords_for_all_names(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    quick()
    authenticator = maker.authenticator(VerifyLimits(failures=Rate(4, 3.0)))
    for n in range(4):
        await authenticator.authenticate(guess(n, f"made-up{n}"), HERE)
    verified = len(maker.verified)
    for credential in (guess(1, "another"), RIGHT):
        verdict = await authenticator.authenticate(credential, HERE)
        assert isinstance(verdict, Denial)
        assert (verdict.reason, verdict.retry_after_s) == (Reason.THROTTLED, 3)
        assert "for any names" in verdict.message
        assert "too many wrong passwords" in verdict.message
    assert len(maker.verified) == verified
    assert isinstance(await authenticator.authenticate(RIGHT, ELSEWHERE), Identity)
    maker.now += 3
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    for _ in range(20):
        maker.now += 601  # right passwords cost nothing of it
        assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


async def test_an_ipv6_48_has_the_budget_of_four_sources(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    """It has 65,536 sources, and filled the queue of passwords from 64 of them for as long as it liked."""
    quick()
    authenticator = maker.authenticator(VerifyLimits(failures=Rate(4, 3.0)))

    def source(number: int, site: int = 1) -> Source:
        return Source.of(f"2001:db8:{site}:{number:x}::1", 40000)

    for n in range(16):
        verdict = await authenticator.authenticate(guess(n, f"made-up{n}"), source(n))
        assert isinstance(verdict, Denial)
        assert verdict.reason is Reason.CREDENTIAL_WRONG
    verdict = await authenticator.authenticate(guess(16, "another"), source(16))
    assert isinstance(verdict, Denial)
    assert (verdict.reason, verdict.retry_after_s) == (Reason.THROTTLED, 1)
    assert "came from your network" in verdict.message
    assert isinstance(await authenticator.authenticate(RIGHT, source(1, 2)), Identity)
    maker.now += 0.75
    assert isinstance(await authenticator.authenticate(RIGHT, source(17)), Identity)


async def test_who_logged_in_a_moment_ago_is_not_kept_out_by_guesses_for_other_names(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    quick()
    authenticator = maker.authenticator(VerifyLimits(failures=Rate(4, 3.0)))
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)
    for n in range(8):
        await authenticator.authenticate(guess(n, f"made-up{n}"), HERE)
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


async def test_what_is_refused_for_want_of_room_is_no_free_guess_at_what_is_remembered(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    """A miss is refused at once and costs no argon2; a hit would be let in. So looks are counted."""
    quick()
    limits = VerifyLimits(failures=Rate(4, 3600.0))
    authenticator = maker.authenticator(limits, ThrottleLimits(free_tries=3))
    await authenticator.authenticate(RIGHT, ELSEWHERE)
    for n in range(4):
        await authenticator.authenticate(guess(n, f"made-up{n}"), HERE)
    for n in range(3):
        await authenticator.authenticate(guess(n), HERE)
    right = await authenticator.authenticate(RIGHT, HERE)
    assert right == await authenticator.authenticate(guess(9), HERE)
    assert right == await authenticator.authenticate(guess(9, "made-up"), HERE), "nor of names"
    assert isinstance(await authenticator.authenticate(RIGHT, ELSEWHERE), Identity)


async def test_a_forgotten_job_with_an_old_password_locks_nobody_out(
    maker: AuthenticatorMaker, quick: Callable[[], None]
) -> None:
    quick()
    authenticator = maker.authenticator()
    for _ in range(20):
        await authenticator.authenticate(WRONG, HERE)
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity)


def test_hashes_are_argon2id_and_salted(real_hash: str) -> None:
    assert real_hash.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert passwords.hash_password("open sesame") != real_hash


def test_a_damaged_hash_lets_nobody_in(real_hash: str) -> None:
    for damaged in ("", "open sesame", real_hash[:-5], "$argon2id$v=19$"):
        assert not passwords.verify(damaged, "open sesame")


def test_the_dummy_hash_is_well_formed_and_matches_nothing_likely(real_hash: str) -> None:
    parameters = real_hash.rsplit("$", 2)[0]
    assert passwords.make_dummy_hash().startswith(f"{parameters}$")
    assert not passwords.verify(passwords.make_dummy_hash(), "")


async def test_while_the_store_is_away_nobody_is_told_that_his_credential_is_wrong(
    maker: AuthenticatorMaker,
) -> None:
    authenticator = maker.authenticator(throttle=ThrottleLimits(free_tries=1, longest_wait_s=300))
    kept, maker.policy = maker.policy, Policy(is_unavailable=True)
    for credential in (RIGHT, WRONG, PasswordCredential("dev", mint().text), None):
        denial = await authenticator.authenticate(credential, HERE)
        assert isinstance(denial, Denial)
        assert (denial.reason, denial.retry_after_s) == (Reason.AUDIT_UNAVAILABLE, 5)
        assert "cannot read its policy" in denial.message
    maker.policy = kept
    assert isinstance(await authenticator.authenticate(RIGHT, HERE), Identity), "no try counted"


async def test_the_secrets_of_logins_cannot_be_tried_without_end(maker: AuthenticatorMaker) -> None:
    """Each costs the store a question. A right one costs nothing, and is its own user's alone."""
    asked: list[str] = []
    login = KeyLogin(
        id=hash_secret("sgl_right"),
        name="dev",
        method=Method.SSO,
        credential_id="Company",
        expires_at=5000.0,
        latest_end=5000.0,
        key_fingerprint="SHA256:abc",
        public_key="ssh-ed25519 AAAA",
    )

    async def find(secret: str) -> KeyLogin | None:
        asked.append(secret)
        return login if secret == "sgl_right" else None

    made = Authenticator(
        lambda: maker.policy,
        lambda: maker.now,
        limits=VerifyLimits(failures=Rate(3, 3.0)),
        find_login=find,
    )
    maker.made.append(made)
    right = PasswordCredential("dev", "sgl_right")
    for _ in range(9):
        verdict = await made.authenticate(right, HERE)
        assert isinstance(verdict, Identity)
        assert verdict.sign_in == login.sign_in
    assert isinstance(await made.authenticate(TokenCredential("sgl_right"), HERE), Identity)
    for wrong in (PasswordCredential("other", "sgl_right"), *[TokenCredential("sgl_no")] * 2):
        verdict = await made.authenticate(wrong, HERE)
        assert isinstance(verdict, Denial)
        assert verdict.reason is Reason.CREDENTIAL_WRONG
    before = len(asked)
    verdict = await made.authenticate(TokenCredential("sgl_no"), HERE)
    assert isinstance(verdict, Denial)
    assert verdict.reason is Reason.THROTTLED
    assert len(asked) == before
    assert isinstance(await made.authenticate(right, ELSEWHERE), Identity)
    maker.policy = Policy(
        users=maker.policy.users,
        signed_out={login.id: "laptop stolen"},
    )
    over = await made.authenticate(right, ELSEWHERE)
    assert isinstance(over, Denial)
    assert over.message == "laptop stolen"
    identity = Identity("dev", frozenset(), Method.SSO, "Company", sign_in=login.sign_in)
    left = made.check_still_valid(right, identity)
    assert left is not None
    assert left.message == "laptop stolen"


async def test_a_connection_ends_with_the_password_or_token_that_opened_it(
    maker: AuthenticatorMaker,
) -> None:
    fresh = mint()
    record = TokenRecord(fresh.id, "dev", fresh.secret_hash, expires_at=2000.0)
    maker.policy = Policy(users=maker.policy.users, tokens={fresh.id: record})
    made = maker.authenticator()
    by_token = PasswordCredential("dev", fresh.text)
    identities = [await made.authenticate(shown, HERE) for shown in (RIGHT, by_token)]
    password, token = [shown for shown in identities if isinstance(shown, Identity)]
    assert made.check_still_valid(RIGHT, password) is None
    assert made.check_still_valid(by_token, token) is None
    maker.now = 2000.0
    assert isinstance(made.check_still_valid(by_token, token), Denial)
    maker.policy = Policy(users={"dev": User("dev", password_hash="a new one")})
    denial = made.check_still_valid(RIGHT, password)
    assert denial is not None
    assert denial.message == "the password of 'dev' was changed"
