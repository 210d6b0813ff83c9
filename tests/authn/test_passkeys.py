"""What a browser answers about passkeys: each lie is refused, in the same words."""

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.authn.passkeys import (
    CLONED,
    NOT_RIGHT,
    NewPasskey,
    hash_user,
    make_assertion_options,
    make_registration_options,
    read_assertion,
    read_challenge,
    read_passkey_id,
    read_registration,
)
from stagedoor.model.passkey import PasskeyRecord, RelyingParty
from stagedoor.model.units import MIB
from tests.authn.authenticator import PRESENT, VERIFIED, Authenticator, to_bytes, to_text

ORIGIN = "https://gw.example"
RP = RelyingParty("gw.example", ORIGIN)
CHALLENGE, ANOTHER = b"c" * 32, b"d" * 32


def registered(authenticator: Authenticator) -> PasskeyRecord:
    answer = authenticator.create(make_registration_options(RP, "dev", [], CHALLENGE))
    made = read_registration(RP, CHALLENGE, answer)
    assert isinstance(made, NewPasskey)
    return PasskeyRecord(made.id, "dev", "laptop", RP.id, made.credential, made.sign_count, 0.0)


def asked(passkey: PasskeyRecord) -> dict[str, Any]:
    return make_assertion_options(RP, [passkey], CHALLENGE)


def test_a_passkey_proves_itself() -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    answer = authenticator.get(asked(passkey))
    assert read_challenge(answer) == CHALLENGE
    assert read_passkey_id(answer) == passkey.id
    assert read_assertion(RP, CHALLENGE, passkey, answer) == 2


def test_the_options_want_a_person_and_tell_no_name_to_the_authenticator_twice() -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    options = json.loads(json.dumps(make_registration_options(RP, "dev", [passkey], CHALLENGE)))
    assert options["publicKey"]["authenticatorSelection"]["userVerification"] == "required"
    (known,) = options["publicKey"]["excludeCredentials"]
    assert to_bytes(known["id"]) == authenticator.credential_id
    elsewhere = replace(passkey, rp_id="other.example")
    assert (
        make_registration_options(RP, "dev", [elsewhere], CHALLENGE)["publicKey"][
            "excludeCredentials"
        ]
        == []
    )
    assert asked(passkey)["publicKey"]["userVerification"] == "required"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://app01.gw.example",
        "http://gw.example",
        "https://gw.example:444",
        "",
    ],
)
def test_another_origin_is_refused(origin: str) -> None:
    """A site below ours too: an app's own page is somebody else's."""
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    authenticator.origin = origin
    assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) is NOT_RIGHT
    made = authenticator.create(make_registration_options(RP, "dev", [], CHALLENGE))
    assert read_registration(RP, CHALLENGE, made) is NOT_RIGHT


@pytest.mark.parametrize(
    "framed",
    [
        {"crossOrigin": True, "topOrigin": "https://evil.example"},
        {"crossOrigin": True},
        {"crossOrigin": "false"},
        {"topOrigin": "https://evil.example"},
    ],
)
def test_an_answer_in_a_frame_of_another_site_is_refused(framed: dict[str, object]) -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    authenticator.framed = framed
    assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) is NOT_RIGHT
    made = authenticator.create(make_registration_options(RP, "dev", [], CHALLENGE))
    assert read_registration(RP, CHALLENGE, made) is NOT_RIGHT


def test_an_answer_to_another_challenge_is_refused() -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    assert read_assertion(RP, ANOTHER, passkey, authenticator.get(asked(passkey))) is NOT_RIGHT


@pytest.mark.parametrize("flags", [0, PRESENT, VERIFIED])
def test_nobody_there_or_nobody_verified_is_refused(flags: int) -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    authenticator.flags = flags
    assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) is NOT_RIGHT
    made = authenticator.create(make_registration_options(RP, "dev", [], CHALLENGE))
    assert read_registration(RP, CHALLENGE, made) is NOT_RIGHT


def test_a_passkey_of_another_name_or_with_another_key_is_refused() -> None:
    mine, other = Authenticator(ORIGIN), Authenticator(ORIGIN)
    passkey = registered(mine)
    other.credential_id, other.handle = mine.credential_id, mine.handle
    assert read_assertion(RP, CHALLENGE, passkey, other.get(asked(passkey))) is NOT_RIGHT
    elsewhere = replace(passkey, rp_id="other.example")
    assert read_assertion(RP, CHALLENGE, elsewhere, mine.get(asked(passkey))) is NOT_RIGHT


def test_a_passkey_that_names_another_user_is_refused() -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    authenticator.handle = hash_user("somebody")
    assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) is NOT_RIGHT


def test_the_answer_to_a_registration_proves_nothing_else() -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    answer = authenticator.get(asked(passkey), kind="webauthn.create")
    assert read_assertion(RP, CHALLENGE, passkey, answer) is NOT_RIGHT


@pytest.mark.parametrize(("before", "now"), [(5, 5), (5, 4), (5, 0), (1, 1)])
def test_a_counter_that_does_not_go_up_tells_of_a_copy(before: int, now: int) -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = replace(registered(authenticator), sign_count=before)
    authenticator.count = now
    assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) is CLONED


def test_authenticators_that_do_not_count_are_taken() -> None:
    """Passkeys that are synchronised between devices have no counter."""
    authenticator = Authenticator(ORIGIN, count=0)
    passkey = registered(authenticator)
    for _ in range(2):
        assert read_assertion(RP, CHALLENGE, passkey, authenticator.get(asked(passkey))) == 0


def test_a_key_of_a_kind_that_was_not_asked_for_is_refused() -> None:
    authenticator = Authenticator(ORIGIN)
    options = make_registration_options(RP, "dev", [], CHALLENGE)
    assert {parameter["alg"] for parameter in options["publicKey"]["pubKeyCredParams"]} == {
        -7,
        -8,
        -257,
    }
    answer = authenticator.create(options)
    data = to_bytes(answer["response"]["attestationObject"])
    other = data.replace(b"\x03\x26", b"\x03\x25")  # alg: -7 becomes -6
    assert other != data
    answer["response"]["attestationObject"] = to_text(other)
    assert read_registration(RP, CHALLENGE, answer) is NOT_RIGHT


def changed(answer: Any, at: list[str], value: Any) -> Any:
    if not at:
        return value
    return {**answer, at[0]: changed(answer[at[0]], at[1:], value)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
PARTS = [
    [],
    ["id"],
    ["rawId"],
    ["type"],
    ["response"],
    *(["response", name] for name in ("clientDataJSON", "authenticatorData", "signature")),
]


@settings(max_examples=50)
@given(st.sampled_from(PARTS), JSON)
def test_whatever_is_sent_is_refused_and_raises_nothing(at: list[str], value: Any) -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    answer = authenticator.get(asked(passkey))
    lie = changed(answer, at, value)
    read_challenge(lie)
    read_passkey_id(lie)
    read_registration(RP, CHALLENGE, lie)
    if lie != answer and at not in (["id"], ["type"]):  # which nothing depends on
        assert read_assertion(RP, CHALLENGE, passkey, lie) is NOT_RIGHT
    made = authenticator.create(make_registration_options(RP, "dev", [], CHALLENGE))
    read_registration(RP, CHALLENGE, changed(made, ["response", "attestationObject"], value))


@pytest.mark.parametrize(
    "at",
    [
        ["id"],
        ["rawId"],
        *(
            ["response", name]
            for name in (
                "clientDataJSON",
                "attestationObject",
                "authenticatorData",
                "signature",
                "userHandle",
            )
        ),
    ],
)
def test_a_number_in_place_of_bytes_takes_no_memory(at: list[str]) -> None:
    authenticator = Authenticator(ORIGIN)
    passkey = registered(authenticator)
    answer = authenticator.get(asked(passkey))
    options = make_registration_options(RP, "dev", [], CHALLENGE)
    whole = {**answer["response"], **authenticator.create(options)["response"]}
    lie = changed({**answer, "response": {"userHandle": None, **whole}}, at, 64 * MIB)
    tracemalloc.start()
    try:
        assert read_passkey_id(lie) is None
        assert read_registration(RP, CHALLENGE, lie) is NOT_RIGHT
        assert read_assertion(RP, CHALLENGE, passkey, lie) is NOT_RIGHT
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
def test_no_bytes_are_an_attestation(data: bytes) -> None:
    answer = Authenticator(ORIGIN).create(make_registration_options(RP, "dev", [], CHALLENGE))
    lie = changed(answer, ["response", "attestationObject"], to_text(data))
    assert read_registration(RP, CHALLENGE, lie) is NOT_RIGHT
