"""Opt-ins that cannot work, because of the object's kind or name. Pure."""

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import describe, is_offered
from stagedoor.shells.kubernetes.names import OPT_IN, SHELL_OF, name_problem

SUITABLE = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)
UNSUITABLE = (Kind.DAEMON_SET, Kind.CRON_JOB)
"""Kinds that authors label as well, although no shell can be derived from them."""


def opt_in_problem(item: Object) -> str | None:
    """Return why an object with the opt-in can have no shell; None if it can, or has no opt-in."""
    metadata = item["metadata"]
    if not is_offered(item) or SHELL_OF in (metadata.get("labels") or {}):
        return None
    if item["kind"] not in SUITABLE:
        return (
            f"{item['kind']} {metadata['name']} can have no shell: only a Deployment or a StatefulSet "
            f"can; remove {OPT_IN} from it"
        )
    problem = name_problem(str(metadata["name"]))
    return f"{describe(item)} can have no shell: {problem}" if problem else None
