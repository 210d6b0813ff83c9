"""Text is escaped on every page: what another person wrote cannot change a page's elements. Pure."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagedoor.listeners.web import replay as recordings
from stagedoor.listeners.web.pages import markup as pages
from stagedoor.listeners.web.pages.assets import Assets
from stagedoor.listeners.web.pages.language import use_language
from stagedoor.model.target import Target
from stagedoor.wire.language.choose import NAMES

HOSTILE = """x"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;"""
TEMPLATES = Path(inspect.getfile(pages)).parent.with_name("templates")
PAGES = [
    function
    for module in (pages, recordings)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and not name.startswith("_")
    and "place" in inspect.signature(function).parameters
]


def made(hint: Any, text: str) -> Any:
    """Return a value of the type `hint`, with `text` wherever there is text."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return made(inner[0], text)
    if kind is Sequence:
        return [made(inner[0], text)]
    if hint is Assets:
        return Assets(Path("/nonexistent"))
    if hint is Path:
        return Path(text)
    if hint is Target:
        return Target("app01")
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: made(hints[field.name], text) for field in fields(hint)})  # type: ignore[operator]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        return hint(**{name: made(hints[name], text) for name in hint.__struct_fields__})
    return text if hint is str else hint(1)


class Elements(HTMLParser):
    """The elements of a page with the names of their attributes; `values` are the texts and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[tuple[str, ...]] = []
        self.values: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append((tag, *(name for name, _ in attrs)))
        self.values += [value for _, value in attrs if value is not None]

    def handle_data(self, data: str) -> None:
        self.values.append(data)


@pytest.mark.parametrize("language", NAMES)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_text_changes_no_element_of_a_page(page: Callable[..., str], language: str) -> None:
    copy_context().run(_check_elements, page, language)


def _check_elements(page: Callable[..., str], language: str) -> None:
    use_language(language)
    hints = typing.get_type_hints(page)
    texts = list(inspect.signature(page).parameters)
    plain, hostile = (
        Elements(page(**{name: made(hints[name], text) for name in texts}))
        for text in ("harmless", HOSTILE)
    )
    assert hostile.names == plain.names
    assert any(HOSTILE in value for value in hostile.values), "it is shown, as it is"


def test_every_page_is_held_to_it() -> None:
    named = ("home", "message", "onward", "player", "sign_in", "terminal")
    assert {f"render_{page}" for page in named} <= {page.__name__ for page in PAGES}


def test_no_code_makes_elements_by_itself() -> None:
    for module in sorted(TEMPLATES.parent.rglob("*.py")):
        elements = re.findall(r"<[a-z!/][^>\n]*>", module.read_text(encoding="utf-8"))
        assert not elements, f"{module}: {elements}; write a template"


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_template_turns_escaping_off(template: Path) -> None:
    assert not re.search(r"\bsafe\b|autoescape|Markup", template.read_text(encoding="utf-8"))
