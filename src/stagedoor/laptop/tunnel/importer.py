"""An importer of modules whose source is in this file.

`laptop.tunnel.onefile` builds such a file: this module, then the source of each module in SOURCES, and at the
end the call of the program.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

SOURCES: dict[str, str] = {}


class SourceImporter:
    """A finder and loader of the modules in SOURCES, which compiles each when it is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the spec of a module in SOURCES, or None."""
        if name not in SOURCES:
            return None
        is_package = any(other.startswith(f"{name}.") for other in SOURCES)
        spec_type: type[ModuleSpec] = type(sys.__spec__)  # an import would take longer
        return spec_type(name, self, is_package=is_package)  # type: ignore[arg-type]  # no abc.Loader: importing it takes time

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: Python creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Compile and run the module."""
        name = module.__name__
        code = compile(SOURCES[name], f"<{name}>", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the source is in this file

    def get_source(self, name: str) -> str:
        """Return the module's source, for tracebacks."""
        return SOURCES[name]


def install() -> None:
    """Import modules from SOURCES first, so that no installed package shadows them."""
    sys.meta_path.insert(0, SourceImporter())
