"""Programs as one file that runs on its own: the sources of its modules as text, and an importer of them.

A person can read the file. Each module is compiled when it is imported, so a run pays only for those that it
needs; a zip application (PEP 441) would also pay for `runpy` at each start.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_IMPORTER = "stagedoor.laptop.tunnel.importer"
_QUOTES = "'" * 3
_RULE = f"# {'-' * 98}\n"
LANGUAGE = (
    *("stagedoor.wire.language.choose", "stagedoor.wire.language.translate"),
    *("stagedoor.wire.language.chinese.refusals", "stagedoor.wire.language.chinese.shells"),
    "stagedoor.wire.language.chinese.laptop",
)
"""The modules by which lines are translated."""
TUNNEL = ("stagedoor.laptop.tunnel", "stagedoor.wire.tunnel", *LANGUAGE)
"""The packages and modules of `stagedoor tunnel`, which import only the standard library and each other."""
_MAIN = """\
from stagedoor.laptop.tunnel.main import main

sys.exit(main(sys.argv[1:]))
"""


def build_tunnel_file() -> bytes:
    """Return `stagedoor tunnel` as a file for a machine with ssh and Python 3.8 or later."""
    return build_one_file(read_sources(*TUNNEL), _MAIN)


def read_sources(*wanted: str) -> dict[str, str]:
    """Return the sources of these modules, and of all that is in these packages, by their names."""
    texts: Mapping[str, str] | None = getattr(sys.modules["__main__"], "SOURCES", None)
    names = _names(wanted) if texts is None else texts
    return {
        name: _source(name) if texts is None else texts[name]
        for name in names
        if any(f"{name}.".startswith(f"{top}.") for top in wanted)
    }


def build_one_file(texts: Mapping[str, str], main: str) -> bytes:
    """Return an executable Python file that runs the code `main`, which may import these modules.

    Packages above them are empty if they are not in `texts`.
    """
    packages = {name[:at] for name in texts for at, c in enumerate(name) if c == "."}
    file = ["#!/usr/bin/env python3\n", _source(_IMPORTER)]
    for name, text in {**dict.fromkeys(sorted(packages), ""), **texts}.items():
        assert _QUOTES not in text, f"{name} would end its own text"
        file.append(f'\n{_RULE}SOURCES["{name}"] = r{_QUOTES}{text}{_QUOTES}\n')
    return "".join([*file, f"\n{_RULE}install()\n{main}"]).encode()


def _names(wanted: tuple[str, ...]) -> list[str]:
    names = list(wanted)
    for package in wanted:
        path = getattr(import_module(package), "__path__", ())
        names += [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return names


def _source(name: str) -> str:
    """Return the source of a module, by the loader that all kinds of packages have (`inspect`, PEP 302)."""
    loader = import_module(name).__loader__
    return str(loader.get_source(name) or "")  # type: ignore[union-attr]  # every loader of source has it
