"""What somebody asks of their account by ssh, and what they type: pure, and for any words and bytes."""

import asyncio
import json
import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin.credentials import AccountState
from stagedoor.admin.sign_in.sign_ins import SignInRecord
from stagedoor.listeners.ssh.account.channel_input import (
    HINT_S,
    INTERRUPTED,
    MAX_BYTES,
    MAX_LINE_BYTES,
    WAIT_S,
    ChannelInput,
    InputError,
    LineEnd,
    PasswordLine,
)
from stagedoor.listeners.ssh.account.command import (
    FORMS,
    NOUNS,
    AccountCommand,
    CommandError,
    parse_command,
)
from stagedoor.listeners.ssh.account.listing import account_json, account_text, parts_of
from stagedoor.listeners.ssh.account.service import AccountLinks, no_person
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.model.policy import KeyRecord
from stagedoor.store.people import TokenState
from tests.virtual_time import in_virtual_time

DAY_S = 86_400.0
NOW = 1_800_000_000.0


def parsed(line: str) -> AccountCommand | CommandError | None:
    return parse_command(shlex.split(line))


# The words.


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("account", AccountCommand("account")),
        ("account --json", AccountCommand("account", (), {"--json": ""})),
        ("token create", AccountCommand("token create")),
        (
            "token create app01 --expires 8h app02.staging --json",
            AccountCommand(
                "token create", ("app01", "app02.staging"), {"--expires": "8h", "--json": ""}
            ),
        ),
        ("token create --expires=8h", AccountCommand("token create", (), {"--expires": "8h"})),
        ("token revoke k3v9", AccountCommand("token revoke", ("k3v9",))),
        (
            "key add --comment 'my laptop'",
            AccountCommand("key add", (), {"--comment": "my laptop"}),
        ),
        ("key remove SHA256:x", AccountCommand("key remove", ("SHA256:x",))),
        ("sign-in end --others", AccountCommand("sign-in end", (), {"--others": ""})),
        ("sign-in end 5f3a 77aa", AccountCommand("sign-in end", ("5f3a", "77aa"))),
        ("password --password-stdin", AccountCommand("password", (), {"--password-stdin": ""})),
    ],
)
def test_words_are_read_as_the_commands_of_an_administrator(
    line: str, command: AccountCommand
) -> None:
    assert parsed(line) == command


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("token", "needs a word"),
        ("token show", "needs a word"),
        ("token revoke", "one argument: ID"),
        ("token revoke a b", "one argument: ID"),
        ("token list alice", "no argument"),
        ("token create --expires", "--expires needs a value"),
        ("token create --json=yes", "--json takes no value"),
        ("account --scope connect", "an option is not known"),
        ("key remove SHA256:\N{LATIN SMALL LETTER E WITH ACUTE}", "characters that no name has"),
        ("key remove 'a\0b'", "characters that no name has"),
        ("sign-in end", "only one of these"),
        ("sign-in end 5f3a --others", "only one of these"),
        ("token create " + "a " * 65, "more than 64 words"),
    ],
)
def test_a_wrong_command_is_told_what_is_right(line: str, why: str) -> None:
    wrong = parsed(line)
    assert isinstance(wrong, CommandError)
    assert why in wrong.why
    noun = line.split()[0]
    assert wrong.forms
    assert all(form.startswith(noun) for form in wrong.forms)


@pytest.mark.parametrize(
    "line", ["password hunter2", "password --new=hunter2", "password hunter2 x"]
)
def test_a_password_behind_the_command_is_refused_and_not_repeated(line: str) -> None:
    wrong = parsed(line)
    assert isinstance(wrong, CommandError)
    assert "hunter2" not in repr(wrong)


@given(st.lists(st.one_of(st.text(), st.sampled_from([*FORMS, *NOUNS, "--json", "--expires=x"]))))
def test_any_words_are_a_command_a_reason_or_none_of_ours(words: list[str]) -> None:
    found = parse_command([part for word in words for part in (word.split() or [word])])
    if isinstance(found, AccountCommand):
        form = FORMS[found.name]
        assert form.least <= len(found.arguments) <= form.most
        assert set(found.options) <= form.options


# A line that is typed unseen.


def typed(data: bytes) -> tuple[LineEnd | None, str]:
    line = PasswordLine()
    for byte in data:
        if (ended := line.type(byte)) is not None:
            return ended, line.text
    return None, line.text


@pytest.mark.parametrize(
    ("data", "ended", "text"),
    [
        (b"secret\r", LineEnd.ENTERED, "secret"),
        (b"secret\n", LineEnd.ENTERED, "secret"),
        (b"sex\x7fcret\r", LineEnd.ENTERED, "secret"),
        ("p\u00e4\u00df\x7f\x7f\x7f\x7fok\r".encode(), LineEnd.ENTERED, "ok"),
        (b"wrong\x15right\r", LineEnd.ENTERED, "right"),
        (b"half\x03", LineEnd.INTERRUPTED, "half"),
        (b"\x04", LineEnd.INTERRUPTED, ""),
        (b"half\x04", None, "half\x04"),
        (b"half\x1c", LineEnd.INTERRUPTED, "half"),
    ],
)
def test_keys_do_what_they_do_at_any_password(
    data: bytes, ended: LineEnd | None, text: str
) -> None:
    assert typed(data) == (ended, text)


@given(
    st.text(
        alphabet=st.characters(min_codepoint=32, exclude_categories=["Cs"]).filter(
            lambda c: c != "\x7f"
        )
    )
)
def test_what_is_typed_is_what_comes(text: str) -> None:
    assert typed(text.encode() + b"\r") == (LineEnd.ENTERED, text)


@given(st.binary())
def test_any_bytes_end_a_line_or_none_and_are_bounded(data: bytes) -> None:
    line = PasswordLine()
    for byte in data:
        line.type(byte)
    with suppress(InputError):  # what is not UTF-8
        assert len(line.text) <= len(data)


def test_a_line_without_an_end_is_given_up() -> None:
    line = PasswordLine()
    for _ in range(MAX_LINE_BYTES):
        line.type(0x61)
    with pytest.raises(InputError, match="more than 4096 bytes"):
        line.type(0x61)


# What comes on a channel.


class Piped(ChannelInput):
    """A channel's input, and what was shown."""

    def __init__(self, *pieces: bytes, ended: bool = True, terminal: bool = False) -> None:
        self.shown: list[str] = []
        super().__init__(self.shown.append)
        self.is_terminal = terminal
        for piece in pieces:
            self.feed(piece)
        if ended:
            self.end()


async def test_lines_of_a_pipe_are_taken_one_by_one() -> None:
    piped = Piped(b"fir", b"st\r\nsec", b"ond")
    assert await piped.line("one") == "first"
    assert await piped.line("two") == "second"
    with pytest.raises(InputError, match="three is missing on stdin"):
        await piped.line("three")


async def test_a_pasted_line_that_ends_twice_is_one_line() -> None:
    pasted = Piped(b"one\r", b"\ntwo\r\n", b"three\n", terminal=True)
    assert [await pasted.ask("? ") for _ in range(3)] == ["one", "two", "three"]
    assert pasted.shown == ["? ", "\n"] * 3


async def test_a_terminal_that_is_closed_or_broken_off_is_no_line() -> None:
    with pytest.raises(InputError, match="the input has ended"):
        await Piped(b"half", terminal=True).ask("? ")
    with pytest.raises(InputError, match="broken off") as caught:
        await Piped(b"half\x03", terminal=True, ended=False).ask("? ")
    assert caught.value.status == INTERRUPTED
    with pytest.raises(InputError, match="broken off"):
        await Piped(b"-----BEGIN\x03", terminal=True, ended=False).text(b"END", "")


@pytest.mark.parametrize("ended", [True, False])
async def test_more_than_is_kept_is_refused_and_costs_no_memory(ended: bool) -> None:
    piece = b"x" * 65_536
    piped = Piped(*[piece] * 160, ended=ended)
    assert len(piped._kept) == MAX_BYTES
    with pytest.raises(InputError, match="more than 16 KiB"):
        await piped.line("a line")
    with pytest.raises(InputError, match="more than 16 KiB"):
        await Piped(*[piece] * 160, ended=ended).text(b"END", "")
    # What comes behind the lines that were asked for is nobody's.
    piped = Piped(b"one\ntwo\n" + piece)
    assert [await piped.line("a line") for _ in range(2)] == ["one", "two"]


async def test_a_text_ends_with_its_last_line_or_with_the_input() -> None:
    assert await Piped(b"BEGIN\nEND\nmore", ended=False).text(b"END", "") == "BEGIN\nEND"
    assert await Piped(b"BEGIN\nno end").text(b"END", "") == "BEGIN\nno end"
    assert await Piped(b"A\rB\r\nEND", terminal=True, ended=False).text(b"END", "") == "A\nB\nEND"


@in_virtual_time
async def test_an_input_that_says_nothing_is_given_up_and_told_what_should_come() -> None:
    loop = asyncio.get_running_loop()
    for waits in (
        lambda silent: silent.line("a line"),
        lambda silent: silent.ask("? "),
        lambda silent: silent.text(b"END", "a hint"),
    ):
        silent, began = Piped(ended=False), loop.time()
        waiting = asyncio.ensure_future(waits(silent))
        await asyncio.sleep(HINT_S)
        silent.feed(b"a byte now and then does not prolong it")
        with pytest.raises(InputError, match="nothing was typed or piped in for 120 s"):
            await waiting
        assert loop.time() - began == pytest.approx(WAIT_S)
    assert silent.shown == ["a hint"]


# What is shown.

EVIL = "\x1b]0;mine\x07 \u202e\n"
ALICE = Identity(
    "alice", frozenset({"crew"}), Method.SSO, "Company", sign_in=SignIn(b"\1" * 32, NOW)
)
HELD = AccountState(
    ["crew"],
    True,
    frozenset(),
    [
        TokenState("t1", ("connect:app01",), NOW - 1, NOW - DAY_S),
        TokenState("t2", None, NOW + DAY_S, NOW - DAY_S),
        TokenState("t3", None, None, NOW - DAY_S),
    ],
    [KeyRecord("alice", "SHA256:k", "ssh-ed25519 AAAA", EVIL)],
    [
        SignInRecord("01" * 32, "alice", "sso", EVIL, EVIL, NOW, NOW + 9, NOW, "SHA256:s", EVIL),
        SignInRecord("02" * 32, "alice", "password", "p1", None, None, NOW + 9, None),
    ],
    "01" * 32,
    90.0,
    NOW,
)
PASSKEYS = [PasskeyRecord("p1", "alice", EVIL, "gw.example", b"", 0, NOW)]


def test_what_others_wrote_does_not_speak_to_the_terminal() -> None:
    text = account_text(ALICE, HELD, parts_of("alice", HELD, PASSKEYS), "alice@gw")
    assert all(line.isprintable() for line in text.splitlines())
    assert "\u202e" not in text
    said = account_json(ALICE, HELD, parts_of("alice", HELD, PASSKEYS))
    assert said.isascii()
    assert said.rstrip("\n").isprintable()
    assert json.loads(said)["keys"][0]["comment"] == EVIL


def test_the_lists_say_what_is_over_what_ends_soon_and_which_sign_in_asks() -> None:
    parts = parts_of("alice", HELD, PASSKEYS)
    ends = [row["ends"].partition(" ")[2] for row in parts["token"].rows]
    assert ends == ["(over)", "(soon)", ""]
    assert [row["on"].endswith("(this one)") for row in parts["sign-in"].rows] == [True, False]
    assert [one["this"] for one in parts["sign-in"].documents] == [True, False]
    assert parts["sign-in"].rows[1]["by"] == "passkey p1"


@pytest.mark.parametrize(
    "method", [Method.TOKEN, Method.PUBLIC_KEY, Method.CERTIFICATE, Method.MACHINE]
)
def test_who_is_no_person_is_told_which_ways_there_are(method: Method) -> None:
    who = Identity("ci", frozenset(), method, "x")
    assert not who.is_person
    nowhere = no_person(who, "ci@gw", AccountLinks()).message
    assert nowhere.startswith("an account is for people, and you came by a")
    assert nowhere.endswith(": ask an administrator")
    all_ways = no_person(who, "ci@gw", AccountLinks("https://gw", logins=True, passwords=True))
    for mend in (
        "PubkeyAuthentication=no ci@gw",
        "stagedoor login https://gw",
        "https://gw/account",
    ):
        assert mend in all_ways.message
