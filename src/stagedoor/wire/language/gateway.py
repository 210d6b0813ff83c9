"""The gateway's translations, loaded at the first line in another language."""

from __future__ import annotations

from functools import cache

from stagedoor.wire.language.choose import CHINESE
from stagedoor.wire.language.translate import Catalogue

_ENGLISH = Catalogue({})


@cache
def load_catalogue(language: str | None) -> Catalogue:
    """Return the texts of a language; none for English and for a language that is not known."""
    if language != CHINESE:
        return _ENGLISH
    from stagedoor.wire.language.chinese.changes import CHANGES
    from stagedoor.wire.language.chinese.console import CONSOLE
    from stagedoor.wire.language.chinese.pages import PAGES
    from stagedoor.wire.language.chinese.refusals import REFUSALS
    from stagedoor.wire.language.chinese.shells import SHELLS

    return Catalogue({**PAGES, **CONSOLE, **CHANGES, **REFUSALS, **SHELLS})


@cache
def load_state_catalogue(language: str | None) -> Catalogue:
    """Return the texts of `authz.explain`, of `status` and of `doctor` in a language, as `load_catalogue`."""
    if language != CHINESE:
        return _ENGLISH
    from stagedoor.wire.language.chinese.refusals import REFUSALS
    from stagedoor.wire.language.chinese.shells import SHELLS
    from stagedoor.wire.language.chinese.state import STATE

    return Catalogue({**REFUSALS, **SHELLS, **STATE})
