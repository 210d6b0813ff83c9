"""The authorized_keys file: what it admits, and that nothing can be smuggled into it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.grant import Admission
from stagedoor.model.name import is_valid_name
from stagedoor.shells.authorized import (
    KEYS_LEASE_S,
    decide_keys_end,
    drop_expired,
    end_by,
    render_authorized_keys,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP5T4ESv/+TzuQMYkbFLv5bRKc5vkMjQcmY7hh8wSMli"
CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
UNTIL = datetime(2027, 1, 15, 8, 0, 0, tzinfo=UTC).timestamp()


def lines(*admissions: Admission) -> list[str]:
    return [
        line
        for line in render_authorized_keys(admissions, [CA]).splitlines()
        if not line.startswith("#")
    ]


def test_a_key_and_a_certificate_line_for_each_who_may_enter() -> None:
    assert lines(Admission("dev", (KEY,)), Admission("ops", (), UNTIL)) == [
        f"{KEY} dev",
        f'cert-authority,principals="dev" {CA}',
        f'cert-authority,principals="ops",expiry-time="20270115080000Z" {CA}',
    ]


def test_the_key_of_a_sign_in_has_a_line_until_that_or_the_grant_ends() -> None:
    bound = ((KEY, UNTIL), (KEY, UNTIL + 60))
    first, second, _ = lines(Admission("dev", (), UNTIL + 30, bound))
    assert first == f'expiry-time="20270115080000Z" {KEY} dev'
    assert second == f'expiry-time="20270115080030Z" {KEY} dev'
    [ended] = end_by([Admission("dev", (), None, bound)], UNTIL - 60)
    assert lines(ended)[0] == f'expiry-time="20270115075900Z" {KEY} dev'


def test_nobody_means_no_line_at_all() -> None:
    assert lines() == []
    assert drop_expired(render_authorized_keys((), [CA]), UNTIL) == ""


def test_a_line_ends_with_its_grant() -> None:
    text = render_authorized_keys([Admission("dev", (KEY,), UNTIL + 0.9)], [])
    assert drop_expired(text, UNTIL - 1) == f'expiry-time="20270115080000Z" {KEY} dev'
    assert drop_expired(text, UNTIL) == ""


@pytest.mark.parametrize("at", [253402300800.0, 1e18, float("inf")])
def test_an_end_beyond_the_calendar_is_no_end(at: float) -> None:
    assert lines(Admission("dev", (KEY,), at))[0] == f"{KEY} dev"


@pytest.mark.parametrize("name", ["_svc", "ci+bot", "alice.", "a@b-", "0"])
def test_whoever_can_be_a_user_can_have_a_line(name: str) -> None:
    """Names with a +, a leading _ or a sign at the end were left out: they entered no shell."""
    assert is_valid_name(name)
    assert lines(Admission(name, (KEY,))) == [
        f"{KEY} {name}",
        f'cert-authority,principals="{name}" {CA}',
    ]


@pytest.mark.parametrize(
    "name", ["*", "a,b", 'a"b', "a b", "a\nb", "", "!dev", "-dev", "Dev", "дев"]
)
def test_a_name_that_would_read_as_more_than_a_name_is_left_out(name: str) -> None:
    assert lines(Admission(name, (KEY,))) == []


@pytest.mark.parametrize(
    "key",
    [f"{KEY}\n{CA}", f'command="x" {KEY}', "ssh-ed25519", KEY + " x", "", f"cert-authority {KEY}"],
)
def test_a_key_that_would_read_as_more_than_a_key_is_left_out(key: str) -> None:
    assert lines(Admission("dev", (key,))) == [f'cert-authority,principals="dev" {CA}']


@given(st.text(), st.text(), st.none() | st.floats(allow_nan=False))
def test_whatever_is_put_in_each_line_is_one_of_ours(
    name: str, key: str, until: float | None
) -> None:
    for line in lines(Admission(name, (key, KEY), until)):
        assert line.removeprefix('expiry-time="').split('" ')[-1].split()[-2:] in (
            [KEY.split()[1], name],
            CA.split(),
            [key.split(" ")[-1], name],
        )


@given(st.none() | st.floats(0, 9e9), st.floats(1e9, 4e9))
def test_an_end_is_kept_or_renewed_and_never_further_away_than_it_may_be(
    previous_end: float | None, now: float
) -> None:
    until = decide_keys_end(previous_end, now)
    # 1e-6: such an instant has no finer steps as a float.
    assert 0.75 * KEYS_LEASE_S - 1 <= until - now <= KEYS_LEASE_S + 1e-6
    # And once more changes nothing, or the file would be written again and again.
    assert decide_keys_end(until, now) == until


def test_no_key_lasts_longer_than_all_do_or_than_its_grant() -> None:
    given_ends = [
        Admission("dev", (KEY,)),
        Admission("ops", (), UNTIL - 1),
        Admission("qa", (), 9e9),
    ]
    assert [admission.expires_at for admission in end_by(given_ends, UNTIL)] == [
        UNTIL,
        UNTIL - 1,
        UNTIL,
    ]
