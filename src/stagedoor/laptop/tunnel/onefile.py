"""Single-file programs: the source of each module as text, and an importer.

The file is readable. It compiles each module when it is imported, so a run compiles only the modules that it
uses. A zip application (PEP 441) would also import `runpy` at each start.
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
"""The modules that translate messages."""
TUNNEL = ("stagedoor.laptop.tunnel", "stagedoor.wire.tunnel", *LANGUAGE)
"""The packages and modules of `stagedoor tunnel`, which import only the standard library and each other."""
_MAIN = """\
from stagedoor.laptop.tunnel.main import main

sys.exit(main(sys.argv[1:]))
"""


def build_tunnel_file() -> bytes:
    """Return `stagedoor tunnel` as a file for machines with ssh and Python 3.8 or later."""
    return build_one_file(read_sources(*TUNNEL), _MAIN)


def read_sources(*modules: str) -> dict[str, str]:
    """Return the sources of these modules, and of all modules in those that are packages, by name."""
    texts: Mapping[str, str] | None = getattr(sys.modules["__main__"], "SOURCES", None)
    names = _list_modules(modules) if texts is None else texts
    return {
        name: _read_source(name) if texts is None else texts[name]
        for name in names
        if any(f"{name}.".startswith(f"{module}.") for module in modules)
    }


def build_one_file(texts: Mapping[str, str], main: str) -> bytes:
    """Return an executable Python file that runs the code `main`, which may import the modules in `texts`.

    Parent packages that are not in `texts` are empty.
    """
    packages = {name[:at] for name in texts for at, c in enumerate(name) if c == "."}
    parts = ["#!/usr/bin/env python3\n", _read_source(_IMPORTER)]
    for name, text in {**dict.fromkeys(sorted(packages), ""), **texts}.items():
        assert _QUOTES not in text, f"{name} contains {_QUOTES}"
        parts.append(f'\n{_RULE}SOURCES["{name}"] = r{_QUOTES}{text}{_QUOTES}\n')
    return "".join([*parts, f"\n{_RULE}install()\n{main}"]).encode()


def _list_modules(packages: tuple[str, ...]) -> list[str]:
    names = list(packages)
    for package in packages:
        path = getattr(import_module(package), "__path__", ())
        names += [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return names


def _read_source(name: str) -> str:
    """Return the source of a module, from its loader (PEP 302)."""
    loader = import_module(name).__loader__
    return str(loader.get_source(name) or "")  # type: ignore[union-attr]  # source loaders have it
