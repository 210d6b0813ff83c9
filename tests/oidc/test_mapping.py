"""The mapping of claims to a user and groups: no person becomes another one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.name import is_valid_name
from stagedoor.oidc.errors import OidcError
from stagedoor.oidc.mapping import Rules, map_claims

CLAIMS = {"preferred_username": "alice", "groups": ["/teams/shop", "ops", "Sales EU"]}


def test_groups_come_by_the_table_or_behind_a_prefix() -> None:
    mapped = map_claims(CLAIMS, Rules(groups={"/teams/shop": "shop"}))
    assert mapped.groups == {"shop"}
    assert mapped.left_out == ("Sales EU", "ops")
    mapped = map_claims(CLAIMS, Rules(groups={"/teams/shop": "shop"}, group_prefix="idp-"))
    assert mapped.groups == {"shop", "idp-ops"}
    assert mapped.left_out == ("Sales EU",)


@pytest.mark.identity(31)
def test_a_missing_claim_is_no_empty_list() -> None:
    assert map_claims({"preferred_username": "alice"}, Rules()).groups is None
    assert map_claims({"preferred_username": "alice", "groups": []}, Rules()).groups == set()
    # But where the settings say that the provider means it so, as Keycloak does.
    none = Rules(missing_is_none=True)
    assert map_claims({"preferred_username": "alice"}, none).groups == set()
    with pytest.raises(OidcError, match="is not a list of names"):
        map_claims({"preferred_username": "alice", "groups": 1}, none)


def test_a_claim_may_be_inside_another_or_have_dots_itself() -> None:
    claims = {
        "realm_access": {"roles": ["ops"]},
        "https://example.com/name": "alice",
    }
    rules = Rules("https://example.com/name", groups_claim="realm_access.roles", group_prefix="")
    mapped = map_claims(claims, rules)
    assert (mapped.name, mapped.groups) == ("alice", {"ops"})


def test_a_domain_is_taken_off_and_no_other_is_let_by() -> None:
    rules = Rules("email", "example.com")
    verified = {"email_verified": True}
    assert map_claims({"email": "alice@example.com", **verified}, rules).name == "alice"
    for other in ("alice@evil.example", "alice", "alice@Example.com", "a@evil@example.com@x"):
        with pytest.raises(OidcError, match=r"sso\.name_domain"):
            map_claims({"email": other, **verified}, rules)


@pytest.mark.parametrize("verified", [False, "true", "false", "True", 1, 0, None, [True], {}])
@pytest.mark.parametrize("trust_email", [False, True])
def test_only_a_true_email_verified_makes_an_address_a_name(
    verified: object, trust_email: bool
) -> None:
    rules = Rules("email", "example.com", trust_email=trust_email)
    with pytest.raises(OidcError, match="has not verified"):
        map_claims({"email": "boss@example.com", "email_verified": verified}, rules)


def test_a_missing_email_verified_is_accepted_only_where_the_setting_says_so() -> None:
    claims = {"email": "boss@example.com"}
    with pytest.raises(OidcError, match=r"sso\.email_verified_missing"):
        map_claims(claims, Rules("email", "example.com"))
    assert map_claims(claims, Rules("email", "example.com", trust_email=True)).name == "boss"
    # Only an address needs it.
    assert map_claims({"preferred_username": "alice", "email_verified": False}, Rules())


def test_a_claim_whose_name_is_no_line_does_not_make_more_of_the_message() -> None:
    claims = {"two\nlines": "#"} | {f"claim{i}": "x" for i in range(1000)}
    with pytest.raises(OidcError, match=r"sso\.name_claim") as refused:
        map_claims(claims, Rules())
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.identity(13)
@pytest.mark.parametrize(
    "name",
    [
        "Alice",
        "ALICE",
        "аlice",
        "alice ",
        "alice\u200b",
        "ａlice",
        "alicе",
        "a:b",
        "",
        "-a",
        "a" * 65,
    ],
)
def test_case_and_homoglyphs_do_not_meet_a_name(name: str) -> None:
    with pytest.raises(OidcError):
        map_claims({"preferred_username": name}, Rules())


@pytest.mark.parametrize("groups", [7, {"ops": 1}, ["ops", 1], [f"g{i}" for i in range(1001)]])
def test_a_list_of_groups_that_is_none_is_refused(groups: object) -> None:
    with pytest.raises(OidcError, match="groups"):
        map_claims({"preferred_username": "alice", "groups": groups}, Rules(group_prefix=""))


@given(
    st.dictionaries(
        st.sampled_from(["preferred_username", "groups", "a.b", "a"]),
        st.text() | st.lists(st.text()),
    ),
    st.none() | st.sampled_from(["", "idp-"]),
)
def test_any_claims_give_names_that_are_names_or_nothing(
    claims: dict[str, Any], prefix: str | None
) -> None:
    try:
        mapped = map_claims(claims, Rules(group_prefix=prefix))
    except OidcError:
        return
    assert is_valid_name(mapped.name)
    assert mapped.name == claims["preferred_username"]
    assert all(is_valid_name(group) for group in mapped.groups or ())
