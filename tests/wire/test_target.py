"""The grammar of names is the allow list: what it takes, and every way around it that we know."""

import ipaddress
import itertools
import socket
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.name import is_valid_name
from stagedoor.model.target import Target, is_valid_app, is_valid_environment, is_valid_label
from stagedoor.wire.target import (
    MAX_SHOWN_CHARS,
    parse_target,
    quote_name,
)

ADDRESS_MESSAGE = "addresses are not allowed; use the app's name, such as app01.ssh"


def denied(host: str, port: str | int | None = "22") -> Denial:
    outcome = parse_target(host, port)
    assert isinstance(outcome, Denial), f"{host!r}:{port!r} was taken for {outcome}"
    assert outcome.message.isascii()
    assert outcome.message.isprintable()
    return outcome


@pytest.mark.parametrize(
    ("name", "app", "environment"),
    [
        ("app01-ssh", "app01", None),
        ("app01.ssh", "app01", None),
        ("app01-ssh.staging", "app01", "staging"),
        ("app01.staging.ssh", "app01", "staging"),
        ("my-shop.eu-1.ssh", "my-shop", "eu-1"),
        ("a.ssh", "a", None),
        ("ssh.ssh", "ssh", None),
        ("7-ssh.0", "7", "0"),
        ("xn--bcher-kva.ssh", "xn--bcher-kva", None),
        ("a" * 59 + "-ssh", "a" * 59, None),
        ("a" * 59 + "." + "b" * 63 + ".ssh", "a" * 59, "b" * 63),
    ],
)
def test_a_developer_names_an_app_and_its_environment_in_two_ways(
    name: str, app: str, environment: str | None
) -> None:
    assert parse_target(name, "22") == Target(app, environment)


@pytest.mark.parametrize("port", ["22", 22, None])
def test_the_port_is_22_or_unwritten(port: str | int | None) -> None:
    assert parse_target("app01.ssh", port) == Target("app01")


@pytest.mark.line(16)
def test_ascii_capitals_are_folded() -> None:
    assert parse_target("APP01.Staging.SSH", "22") == Target("app01", "staging")


@pytest.mark.line(16)
@pytest.mark.parametrize("name", ["app01.ssh.", "app01-ssh.", "app01-ssh.staging."])
def test_a_trailing_dot_is_refused_and_the_message_says_so(name: str) -> None:
    denial = denied(name)
    assert denial.reason is Reason.TARGET_NOT_ALLOWED
    assert "leave out the dot at the end" in denial.message


@pytest.mark.line(16)
@pytest.mark.parametrize(
    "name", ["app01..ssh", ".app01.ssh", "app01.ssh..", "..", ".", ".ssh", "app01-ssh..staging"]
)
def test_empty_labels_are_refused(name: str) -> None:
    assert denied(name).reason is Reason.TARGET_NOT_ALLOWED


@pytest.mark.line(15)
@pytest.mark.parametrize(
    "name",
    [
        "app01.ssh\n",
        "app01.ssh\r\n",
        "app01.ssh\x00",
        "app01.ssh\x00.example.com",
        " app01.ssh",
        "app01.ssh ",
        "app01 .ssh",
        "app\t01.ssh",
        "app١.ssh",
        "app\uff11.ssh",
        "app01.ſsh",
        "app01.ſſh",
        "app01\u3002ssh",
        "app01\uff0essh",
        "app01\uff61ssh",
        "\u212aapp.ssh",
        "app01.ssh\u200b",
        "app01.ssh\u0307",
        "аpp01.ssh",
        "app01.ss\uff48",
        "bücher.ssh",
        "app01.ssh\ud800",
        "app_01.ssh",
        "app01!.ssh",
        "app01.ssh\x7f",
    ],
)
def test_only_plain_ascii_names_match_in_full(name: str) -> None:
    denied(name)


@pytest.mark.line(15)
@pytest.mark.line(17)
@pytest.mark.parametrize(
    "port",
    [
        "+22",
        "-22",
        " 22",
        "22 ",
        "22\n",
        "2_2",
        "１８",
        "２２",
        "٢٢",
        "²²",
        "0x16",
        "22.0",
        "ssh",
        "22,22",
    ],
)
def test_a_port_that_is_no_plain_number_is_a_bad_request(port: str) -> None:
    assert denied("app01.ssh", port).reason is Reason.BAD_REQUEST


@pytest.mark.line(17)
@pytest.mark.parametrize(
    "port",
    ["0", "022", "0022", "00", "2222", "23", "2", "220", "443", "65558", "4294967318"],
)
def test_any_other_port_is_not_allowed(port: str) -> None:
    for spelling in (port, int(port)):
        if spelling != 22:
            denial = denied("app01.ssh", spelling)
            assert denial.reason is Reason.TARGET_NOT_ALLOWED
            assert "only port 22 is" in denial.message


@pytest.mark.parametrize("port", [True, -22])
def test_what_is_no_port_at_all_is_a_bad_request(port: int) -> None:
    assert denied("app01.ssh", port).reason is Reason.BAD_REQUEST


@pytest.mark.line(17)
@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("http://app01.ssh", "22"),
        ("http://app01.ssh:22/", "22"),
        ("ssh://app01.ssh", "22"),
        ("//app01.ssh", "22"),
        ("app01.ssh/", "22"),
        ("/app01.ssh", "22"),
        ("alice@app01.ssh", "22"),
        ("alice:pw@app01.ssh", "22"),
        ("@app01.ssh", "22"),
        ("app01.ssh@example.com", "22"),
        ("*", "22"),
        ("*", ""),
        ("app01.ssh", ""),
        ("", "22"),
        ("", ""),
    ],
)
def test_what_is_no_name_and_port_is_a_bad_request(host: str, port: str) -> None:
    assert denied(host, port).reason is Reason.BAD_REQUEST


@pytest.mark.line(17)
@pytest.mark.parametrize(
    "host",
    ["app01%2essh", "app01%2Essh", "%61pp01.ssh", "app01.ssh%00", "app01.ssh%eth0", "*.ssh", "app*.ssh",
     "app?.ssh", "app01.ssh#x", "app01.ssh?x", "app01.ssh\\", "app01.ssh;", "app01,ssh", "$app.ssh"],
)  # fmt: skip
def test_escapes_zones_and_wildcards_are_not_allowed(host: str) -> None:
    assert denied(host).reason is Reason.TARGET_NOT_ALLOWED


@pytest.mark.line(18)
@pytest.mark.parametrize(
    "host", ["[app01.ssh]", "[[app01.ssh]]", "[127.0.0.1]", "[::1]", "[", "[]", "[app01.ssh"]
)
def test_brackets_are_refused(host: str) -> None:
    denial = denied(host)
    assert denial.reason is Reason.TARGET_NOT_ALLOWED
    assert ADDRESS_MESSAGE in denial.message


LOOPBACK_NOTATIONS = ["127.0.0.1", "127.1", "127.0.1", "0177.0.0.1", "2130706433", "0x7f.1", "0x7F000001",
    "017700000001", "0x7f.0x0.0x0.0x1", "0"]  # fmt: skip


@pytest.mark.line(19)
@pytest.mark.parametrize(
    "host",
    [
        *LOOPBACK_NOTATIONS,
        "127.0.0.1.",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "0:0:0:0:0:0:0:1",
        "169.254.169.254",
        "10.0.0.1",
        "256.256.256.256",
    ],
)
def test_an_address_in_any_notation_gets_its_own_message(host: str) -> None:
    denial = denied(host)
    assert denial.reason is Reason.TARGET_NOT_ALLOWED
    assert ADDRESS_MESSAGE in denial.message


@pytest.mark.line(19)
@pytest.mark.parametrize("host", LOOPBACK_NOTATIONS)
def test_the_notations_above_are_addresses_to_the_c_library(host: str) -> None:
    """Else the test before this one would prove nothing."""
    assert socket.inet_aton(host)[0] in (0, 127)


NUMBERS = st.one_of(
    st.integers(0, 2**32 - 1).map(str),
    st.integers(0, 255).map(str),
    st.integers(0, 255).map(oct).map(lambda n: n.replace("o", "")),
    st.integers(0, 2**32 - 1).map(hex),
    st.integers(0, 255).map(lambda n: f"0X{n:X}"),
)


@pytest.mark.line(19)
@settings(deadline=None)
@given(
    st.one_of(
        st.lists(NUMBERS, min_size=1, max_size=4).map(".".join),
        st.ip_addresses().map(str),
        st.ip_addresses(v=6).map(lambda a: a.exploded),
        st.text("0123456789abcdefxX.:%[]", max_size=24),
    )
)
@example("1.1.1.0x")
@example("1.2.3.4%1")
def test_nothing_that_the_system_or_python_takes_for_an_address_is_a_name(host: str) -> None:
    def is_address() -> bool:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            try:
                socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
            except (OSError, UnicodeError, ValueError):
                return False
        return True

    outcome = parse_target(host, "22")
    if host and is_address():
        assert isinstance(outcome, Denial)
        assert outcome.reason is Reason.TARGET_NOT_ALLOWED
        assert ADDRESS_MESSAGE in outcome.message


@pytest.mark.parametrize(
    "name",
    ["app01-ssh.ssh", "app01.ssh.ssh", "app01-ssh-ssh", "app01-ssh.staging.ssh", "app01-ssh-ssh.staging",
     "-ssh", "ssh", "-ssh.staging", "-a.ssh", "a-.ssh", "a.-b.ssh", "a.b-.ssh", "a--ssh",
     "a" * 60 + "-ssh", "a" * 60 + ".ssh", "a." + "b" * 64 + ".ssh", "a.b.c.ssh", "app01-ssh.a.b",
     "app01.ssh.example.com", "app01", "example.com", "localhost", "app01.sshd", "app01.ssh-", "a" * 100_000]
)  # fmt: skip
def test_names_with_two_readings_or_none_are_not_allowed(name: str) -> None:
    assert denied(name).reason is Reason.TARGET_NOT_ALLOWED


def test_every_short_name_reads_as_the_grammar_generates_it() -> None:
    """Generate all names from all apps and environments, then read all short strings."""
    pieces = ["a", "Z", "0", "-", ".", "ssh", "_"]

    def label(text: str) -> bool:
        return (
            0 < len(text) <= 63
            and all(c in string.ascii_lowercase + string.digits + "-" for c in text)
            and text[0] != "-"
            and text[-1] != "-"
        )

    texts = {"".join(p).lower() for n in range(1, 6) for p in itertools.product(pieces, repeat=n)}
    labels = [t for t in texts if label(t)]
    short = {"".join(p).lower() for n in (1, 2) for p in itertools.product(pieces, repeat=n)}
    environments = [None, *(t for t in short if label(t) and t != "ssh")]
    apps = [t for t in labels if not t.endswith("-ssh")]
    named: dict[str, tuple[str, str | None]] = {}
    for app in apps:
        for environment in environments:
            after = "" if environment is None else f".{environment}"
            for name in (f"{app}-ssh{after}", f"{app}{after}.ssh"):
                assert name not in named, f"{name} has two readings"
                named[name] = (app, environment)
    for count in range(1, 7):
        for parts in itertools.product(pieces, repeat=count):
            name = "".join(parts)
            outcome = parse_target(name, "22")
            read = (outcome.app, outcome.environment) if isinstance(outcome, Target) else None
            assert read == named.get(name.lower()), name


@settings(deadline=None)
@given(st.text(), st.one_of(st.none(), st.text(), st.integers()))
def test_any_text_gives_a_target_or_one_printable_line(host: str, port: str | int | None) -> None:
    outcome = parse_target(host, port)
    if isinstance(outcome, Target):
        assert parse_target(outcome.host_name) == outcome
        assert parse_target(outcome.shell_name) == outcome
    else:
        assert outcome.reason in (Reason.BAD_REQUEST, Reason.TARGET_NOT_ALLOWED)
        assert outcome.message.isascii()
        assert outcome.message.isprintable()
        assert len(outcome.message) < 300


def test_a_password_in_the_name_is_not_repeated() -> None:
    for host in (
        "alice:hunter2@app01.ssh",
        "http://alice:hunter2@app01.ssh",
        "alice:hunter2%40x.ssh",
    ):
        for port in ("22", "", "x"):
            assert "hunter2" not in denied(host, port).message


def test_a_name_is_shown_without_what_could_harm_a_terminal_and_not_at_length() -> None:
    assert quote_name("\x1b[2Jevil\n\u202ename") == "'?[2Jevil??name'"
    assert quote_name("a" * MAX_SHOWN_CHARS) == "'" + "a" * MAX_SHOWN_CHARS + "'"
    assert quote_name("a" * (MAX_SHOWN_CHARS + 1)) == "'" + "a" * (MAX_SHOWN_CHARS - 3) + "...'"


def test_labels_apps_and_environments() -> None:
    assert is_valid_label("a" * 63)
    assert is_valid_label("ssh")
    assert not any(map(is_valid_label, ["", "-a", "a-", "A", "a.b", "a\n", "ä", "a" * 64]))
    assert is_valid_app("a" * 59)
    assert not any(map(is_valid_app, ["", "a" * 60, "a-ssh", "A", "a\n"]))
    assert is_valid_environment("prod")
    assert not any(map(is_valid_environment, ["", "ssh", "a.b"]))


def test_user_names_need_no_quoting_anywhere() -> None:
    assert all(
        map(is_valid_name, ["alice", "a", "alice.smith", "alice@example.com", "ci-bot_1", "7"])
    )
    hostile = ["", "Alice", "a:b", "a,b", "-a", ".a", "a b", "a\n", "é", "../x", "a" * 65]
    assert not any(map(is_valid_name, hostile))
