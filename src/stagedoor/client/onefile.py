"""The client as one file that runs on its own: a Python zip application (PEP 441)."""

import io
import zipfile
from importlib.resources import files

from stagedoor import __version__

SHEBANG = b"#!/usr/bin/env python3\n"
MODULES = (
    *(
        "client.laptop",
        "client.options",
        "client.login",
        "client.login_ask",
        "client.login_files",
        "client.login_web",
        "client.ssh_files",
        "client.whoami",
    ),
    *("client.needed", "client.turn", "client.keygen", "client.tunnel", "client.http"),
    *("client.doctor.judge", "client.doctor.path", "client.doctor.walk"),
    *("model.letters", "model.units", "wire.finding", "wire.oneline"),
)
"""The modules in the file, below `stagedoor`. Their packages are empty there."""
# -I and -S make it start sooner, and keep the person's own packages from breaking it.
_MAIN = """\
import os
import sys

from stagedoor.client.needed import folder_in, is_fresh, use_compiled

folder = folder_in(sys.argv[1:])
if folder is None or not is_fresh(folder):
    if folder is not None:
        use_compiled(folder, sys.argv[0])
    from stagedoor.client.laptop import main

    sys.exit(main(sys.argv[1:], [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0])]))
"""
_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can hold."""


def client_file() -> bytes:
    """Return the client as an executable file for a machine with ssh and Python 3.8 or later."""
    sources = {
        "__main__.py": _MAIN,
        "stagedoor/__init__.py": f'__version__ = "{__version__}"\n',
    }
    for name in MODULES:
        package, _, module = f"stagedoor.{name}".rpartition(".")
        folder = package.replace(".", "/")
        sources[f"{folder}/__init__.py"] = ""
        text = (files(package) / f"{module}.py").read_text(encoding="utf-8")
        sources[f"{folder}/{module}.py"] = text
    file = io.BytesIO(SHEBANG)
    file.seek(0, io.SEEK_END)
    # Stored, not compressed: decompression would cost each start more than reading does.
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sources.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text)
    return file.getvalue()
