"""Choosing a language: by a browser's header (RFC 9110 §12.5.4), or by the locale (POSIX §8.2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ENGLISH, CHINESE = "en", "zh-CN"
NAMES = {ENGLISH: "English", CHINESE: "简体中文"}
"""Each language by its tag (RFC 5646), named in itself."""
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_MAX_CHARS = 1000


def choose_by_header(accepted: str) -> str:
    """Return the language that a browser's `Accept-Language` prefers; English if it has neither."""
    weighted: list[tuple[float, str]] = []
    for item in accepted[:_MAX_CHARS].split(","):
        tag, _, parameter = item.strip().partition(";")
        weight = parameter.strip().lower().partition("q=")[2]
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        language = _find(tag.strip().lower(), "-")
        if language is not None and quality > 0:
            weighted.append((-quality, language))
    # The sort is stable: of equal ones the first counts.
    return min(weighted, key=lambda each: each[0])[1] if weighted else ENGLISH


def choose_by_locale(environment: Mapping[str, str]) -> str:
    """Return the language of a program's messages: that of `LC_ALL`, else `LC_MESSAGES`, else `LANG`."""
    for name in _VARIABLES:
        value = environment.get(name, "")
        if value:
            return _find(value.partition(".")[0].lower(), "_") or ENGLISH
    return ENGLISH


def _find(tag: str, mark: str) -> str | None:
    """Return the language of a tag such as `zh-hans-cn`, or None. Traditional Chinese is another language."""
    parts = tag.split(mark)
    if parts[0] == "zh":
        return None if {"hant", "tw", "hk", "mo"}.intersection(parts) else CHINESE
    return ENGLISH if parts[0] == "en" else None
