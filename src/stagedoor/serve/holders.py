"""Which command holds the WebShell's terminals in the shell of a target."""

import shlex
import sys
from collections.abc import Callable, Sequence

from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings

IN_THE_KIT = ("/kit/bin/hold",)
"""Where `deploy/kit` puts it, in every pod: read-only, and nothing that an app's image could name."""
HERE = (sys.executable, "-m", "stagedoor.holder")


def holders_of(settings: Settings) -> Callable[[Target], Sequence[str] | None]:
    """The command for a target; None for a server of whose we have been told none."""
    known: dict[Target, Sequence[str] | None] = {
        Target(entry.app, entry.environment): shlex.split(entry.holder) if entry.holder else None
        for entry in settings.shells.static
    }
    known |= {Target(entry.app, entry.environment): HERE for entry in settings.shells.local}
    environments = frozenset(settings.kubernetes.namespaces)

    def holder(target: Target) -> Sequence[str] | None:
        if target in known:
            return known[target]
        return IN_THE_KIT if (target.environment or "") in environments else None

    return holder
