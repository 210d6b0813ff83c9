"""Installation hints for optional parts that are missing."""

import sys


def install_extra(extra: str) -> str:
    """Return the command that installs the optional part `extra` in this environment.

    It never suggests a bare `stagedoor[…]`: pip would ask the index, where a stranger could own the
    name.
    """
    return f"{sys.prefix}/bin/pip install './stagedoor[{extra}]' (./stagedoor is a checkout)"
