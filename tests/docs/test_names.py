"""Public names: a class is named by words of the glossary or of the field, a function by what it does."""

import ast
import re

from tests.docs import names, pages, stable_names
from tests.docs.pages import ROOT

ARCHITECTURE = ROOT / "docs/explanation/architecture.md"
FIELD_WORDS = ROOT / "tests/docs/field-words.txt"
PACKAGE = ROOT / "src/stagedoor"
WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")


def stem(word: str) -> str:
    return word.lower().removesuffix("s")


def glossary() -> list[list[str]]:
    return pages.table(ARCHITECTURE, "Glossary")


def known() -> set[str]:
    lines = FIELD_WORDS.read_text(encoding="utf-8").splitlines()
    words = " ".join(line for line in lines if not line.startswith("#")).split()
    for term, *_ in glossary():
        words += re.findall(r"[a-z]+", term.lower())
    return {stem(word) for word in words}


def public_classes() -> set[str]:
    """Of the package; those inside of a function are not public."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.add(node.name)
    return found


def strange() -> set[str]:
    words = known()
    return {
        name for name in public_classes() if any(stem(w) not in words for w in WORD.findall(name))
    }


def test_a_public_class_is_named_by_the_glossary_or_the_field() -> None:
    assert strange() == set(), f"say it in words of {FIELD_WORDS.name}"


def test_every_place_in_the_glossary_is_there() -> None:
    for term, _, places in glossary():
        for place in re.findall(r"`([^`]+)`", places):
            assert any((root / place).exists() for root in (PACKAGE, ROOT)), (term, place)


def test_a_public_function_is_named_by_a_verb_and_no_name_is_a_bare_participle() -> None:
    new = names.offenders() - names.words()
    assert new == set(), (
        f"begin a function with a verb of {names.VERBS.name}, and name a value by a noun"
    )


def test_names_that_leave_the_program_stay() -> None:
    kept, is_whole = stable_names.read()
    assert is_whole, f"{stable_names.LIST.name} was renamed with the code: take it back from git"
    now = stable_names.stable_names()
    assert kept - now == set(), (
        f"stores, audits, scripts and settings of users have these: {stable_names.__doc__}"
    )
    assert now - kept == set(), "these are new: run python -m tests.docs.stable_names"
