"""The catalogue has every text that a developer reads, and none besides (docs/decisions/0049)."""

import re

import pytest

from stagedoor.wire.language.chinese.console import CONSOLE
from stagedoor.wire.language.chinese.doctor import DOCTOR
from stagedoor.wire.language.chinese.laptop import LAPTOP
from stagedoor.wire.language.chinese.pages import PAGES
from stagedoor.wire.language.chinese.refusals import REFUSALS
from stagedoor.wire.language.chinese.scripts import SCRIPTS
from stagedoor.wire.language.chinese.shells import SHELLS
from stagedoor.wire.language.choose import CHINESE
from stagedoor.wire.language.gateway import load_catalogue
from stagedoor.wire.language.translate import PLACE, fill
from tests.docs import languages

CATALOGUES = {
    "pages": PAGES,
    "console": CONSOLE,
    "refusals": REFUSALS,
    "scripts": SCRIPTS,
    "shells": SHELLS,
    "laptop": LAPTOP,
    "doctor": DOCTOR,
}
READ_BY_DEVELOPERS = ("authn", "authz", "model", "session", "signin")
"""The packages all of whose refusals a person may read."""
NOT_FOR_DEVELOPERS = re.compile(
    r"^\{0\} \{1\} is not granted|is no permission|no grant permits|both allowed|would permit nothing|"
    r"an invitation ends|^\{0\} is disabled|is there already|a password would not let|"
    r"no identity provider is set up|more than one identity provider|there is no identity provider \{|"
    r"logout token|another version of the gateway|names no app; write|is no address of a site|"
    r"the settings do not say|a share lasts|rule \{0\} for machines|so many jobs log in|"
    r"ID token of an issuer|issuer of this token|wait for approval|^your clock is"
)
"""Refusals of what only an administrator's command, an identity provider or a job asks for, and two whose
values are words of the line."""
ASSEMBLED = {
    *(
        "access granted: for {0}",
        "{0} has changed at {1}",
        "timed out",
        "input lost",
        "not started",
    ),
    *(f"{state} with {{0}}" for state in ("exited", "cancelled", "lost")),
    *(f"{state} with {{0}}" for state in ("timed out", "input lost", "not started")),
}
"""Lines of pieces so short that they are not found in the code."""
CHINESE_LETTER = re.compile(r"[\u4e00-\u9fff]")
TAG = re.compile(r"</?[a-z]+[^>]*>")


def test_the_pages_have_all_texts_and_no_others() -> None:
    texts = languages.template_texts()
    known = {**PAGES, **CONSOLE}
    assert {text: where for text, where in texts.items() if text not in known} == {}
    assert [text for text in known if text not in texts] == []


def test_the_scripts_have_all_texts_and_no_others() -> None:
    texts = languages.script_texts()
    assert {text: where for text, where in texts.items() if text not in SCRIPTS} == {}
    assert [text for text in SCRIPTS if text not in texts] == []


@pytest.mark.parametrize(
    "catalogue", [REFUSALS, SHELLS, LAPTOP, DOCTOR], ids=["refusals", "shells", "laptop", "doctor"]
)
def test_each_line_is_one_of_the_code(catalogue: dict[str, str]) -> None:
    """The code puts lines together, so most of their words are found there in groups of three."""
    code = " ".join("\n".join(languages.python_texts(".")).split())
    unknown = []
    for text in catalogue:
        groups = [group for piece in PLACE.split(text)[::2] for group in groups_of(piece)]
        if sum(group in code for group in groups) < len(groups) / 2:
            unknown.append(text)
    assert set(unknown) <= ASSEMBLED


def groups_of(piece: str) -> list[str]:
    """Return the groups of three words in a piece of a text, or all of a shorter one."""
    words = piece.split()
    return [" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))] if words else []


@pytest.mark.parametrize("name", CATALOGUES)
def test_both_languages_have_the_same_values_and_elements(name: str) -> None:
    for english, chinese in CATALOGUES[name].items():
        assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese)), english
        assert sorted(TAG.findall(english)) == sorted(TAG.findall(chinese)), english
        assert chinese == chinese.strip() or english != english.strip(), english


@pytest.mark.parametrize("name", CATALOGUES)
def test_the_chinese_is_chinese(name: str) -> None:
    kept = {"{shown} of {all}", "{0} of {1}", "{0}: {1} of {2}", "{0}: {1}"}
    for english, chinese in CATALOGUES[name].items():
        assert CHINESE_LETTER.search(chinese) or english in kept, english
        prose = re.sub(r"<code>.*?</code>|<[^>]*>|\([^()]*\)|（[^（）]*）|`[^`]*`", "", chinese)
        assert not re.search(r"[\u4e00-\u9fff][,;:!?]|[,;!?][\u4e00-\u9fff]", prose), chinese
        assert not re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", prose), (
            chinese
        )


@pytest.mark.parametrize("part", READ_BY_DEVELOPERS)
def test_each_refusal_is_translated(part: str) -> None:
    catalogue = load_catalogue(CHINESE)
    missing = []
    for place, text in languages.refusals(part):
        line = fill(text, dict.fromkeys(PLACE.findall(text), "5"))
        if NOT_FOR_DEVELOPERS.search(text) or not re.search(r"[a-z]{3}", PLACE.sub("", text)):
            continue
        chinese = catalogue.translate(line)
        prose = re.sub(r"`[^`]*`|\([^()]*\)|（[^（）]*）", "", chinese)
        if re.search(r"(?:\b[a-z]{2,}\b[ ,]+){3}", prose):
            missing.append(f"{place}: {text} → {chinese}")
    assert missing == []
