"""Passkeys over a real store: whose answer counts, for what, and once."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.passkeys import CLONED, NOT_RIGHT
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import CHALLENGE_S, PasskeyRecord, RelyingParty
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.model.source import Source
from stagedoor.settings.accounts import AccountSettings
from stagedoor.settings.settings import Settings
from stagedoor.signin import passkey_challenges as challenges
from stagedoor.signin.passkey_checks import PasskeyChecks
from stagedoor.signin.passkeys import PasskeyRegistry, remove_passkey
from stagedoor.store import policy as stored
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import read_entries
from stagedoor.store.sign_in.tables import passkey_challenges
from tests.authn.authenticator import Authenticator
from tests.fixtures.people import open_session, sign_in

ORIGIN = "https://gw.example"
RP = RelyingParty("gw.example", ORIGIN)


class Desk:
    """`now` moves by hand."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.now = time.time()
        self.context = WorkerContext(
            settings,
            database,
            self.policy,
            lambda: self.now,
            allowance=SourceRates(Rate(1000, 1.0)),
        )
        self.service = PasskeyRegistry(self.context)
        self.proofs = PasskeyChecks(self.context)

    def policy(self) -> Policy:
        return stored.load_policy(self.database)

    def signed_in(self, name: str) -> Identity:
        """In another browser each time."""
        plain = Identity(name, frozenset(), Method.PASSWORD)
        return sign_in(self.database, plain, self.now)

    async def with_passkey(self, identity: Identity) -> Authenticator:
        authenticator = Authenticator(ORIGIN)
        made = await self.add(identity, authenticator)
        assert isinstance(made, PasskeyRecord)
        return authenticator

    async def add(self, identity: Identity, authenticator: Authenticator) -> PasskeyRecord | Denial:
        options = await self.service.begin_registration(identity, RP, proved=True)
        if isinstance(options, Denial):
            return options
        answer = authenticator.create(options)
        return await self.service.finish_registration(identity, RP, "laptop", answer)

    async def asked(self, identity: Identity) -> dict[str, Any]:
        options = await self.proofs.begin_step_up(identity, RP)
        assert not isinstance(options, Denial)
        return dict(options)

    async def proves(self, identity: Identity, answer: dict[str, Any]) -> bool:
        denial = await self.proofs.finish_step_up(identity, RP, answer)
        assert denial is None or denial.message in (NOT_RIGHT.message, CLONED.message)
        return denial is None

    async def listed(self, identity: Identity) -> list[PasskeyRecord]:
        passkeys = await self.service.list_own(identity)
        assert not isinstance(passkeys, Denial)
        return passkeys

    def actions(self) -> list[str]:
        events = [entry.event for entry in read_entries(self.database)]
        return [str(event.fields["action"]) for event in events if "action" in event.fields]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = Settings(data_dir=tmp_path)
    with admin.open_service(settings) as service:
        admin.add_user(service, "ann")
        admin.add_user(service, "bob")
        database = open_database(settings.store_location)
        yield Desk(settings, database)
        database.close()


# Attacks.


@pytest.mark.identity(35)
async def test_an_answer_counts_once(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    answer = authenticator.get(await desk.asked(ann))
    assert await desk.proves(ann, answer)
    assert not await desk.proves(ann, answer), "replayed"
    assert ann.sign_in is not None
    assert desk.policy().stepped_up == {ann.sign_in.id: desk.now}


async def test_an_authenticator_that_does_not_count_cannot_be_replayed_either(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = Authenticator(ORIGIN, count=0)
    assert isinstance(await desk.add(ann, authenticator), PasskeyRecord)
    answer = authenticator.get(await desk.asked(ann))
    assert await desk.proves(ann, answer)
    assert not await desk.proves(ann, answer)


@pytest.mark.identity(35)
async def test_the_answer_of_one_sign_in_is_worth_nothing_to_another(desk: Desk) -> None:
    """The thief of a cookie has the victim answer a challenge of theirs, or takes the victim's answer."""
    victim, thief = desk.signed_in("ann"), desk.signed_in("ann")
    authenticator = await desk.with_passkey(victim)
    assert not await desk.proves(victim, authenticator.get(await desk.asked(thief)))
    assert not await desk.proves(thief, authenticator.get(await desk.asked(victim)))
    assert desk.policy().stepped_up == {}


async def test_another_users_passkey_proves_nothing(desk: Desk) -> None:
    ann, bob = desk.signed_in("ann"), desk.signed_in("bob")
    await desk.with_passkey(ann)
    bobs = await desk.with_passkey(bob)
    assert not await desk.proves(ann, bobs.get(await desk.asked(ann)))
    assert not await desk.proves(ann, bobs.get(await desk.asked(bob)))
    assert desk.policy().stepped_up == {}


async def test_a_challenge_for_one_thing_is_worth_nothing_for_another(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    options = await desk.service.begin_registration(ann, RP, proved=True)
    assert not isinstance(options, Denial)
    authenticator = await desk.with_passkey(ann)
    challenge = options["publicKey"]["challenge"]
    lie = {"publicKey": {"challenge": challenge, "rpId": RP.id}}
    assert not await desk.proves(ann, authenticator.get(lie))


async def test_a_late_answer_is_refused(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    answer = authenticator.get(await desk.asked(ann))
    desk.now += CHALLENGE_S
    assert not await desk.proves(ann, answer)


async def test_a_copy_is_refused_and_written_down(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    copied_at = authenticator.count
    assert await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    authenticator.count = copied_at
    denial = await desk.proofs.finish_step_up(ann, RP, authenticator.get(await desk.asked(ann)))
    assert denial == CLONED
    assert desk.actions()[-1] == "passkey.cloned"


async def test_an_answer_that_is_shown_again_tells_of_no_copy(desk: Desk) -> None:
    """Its counter is an old one too: a browser that asks twice, or a thief, would raise false alarms."""
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    answer = authenticator.get(await desk.asked(ann))
    assert await desk.proves(ann, answer)
    authenticator.count -= 1
    copied = authenticator.get(await desk.asked(ann))
    for shown in (answer, answer, copied, copied, copied):
        assert not await desk.proves(ann, shown)
    assert desk.actions().count("passkey.cloned") == 1


async def test_a_stolen_cookie_adds_no_passkey(desk: Desk) -> None:
    """Else a thief with it could step up by a passkey of their own."""
    ann = desk.signed_in("ann")
    refused = await desk.service.begin_registration(ann, RP, proved=False)
    assert isinstance(refused, Denial)
    assert "confirm your identity first" in refused.message
    authenticator = await desk.with_passkey(ann)
    assert await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    assert not isinstance(await desk.service.begin_registration(ann, RP, proved=False), Denial), (
        "proved by another passkey"
    )
    other = await desk.service.begin_registration(desk.signed_in("ann"), RP, proved=False)
    assert isinstance(other, Denial)
    desk.now += desk.settings.step_up.fresh_s
    assert isinstance(await desk.service.begin_registration(ann, RP, proved=False), Denial)


async def test_beside_a_passkey_the_password_alone_adds_none_and_removes_not_the_last(
    desk: Desk,
) -> None:
    """Else a passkey would prove no more than a password."""
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    thief = desk.signed_in("ann")
    refused = await desk.service.begin_registration(thief, RP, proved=True)
    assert isinstance(refused, Denial)
    assert "other than a password" in refused.line
    [passkey] = await desk.listed(ann)
    denial = await desk.service.remove(thief, passkey.id)
    assert denial is not None
    assert "ask an administrator" in denial.line
    assert await desk.listed(ann) == [passkey]
    assert await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    assert isinstance(await desk.add(ann, Authenticator(ORIGIN)), PasskeyRecord)
    assert await desk.service.remove(thief, passkey.id) is None, "a lost laptop's, of two"


async def test_an_attestation_cannot_be_registered_by_another_or_twice(desk: Desk) -> None:
    ann, bob = desk.signed_in("ann"), desk.signed_in("bob")
    options = await desk.service.begin_registration(ann, RP, proved=True)
    assert not isinstance(options, Denial)
    answer = Authenticator(ORIGIN).create(options)
    assert isinstance(await desk.service.finish_registration(bob, RP, "x", answer), Denial)
    assert isinstance(await desk.service.finish_registration(ann, RP, "x", answer), PasskeyRecord)
    assert isinstance(await desk.service.finish_registration(ann, RP, "x", answer), Denial)
    assert await desk.service.list_own(bob) == []


@pytest.mark.parametrize(
    "identity",
    [
        Identity("ann", frozenset(), Method.TOKEN, "t1"),
        Identity("ann", frozenset(), Method.PASSWORD),
        Identity("ann", frozenset(), Method.PASSWORD, scopes=("connect:app01",)),
    ],
    ids=["token", "no sign-in", "one app"],
)
async def test_who_is_no_person_with_a_sign_in_gets_no_challenge(
    desk: Desk, identity: Identity
) -> None:
    ann = desk.signed_in("ann")
    await desk.with_passkey(ann)
    limited = replace(identity, sign_in=ann.sign_in if identity.method is Method.TOKEN else None)
    if identity.scopes is not None:
        limited = replace(limited, sign_in=ann.sign_in)
    for refused in (
        await desk.service.begin_registration(limited, RP, proved=True),
        await desk.proofs.begin_step_up(limited, RP),
    ):
        assert isinstance(refused, Denial)
        assert refused.reason is Reason.NO_GRANT


async def test_nobody_removes_anothers_passkey(desk: Desk) -> None:
    ann, bob = desk.signed_in("ann"), desk.signed_in("bob")
    authenticator = await desk.with_passkey(ann)
    assert await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    [passkey] = await desk.listed(ann)
    denial = await desk.service.remove(bob, passkey.id)
    assert denial is not None
    assert "ann" not in denial.message
    assert await desk.listed(ann) == [passkey]
    assert await desk.service.remove(ann, passkey.id) is None
    assert await desk.listed(ann) == []


# What it is for.


async def test_what_is_done_is_in_the_audit_and_nothing_secret_is(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    with admin.open_service(desk.settings) as service:
        made = await desk.service.list_own(ann)
        assert not isinstance(made, Denial)
        assert made[0].name == "laptop"
        assert made[0].used_at == desk.now
        assert remove_passkey(service, made[0].id) == made[0]
        with pytest.raises(NotFoundError, match="there is no passkey"):
            remove_passkey(service, made[0].id)
    assert desk.actions()[-3:] == ["passkey.add", "step-up", "passkey.remove"]
    kept = [dict(entry.event.fields) for entry in read_entries(desk.database)]
    assert authenticator.credential_id.hex() not in json.dumps(kept)


async def test_it_is_the_administrators_to_allow(desk: Desk) -> None:
    settings = Settings(data_dir=desk.settings.data_dir, accounts=AccountSettings(self_service=()))
    refused = await PasskeyRegistry(replace(desk.context, settings=settings)).begin_registration(
        desk.signed_in("ann"), RP, proved=True
    )
    assert isinstance(refused, Denial)
    assert "accounts.self_service" in refused.message


async def test_who_has_none_for_this_name_is_told_where_to_add_one(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    await desk.with_passkey(ann)
    refused = await desk.proofs.begin_step_up(
        ann, RelyingParty("other.example", "https://other.example")
    )
    assert isinstance(refused, Denial)
    assert "add one on your account's page" in refused.message


# A sign-in by itself.

SOURCE = Source.of("192.0.2.1", 40000)


async def signs_in(desk: Desk, authenticator: Authenticator) -> Identity | Denial:
    options = await desk.proofs.begin_sign_in(RP, SOURCE)
    assert not isinstance(options, Denial)
    assert "allowCredentials" not in options["publicKey"], "it tells nobody's"
    return await desk.proofs.finish_sign_in(RP, authenticator.get(options), SOURCE)


@pytest.mark.identity(36)
async def test_a_passkey_signs_in_for_the_password_that_its_person_has(desk: Desk) -> None:
    ann, bob = desk.signed_in("ann"), desk.signed_in("bob")
    anns, bobs = await desk.with_passkey(ann), await desk.with_passkey(bob)
    with admin.open_service(desk.settings) as service:
        admin.set_password(service, "ann", "a password")
    result = await signs_in(desk, anns)
    assert isinstance(result, Identity)
    assert (result.name, result.method, result.is_person) == ("ann", Method.PASSWORD, True)
    assert result.password_hash == desk.policy().users["ann"].password_hash
    # Who signs in at an identity provider is not let past it.
    refused = await signs_in(desk, bobs)
    assert isinstance(refused, Denial)
    assert "bob has none" in refused.message


async def test_the_answer_to_a_sign_in_counts_once_and_for_nothing_else(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    with admin.open_service(desk.settings) as service:
        admin.set_password(service, "ann", "a password")
    options = await desk.proofs.begin_sign_in(RP, SOURCE)
    assert not isinstance(options, Denial)
    answer = authenticator.get(options)
    assert not await desk.proves(ann, answer), "for a step-up"
    assert isinstance(await desk.proofs.finish_sign_in(RP, answer, SOURCE), Identity)
    assert isinstance(await desk.proofs.finish_sign_in(RP, answer, SOURCE), Denial), "replayed"
    for_step_up = authenticator.get(await desk.asked(ann))
    assert isinstance(await desk.proofs.finish_sign_in(RP, for_step_up, SOURCE), Denial)
    stranger = Authenticator(ORIGIN)
    assert isinstance(await signs_in(desk, stranger), Denial)


async def test_what_a_passkey_opened_ends_with_it(desk: Desk) -> None:
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    with admin.open_service(desk.settings) as service:
        admin.set_password(service, "ann", "a password")
    result = await signs_in(desk, authenticator)
    assert isinstance(result, Identity)
    _, opened = open_session(desk.database, result, desk.now)
    assert desk.policy().explain_sign_in_end("ann", opened.sign_in, desk.now) is None
    [passkey] = await desk.listed(ann)
    assert await desk.proves(ann, authenticator.get(await desk.asked(ann)))
    assert await desk.service.remove(ann, passkey.id) is None
    assert desk.policy().explain_sign_in_end("ann", opened.sign_in, desk.now) is not None
    assert ann.sign_in is not None
    assert desk.policy().explain_sign_in_end("ann", ann.sign_in, desk.now) is None, "and no other"


async def test_strangers_take_no_room_from_those_who_are_in(desk: Desk) -> None:
    answers = [await desk.proofs.begin_sign_in(RP, SOURCE) for _ in range(25)]
    assert [isinstance(answer, Denial) for answer in answers] == [False] * 20 + [True] * 5
    assert isinstance(answers[-1], Denial)
    assert answers[-1].reason is Reason.THROTTLED
    ann = desk.signed_in("ann")
    assert isinstance(await desk.add(ann, Authenticator(ORIGIN)), PasskeyRecord)


async def test_strangers_keep_nobody_from_signing_in_by_a_passkey(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 addresses filled all places for five minutes."""
    monkeypatch.setattr(challenges, "MAX_STRANGERS", 30)
    ann = desk.signed_in("ann")
    authenticator = await desk.with_passkey(ann)
    with admin.open_service(desk.settings) as service:
        admin.set_password(service, "ann", "a password")

    async def flood(site: int) -> None:
        for number in range(10):
            desk.now += 0.01
            asked = await desk.proofs.begin_sign_in(RP, Source.of(f"192.0.2.{100 + site}", number))
            assert not isinstance(asked, Denial)

    for site in range(3):
        await flood(site)
    options = await desk.proofs.begin_sign_in(RP, SOURCE)
    assert not isinstance(options, Denial)
    answer = authenticator.get(options)
    for site in range(3, 5):
        await flood(site)
    assert isinstance(await desk.proofs.finish_sign_in(RP, answer, SOURCE), Identity)
    with desk.database.read() as transaction:
        [kept] = transaction.execute(select(func.count()).select_from(passkey_challenges)).one()
    assert kept == 29


async def test_an_ipv6_48_is_no_more_than_one_site(desk: Desk) -> None:
    answers = [
        await desk.proofs.begin_sign_in(RP, Source.of(f"2001:db8:1:{number:x}::1", 1))
        for number in range(120)
    ]
    assert [isinstance(answer, Denial) for answer in answers] == [False] * 80 + [True] * 40
    assert isinstance(answers[-1], Denial)
    assert "come from your network; try again in 2 s" in answers[-1].message
