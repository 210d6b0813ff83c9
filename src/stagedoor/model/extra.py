"""How a message names an optional part that is not installed."""

import sys


def install_extra(extra: str) -> str:
    """The command for it, in this environment.

    Never a bare `stagedoor[…]`: pip would ask the index, where a stranger could have the name.
    """
    return f"{sys.prefix}/bin/pip install './stagedoor[{extra}]' (./stagedoor is a checkout)"
