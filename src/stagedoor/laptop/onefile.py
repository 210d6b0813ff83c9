"""The client file that a gateway serves: this folder, and the modules that it shares with the gateway."""

from __future__ import annotations

from stagedoor import __version__
from stagedoor.laptop.tunnel.onefile import LANGUAGE, build_one_file, read_sources

SHARED = (
    *("stagedoor.model.letters", "stagedoor.model.units"),
    *("stagedoor.wire.finding", "stagedoor.wire.oneline", "stagedoor.wire.tunnel"),
    *("stagedoor.wire.language.chinese.doctor", *LANGUAGE),
)
"""The shared modules. They import only the standard library and each other."""
# -I and -S make it start faster, and protect it from the user's own packages.
_MAIN = """\
import os

from stagedoor.laptop.if_needed import is_fresh, parse_folder, use_compiled

folder = parse_folder(sys.argv[1:])
if folder is None or not is_fresh(folder):
    if folder is not None:
        use_compiled(folder, __file__, SOURCES)
    from stagedoor.laptop.main import main

    sys.exit(main(sys.argv[1:], [sys.executable, "-I", "-S", os.path.abspath(__file__)]))
"""


def build_client_file() -> bytes:
    """Return the client as an executable file for machines with ssh and Python 3.8 or later."""
    texts = {
        "stagedoor": f'__version__ = "{__version__}"\n',
        **read_sources("stagedoor.laptop", *SHARED),
    }
    return build_one_file(texts, _MAIN)
