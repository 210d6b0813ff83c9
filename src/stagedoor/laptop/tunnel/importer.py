"""An importer of modules that are texts in this file.

`laptop.tunnel.onefile` makes such a file: this module, then SOURCES, the text of each module by its name, and
at the end the call of the program.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

SOURCES: dict[str, str] = {}


class SourceImporter:
    """A finder and loader of the modules in SOURCES. Each is compiled when it is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the spec of a module in SOURCES, a package if others are in it; else None."""
        if name not in SOURCES:
            return None
        is_package = any(other.startswith(f"{name}.") for other in SOURCES)
        spec_type: type[ModuleSpec] = type(sys.__spec__)  # importing it would take longer
        return spec_type(name, self, is_package=is_package)  # type: ignore[arg-type]  # no abc.Loader: importing it takes time

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Compile the module and run it."""
        name = module.__name__
        code = compile(SOURCES[name], f"<{name}>", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the texts of this very file

    def get_source(self, name: str) -> str:
        """Return the module's text, which tracebacks show."""
        return SOURCES[name]


def install() -> None:
    """Import the modules in SOURCES before all others, so that no installed package takes their place."""
    sys.meta_path.insert(0, SourceImporter())
