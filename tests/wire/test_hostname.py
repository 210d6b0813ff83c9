"""Names that a Host header may bear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.hostname import is_valid_host_pattern
from stagedoor.wire.http.fields import is_address_host, is_known, parse_host

NAMES = frozenset({"shell.example.com", "*.apps.example.com"})


@pytest.mark.parametrize(
    "host",
    [
        "shell.example.com", "SHELL.example.com", "shell.example.com.", "shell.example.com:8443",
        "a.apps.example.com", "localhost", "localhost:8080", "127.0.0.1:80", "192.0.2.7",
        "[::1]:8443", "[2001:db8::1]", "work.example", "app01.work.example", "a.b.work.example:1",
    ],
)  # fmt: skip
def test_a_known_name_an_address_and_what_is_below_the_domain(host: str) -> None:
    assert is_known(host, NAMES, "work.example")


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "shell.example.com.evil.example", "xshell.example.com", "example.com",
        "a.b.apps.example.com", "apps.example.com", "xwork.example", "::1", "[::1", "127.0.0.1.evil",
        "shell.example.com:x", "shell.example.com:", "a@shell.example.com", "shell.example.com/",
        "*.apps.example.com", "0x7f.1", "1.2.3", "shell.example.com, evil", "lo calhost", "ſhell.example.com",
    ],
)  # fmt: skip
def test_anything_else_is_not(host: str) -> None:
    assert not is_known(host, NAMES, "work.example")


def test_without_a_list_only_addresses_and_this_machine() -> None:
    assert is_known("127.0.0.1:8443", frozenset())
    assert is_known("localhost", frozenset())
    assert not is_known("shell.example.com", frozenset())


def test_names_for_the_settings() -> None:
    assert is_valid_host_pattern("shell.example.com")
    assert is_valid_host_pattern("*.example.com")
    for wrong in (
        "",
        "*",
        "a.*.b",
        "Shell.example.com",
        "shell.example.com:443",
        "-a.example",
        "a..b",
    ):
        assert not is_valid_host_pattern(wrong)


@given(st.text(max_size=80))
def test_anything_has_an_answer(host: str) -> None:
    name = parse_host(host)
    assert name is None or name == name.lower()
    if is_known(host, frozenset()):
        assert name == "localhost" or (name is not None and is_address_host(name))
