"""Who offers a shell and can have none: found by what they are and how they are called. Pure."""

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import describe, is_offered
from stagedoor.shells.kubernetes.names import OPT_IN, SHELL_OF, name_problem

SUITABLE = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)
UNSUITABLE = (Kind.DAEMON_SET, Kind.CRON_JOB)
"""Kinds that people label all the same, and that no shell is derived from."""


def opt_in_problem(found: Object) -> str | None:
    """Why there is no shell of this object though it offers one; None if it can have one, or offers none."""
    metadata = found["metadata"]
    if not is_offered(found) or SHELL_OF in (metadata.get("labels") or {}):
        return None
    if found["kind"] not in SUITABLE:
        return (
            f"{found['kind']} {metadata['name']} can have no shell: only a Deployment or a StatefulSet "
            f"can; remove {OPT_IN} from it"
        )
    problem = name_problem(str(metadata["name"]))
    return f"{describe(found)} can have no shell: {problem}" if problem else None
