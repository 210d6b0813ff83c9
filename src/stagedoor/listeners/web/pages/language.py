"""The language of the current request: the browser's, or the one that the user has chosen."""

import json
import re
from contextvars import ContextVar
from functools import cache

from stagedoor.wire.language.choose import CHINESE, ENGLISH, NAMES
from stagedoor.wire.language.gateway import load_catalogue, load_state_catalogue
from stagedoor.wire.language.translate import PLACE

OTHERS = tuple(tag for tag in NAMES if tag != ENGLISH)
"""The languages into which the code's English is translated."""
_PLACE_IN_TEMPLATE = re.compile(r"%\((\w+)\)s")
_LANGUAGE: ContextVar[str] = ContextVar("language", default=ENGLISH)


def get_language() -> str:
    """Return the language of this request."""
    return _LANGUAGE.get()


def use_language(language: str | None) -> None:
    """Answer this request in `language`. None and unknown languages change nothing."""
    if language in NAMES:
        _LANGUAGE.set(language)


def translate(line: str) -> str:
    """Return a finished line, such as a refusal's, in the language of this request."""
    return load_catalogue(get_language()).translate(line)


def translate_state(line: str) -> str:
    """Return a line about rules or about the installation's state in the language of this request."""
    return load_state_catalogue(get_language()).translate(line)


def translate_template(message: str) -> str:
    """Return a text of a template, with its places as Jinja writes them: `%(name)s`."""
    return _find(message, read_template_text(message), get_language())


def translate_meaning(meaning: str, message: str) -> str:
    """Return a template's text that has other meanings elsewhere, such as `From [time]` in the catalogue."""
    return _find(message, f"{read_template_text(message)} [{meaning}]", get_language())


def read_template_text(message: str) -> str:
    """Return a text of a template as the catalogue has it: `{name}` where Jinja has `%(name)s`."""
    return _PLACE_IN_TEMPLATE.sub(r"{\1}", message).replace("%%", "%")


@cache
def _find(message: str, key: str, language: str) -> str:
    text = load_catalogue(language).texts.get(key)
    return message if text is None else PLACE.sub(r"%(\1)s", text.replace("%", "%%"))


def render_words(language: str) -> bytes:
    """Return the script that gives the pages' scripts their texts in a language."""
    from stagedoor.wire.language.chinese.scripts import SCRIPTS

    texts = SCRIPTS if language == CHINESE else {}
    return f"globalThis.stagedoorWords={json.dumps(texts, ensure_ascii=False)}".encode()
