"""The start of `sample.python`: a process that runs the code in its first argument, as `python -c` does.

A module, so that `tests.forks` makes it of the template, which has what is imported here for the code.
"""

import sys

from stagedoor.store.liveness import heartbeat  # noqa: F401
from stagedoor.store.postgresql import server  # noqa: F401
from tests.store import sample  # noqa: F401

if __name__ == "__main__":
    exec(sys.argv.pop(1), {"__name__": "__main__"})
