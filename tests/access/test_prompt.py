"""The line in which a terminal's user gives a reason."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.listeners.ssh.direct.prompt import LinePrompt


def typed(keys: str, limit: int = 300) -> tuple[str | None, str]:
    prompt = LinePrompt(limit)
    shown = b"".join(prompt.feed(keys.encode()[at : at + 1]) for at in range(len(keys.encode())))
    return prompt.line, shown.decode()


def test_a_line_ends_with_return_and_is_echoed() -> None:
    assert typed("INC-42 队列\r") == ("INC-42 队列", "INC-42 队列\r\n")
    assert typed("a\n")[0] == "a"
    assert typed("no end")[0] is None


def test_keys_that_edit_do() -> None:
    assert typed("ab\x7f\x7f\x7fc\r") == ("c", "ab\b \b\b \bc\r\n")
    assert typed("队\x7f\r") == ("", "队\b\b  \b\b\r\n")
    assert typed("wrong\x15right\r")[0] == "right"
    assert typed("a\x1b[A\x1b[1;5Cb\x1bOAc\x1bdd\r")[0] == "abcd"


def test_interrupt_and_end_of_input_leave_it_empty() -> None:
    assert typed("abc\x03")[0] == ""
    assert typed("\x04")[0] == ""
    assert typed("a\x04b\r")[0] == "ab"


def test_a_control_key_ends_an_escape_sequence() -> None:
    assert typed("abc\x1b\x03")[0] == ""
    assert typed("abc\x1b[1\x03")[0] == ""
    assert typed("abc\x1b\r")[0] == "abc"
    assert typed("a\x1b\x1b[Ab\r")[0] == "ab"


def test_it_is_bounded() -> None:
    line, shown = typed("x" * 9 + "\r", limit=4)
    assert line == "xxxx"
    assert shown.count("\a") == 5


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_give_one_printable_line(keys: bytes, limit: int) -> None:
    prompt = LinePrompt(limit)
    for key in keys:
        prompt.feed(bytes([key]))
    if prompt.line is not None:
        assert len(prompt.line) <= limit
        assert not prompt.line or prompt.line.isprintable()
        assert prompt.feed(b"more\r") == b""
