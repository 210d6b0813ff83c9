"""Changes of a person's own credentials: none of another's, none without leave, and so many."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stagedoor.admin import service as admin
from stagedoor.admin.context import WorkerContext
from stagedoor.authn.passwords import verify
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.keys.signing import Signature, encode_signed, format_signature, sign
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate, SourceRates
from stagedoor.settings.accounts import AccountSettings, StepUpSettings
from stagedoor.settings.settings import Settings
from stagedoor.signin.credentials import MAX_TOKENS, AccountState, CredentialService, NewToken
from stagedoor.signin.key_proof import NAMESPACE, make_line_to_sign
from stagedoor.signin.passes import PassService
from stagedoor.store import policy as stored
from stagedoor.store.database import Database, open_database
from stagedoor.store.journal import Filter, read_entries
from tests.fixtures.people import log_in
from tests.ssh.test_credentials import TOUCHED, VERIFIED, SecurityKey

ALL = AccountSettings(self_service=("password", "tokens", "keys"))
HOST = "gw.example:8443"
OLD, NEW = "the old password", "the new password"


def signed(key: Ed25519PrivateKey, line: str, end: str = "\n") -> str:
    return sign(key, line + end, NAMESPACE)[0]


class Desk:
    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.context = WorkerContext(
            settings, database, self.policy, allowance=SourceRates(Rate(1000, 1.0))
        )
        self.revoked: dict[str, Denial] = {}
        self.service = self.made(ALL)

    def made(self, accounts: AccountSettings) -> CredentialService:
        settings = Settings(data_dir=self.settings.data_dir, accounts=accounts)
        return CredentialService(replace(self.context, settings=settings), self.revoked.get)

    def policy(self) -> Policy:
        return stored.load_policy(self.database)

    def person(self, name: str) -> Identity:
        user = self.policy().users[name]
        return Identity(
            name,
            user.groups,
            Method.PASSWORD,
            password_hash=user.password_hash,
            sign_in=SignIn(name.encode().ljust(32), 0),
        )

    async def add_key(
        self,
        name: str,
        key: Ed25519PrivateKey,
        *,
        by: CredentialService | None = None,
        who: Identity | None = None,
    ) -> Denial | None:
        who = who or self.person(name)
        shown = signed(key, make_line_to_sign(who, HOST))
        return await (by or self.service).add_key(who, HOST, shown, "laptop", proved=False)

    async def read_account(self, name: str) -> AccountState:
        held = await self.service.read_account(self.person(name))
        assert isinstance(held, AccountState)
        return held


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    settings = Settings(data_dir=tmp_path)
    with admin.open_service(settings) as service:
        admin.add_user(service, "ann", password=OLD)
        admin.add_user(service, "bob")
        admin.add_grant(service, "user:ann", "app01")
        database = open_database(settings.store_location)
        yield Desk(settings, database)
        database.close()


# Whatever belongs to another user.


async def test_nobody_revokes_the_token_or_removes_the_key_of_another(desk: Desk) -> None:
    held = make_key()
    with admin.open_service(desk.settings) as service:
        token = admin.create_token(service, "bob")
        [key] = admin.add_keys(service, "bob", [format_public_line(held)])
    ann = desk.person("ann")
    for denial in (
        await desk.service.revoke_token(ann, token.id),
        # `stagedoor token revoke` takes the whole token too; here an id is asked for.
        await desk.service.revoke_token(ann, token.text),
        await desk.service.remove_key(ann, key.fingerprint),
        await desk.add_key("ann", held),
    ):
        assert denial is not None
        assert "bob" not in denial.message
    assert token.id in desk.policy().tokens
    assert desk.policy().keys[key.fingerprint].user == "bob"


async def test_nobody_registers_the_key_of_anothers_sign_in(desk: Desk) -> None:
    """Not even if both hold it: `ssh app01@gateway` must not lead to another's account."""
    key = make_key()
    with admin.open_service(desk.settings) as service:
        log_in(service, "bob", format_public_line(key), 3600)
    refused = await desk.add_key("ann", key)
    assert isinstance(refused, Denial)
    assert "bob" not in refused.message
    assert (await desk.read_account("ann")).keys == []
    assert await desk.add_key("bob", key) is None


async def test_a_revoked_key_is_not_added(desk: Desk) -> None:
    key = make_key()
    desk.revoked[" ".join(format_public_line(key).split()[:2])] = Denial(
        Reason.CREDENTIAL_WRONG, "the key was revoked (ssh.revoked_keys_file)"
    )
    refused = await desk.add_key("ann", key)
    assert isinstance(refused, Denial)
    assert "was revoked" in refused.message
    assert (await desk.read_account("ann")).keys == []
    assert await desk.add_key("ann", make_key()) is None


@pytest.mark.parametrize("targets", [(), ("*.production",)])
async def test_a_stolen_cookie_adds_no_security_key(desk: Desk, targets: tuple[str, ...]) -> None:
    """Software can emulate one that claims to have asked for a PIN.

    Without `step_up.targets` too: such a key also proves presence for request rules with `--step-up` and for
    break-glass.
    """
    key, ann = SecurityKey(), desk.person("ann")
    line = f"{make_line_to_sign(ann, HOST)}\n".encode()
    raw = key.sign(encode_signed(line, NAMESPACE), TOUCHED | VERIFIED)
    shown = format_signature(Signature(key.blob, NAMESPACE, raw))
    settings = Settings(
        data_dir=desk.settings.data_dir, accounts=ALL, step_up=StepUpSettings(targets=targets)
    )
    service = CredentialService(replace(desk.context, settings=settings), desk.revoked.get)
    refused = await service.add_key(ann, HOST, shown, "", proved=False)
    assert isinstance(refused, Denial)
    assert "confirm it now" in refused.message
    assert (await desk.read_account("ann")).keys == []
    assert await service.add_key(ann, HOST, shown, "", proved=True) is None


async def test_nobody_registers_a_key_that_they_do_not_hold(desk: Desk) -> None:
    """A public key is public, and a signature may be seen: it is for one person, gateway and sign-in."""
    key, ann, bob = make_key(), desk.person("ann"), desk.person("bob")
    elsewhere = replace(ann, sign_in=SignIn(b"x" * 32, 0))
    right = make_line_to_sign(ann, HOST)
    for shown in (
        "",
        format_public_line(key),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n-----END OPENSSH PRIVATE KEY-----",
        signed(key, make_line_to_sign(bob, HOST)),
        signed(key, make_line_to_sign(ann, "other.example")),
        signed(key, make_line_to_sign(elsewhere, HOST)),
        sign(key, f"{right}\n", "login@stagedoor")[0],
        signed(key, right)[:-40],
    ):
        denial = await desk.service.add_key(ann, HOST, shown, "", proved=False)
        assert isinstance(denial, Denial)
        assert "xyz" not in denial.message
    signature = signed(key, right)
    refusal = await desk.service.add_key(
        replace(ann, sign_in=None), HOST, signature, "", proved=False
    )
    assert isinstance(refusal, Denial)
    assert not desk.policy().keys
    signature = signed(key, right, " \r\n")
    assert await desk.service.add_key(ann, HOST, signature, "my\nkey", proved=False) is None
    assert [listed_key.comment for listed_key in desk.policy().keys.values()] == ["my key"]


async def test_nobody_ends_the_sign_in_of_another(desk: Desk) -> None:
    passes = PassService(desk.context, lambda v: v())
    secrets = {
        name: [str(await passes.open_session(desk.person(name))) for _ in range(3)]
        for name in ("ann", "bob")
    }
    [*_, theirs] = (await desk.read_account("bob")).sign_ins
    ann = desk.person("ann")
    assert isinstance(await desk.service.end_sign_ins(ann, theirs.id), Denial)
    for wanted in ("", "*", theirs.id[:12], "other"):
        assert isinstance(await desk.service.end_sign_ins(ann, wanted), Denial)
    own = await passes.check_session(secrets["ann"][0])
    assert isinstance(own, Identity)
    held = await desk.service.read_account(own)
    assert isinstance(held, AccountState)
    assert held.sign_in in {held_sign_in.id for held_sign_in in held.sign_ins}
    assert await desk.service.end_sign_ins(own, "others") == 2
    lasting = [await passes.check_session(held_secret) for held_secret in secrets["ann"]]
    assert [isinstance(answer, Identity) for answer in lasting] == [True, False, False]
    assert len((await desk.read_account("bob")).sign_ins) == 3


# What the settings do not allow.


async def test_without_leave_nothing_is_added_and_all_can_be_taken_away(desk: Desk) -> None:
    with admin.open_service(desk.settings) as service:
        token = admin.create_token(service, "ann")
        [key] = admin.add_keys(service, "ann", [format_public_line(make_key())])
    nothing = desk.made(AccountSettings(self_service=()))
    ann = desk.person("ann")
    for what, denial in (
        ("keys", await desk.add_key("ann", make_key(), by=nothing)),
        ("tokens", await nothing.add_token(ann, [], 1)),
        ("password", await nothing.set_password(ann, NEW)),
    ):
        assert isinstance(denial, Denial)
        assert denial.reason is Reason.NO_GRANT
        assert f'"{what}" in accounts.self_service' in denial.message
    assert await nothing.revoke_token(ann, token.id) is None
    assert await nothing.remove_key(ann, key.fingerprint) is None
    assert await nothing.end_sign_ins(ann, "others") == 0


async def test_tokens_are_not_made_unless_the_settings_say_so(desk: Desk) -> None:
    denial = await desk.made(AccountSettings()).add_token(desk.person("ann"), [], 1)
    assert isinstance(denial, Denial)


# Tokens.


@pytest.mark.parametrize("days", [0, -1, 91, float("nan"), float("inf"), 1e-12])
async def test_a_token_ends(desk: Desk, days: float) -> None:
    assert isinstance(await desk.service.add_token(desk.person("ann"), [], days), Denial)
    assert not desk.policy().tokens


@pytest.mark.parametrize("apps", [["app02"], ["*"], ["app01", "app*"], [""]])
async def test_a_token_is_no_wider_than_the_grants(desk: Desk, apps: list[str]) -> None:
    assert isinstance(await desk.service.add_token(desk.person("ann"), apps, 1), Denial)
    assert not desk.policy().tokens


async def test_a_token_is_made_listed_and_revoked(desk: Desk) -> None:
    ann = desk.person("ann")
    made = await desk.service.add_token(ann, ["app01"], 90)
    assert isinstance(made, NewToken)
    assert made.text not in repr(made)
    record = desk.policy().tokens[made.id]
    assert (record.user, record.scopes) == ("ann", ("connect:app01",))
    assert record.expires_at == made.expires_at
    [listed] = (await desk.read_account("ann")).tokens
    assert (listed.id, listed.scopes) == (made.id, record.scopes)
    assert await desk.service.revoke_token(ann, made.id) is None
    assert not desk.policy().tokens
    everything = await desk.service.add_token(ann, [], 1)
    assert isinstance(everything, NewToken)
    assert desk.policy().tokens[everything.id].scopes is None, "judged by the grants at each use"


async def test_their_number_is_bounded(desk: Desk) -> None:
    with admin.open_service(desk.settings) as service:
        for _ in range(MAX_TOKENS):
            admin.create_token(service, "ann")
    denial = await desk.service.add_token(desk.person("ann"), [], 1)
    assert isinstance(denial, Denial)
    assert "remove one first" in denial.message


# The password.


async def test_a_new_password_is_what_an_administrator_would_take(desk: Desk) -> None:
    ann = desk.person("ann")
    for password in ("short", "a" * 1025, "with\ncontrol", "sdt_aaaaaaaaaa_" + "a" * 43):
        denial = await desk.service.set_password(ann, password)
        assert isinstance(denial, Denial)
        assert password not in denial.message
    changed = await desk.service.set_password(ann, NEW)
    assert isinstance(changed, Identity)
    assert changed.method is Method.PASSWORD
    assert changed.password_hash == desk.policy().users["ann"].password_hash
    assert verify(changed.password_hash or "", NEW)


async def test_a_sign_in_of_an_old_password_or_a_revoked_token_is_not_listed(desk: Desk) -> None:
    passes = PassService(desk.context, lambda v: v())
    with admin.open_service(desk.settings) as service:
        token = admin.create_token(service, "ann")
    by_token = Identity("ann", frozenset(), Method.TOKEN, token.id)
    for identity in (desk.person("ann"), by_token):
        await passes.open_session(identity)
    assert [
        held_sign_in.sign_in.method for held_sign_in in (await desk.read_account("ann")).sign_ins
    ] == [
        "password",
        "token",
    ]
    changed = await desk.service.set_password(desk.person("ann"), NEW)
    assert isinstance(changed, Identity)
    assert [
        held_sign_in.sign_in.method for held_sign_in in (await desk.read_account("ann")).sign_ins
    ] == ["token"]
    await desk.service.revoke_token(changed, token.id)
    await passes.open_session(changed)
    assert [
        held_sign_in.sign_in.method for held_sign_in in (await desk.read_account("ann")).sign_ins
    ] == ["password"]


async def test_an_administrator_who_was_faster_is_not_overruled(desk: Desk) -> None:
    proved = desk.person("ann")
    with admin.open_service(desk.settings) as service:
        admin.set_password(service, "ann", "by the administrator")
    assert isinstance(await desk.service.set_password(proved, NEW), Denial)
    assert verify(desk.policy().users["ann"].password_hash or "", "by the administrator")


# A user who is gone.


async def test_a_removed_user_adds_nothing(desk: Desk) -> None:
    ann = desk.person("ann")
    before = desk.policy()
    with admin.open_service(desk.settings) as service:
        admin.remove_user(service, "ann")
    # A worker whose policy is half a second old.
    settings = Settings(data_dir=desk.settings.data_dir, accounts=ALL)
    context = replace(desk.context, settings=settings, policy=lambda: before)
    late = CredentialService(context, lambda line: None)
    for denial in (
        await late.read_account(ann),
        await late.add_token(ann, [], 1),
        await desk.add_key("ann", make_key(), by=late, who=ann),
        await late.set_password(ann, NEW),
        await late.revoke_token(ann, "x"),
    ):
        assert isinstance(denial, Denial)
    assert not desk.policy().tokens
    assert not desk.policy().keys


async def test_each_change_is_audited_in_the_name_of_the_person(desk: Desk) -> None:
    ann = desk.person("ann")
    made = await desk.service.add_token(ann, [], 1)
    assert isinstance(made, NewToken)
    await desk.service.revoke_token(ann, made.id)
    await desk.add_key("ann", make_key())
    await desk.service.set_password(replace(ann, sign_in=SignIn(b"x" * 32, 0)), NEW)
    entries = read_entries(desk.database, Filter(identity="ann (web)"))
    actions = [entry.event.fields["action"] for entry in entries]
    assert actions == ["token.create", "token.revoke", "key.add", "user.password"]
    assert made.text.split(f"{made.id}_")[1] not in repr(entries)
    assert NEW not in repr(entries)
