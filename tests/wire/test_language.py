"""Choosing a language, and translating finished lines. Pure."""

import pytest

from stagedoor.wire.language.choose import CHINESE, ENGLISH, choose_by_header, choose_by_locale
from stagedoor.wire.language.translate import Catalogue


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", ENGLISH),
        ("zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        ("zh", CHINESE),
        ("zh-Hans-CN", CHINESE),
        ("ZH-cn", CHINESE),
        ("zh-TW,zh-Hant;q=0.9", ENGLISH),
        ("zh-TW, zh-CN;q=0.5", CHINESE),
        ("de,en;q=0.7,zh;q=0.3", ENGLISH),
        ("de,zh;q=0.3", CHINESE),
        ("en;q=0.1,zh;q=0.9", CHINESE),
        ("zh;q=0,en", ENGLISH),
        ("zh;q=x", ENGLISH),
        ("zh" + ",de" * 100_000, CHINESE),
    ],
)
def test_the_browser_chooses(accepted: str, language: str) -> None:
    assert choose_by_header(accepted) == language


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, ENGLISH),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN"}, CHINESE),
        ({"LANG": "zh_TW.UTF-8"}, ENGLISH),
        ({"LANG": "de_DE.UTF-8"}, ENGLISH),
        ({"LC_ALL": "", "LANG": "zh_SG"}, CHINESE),
    ],
)
def test_the_locale_chooses(variables: dict[str, str], language: str) -> None:
    assert choose_by_locale(variables) == language


CATALOGUE = Catalogue(
    {
        "sign in again": "请重新登录",
        "{0} has expired": "{0} 已过期",
        "token {0} has expired": "令牌 {0} 已过期",
        "the key {0}": "密钥 {0}",
        "{0} of {1} is gone": "{1} 的 {0} 没有了",
        "{0} at most": "最多 {0}",
        "{n} min": "{n} 分钟",
        "running": "正在运行",
        "Nothing was changed: {0}.": "未作更改：{0}。",
    }
)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("sign in again", "请重新登录"),
        ("token t1 has expired", "令牌 t1 已过期"),  # the text that says most
        ("the key SHA256:x has expired", "密钥 SHA256:x 已过期"),  # a value of several words
        ("k1 of alice is gone", "alice 的 k1 没有了"),
        ("running of alice is gone", "alice 的 running 没有了"),  # one word is a name
        ("5 min at most", "最多 5 分钟"),
        ("some min at most", "最多 some min"),
        ("k1 has expired; sign in again", "k1 已过期；请重新登录"),
        (
            "Nothing was changed: k1 has expired; sign in again.",
            "未作更改：k1 已过期；请重新登录。",
        ),
        ("sign in again.", "请重新登录。"),
        ("a line that is not known", "a line that is not known"),
        ("not known: nor this; or that.", "not known: nor this; or that."),
        ("", ""),
        # Of a sentence of which one half is not known, nothing is translated.
        ("a mark that is not known has expired", "a mark that is not known has expired"),
        ("k1 of the mark is gone", "k1 of the mark is gone"),
        # The words of others are in quotes, in brackets or after a colon.
        ("'a b, which is not c' has expired", "'a b, which is not c' 已过期"),
        ("Nothing was changed: the disk is full.", "未作更改：the disk is full。"),
    ],
)
def test_a_line_is_translated(line: str, text: str) -> None:
    assert CATALOGUE.translate(line) == text


def test_a_value_is_never_read_as_a_text() -> None:
    """A name may look like a place; the other one does not get into it."""
    assert CATALOGUE.translate("{1} of secret is gone") == "secret 的 {1} 没有了"


def test_a_long_line_takes_no_long_time() -> None:
    line = " of " * 5000
    assert CATALOGUE.translate(line) == line
