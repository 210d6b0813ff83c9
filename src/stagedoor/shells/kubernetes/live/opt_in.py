"""The check of the objects that have the opt-in label. Pure."""

from stagedoor.model.cluster import Kind, Object
from stagedoor.shells.kubernetes.derive.annotations import describe
from stagedoor.shells.kubernetes.names import OPT_IN, SHELL_OF, find_name_problem

SUITABLE_KINDS = (Kind.DEPLOYMENT, Kind.STATEFUL_SET)
"""The kinds from which a shell can be derived."""
UNSUITABLE_KINDS = (Kind.DAEMON_SET, Kind.CRON_JOB)
"""Other kinds that authors may label, although no shell can be derived from them."""


def find_opt_in_problem(item: Object) -> str | None:
    """Return why an object with the label OPT_IN can have no shell; None if it can."""
    metadata = item["metadata"]
    if SHELL_OF in (metadata.get("labels") or {}):
        return None
    if item["kind"] not in SUITABLE_KINDS:
        return (
            f"{item['kind']} {metadata['name']} can have no shell: only a Deployment or a StatefulSet "
            f"can; remove {OPT_IN} from it"
        )
    problem = find_name_problem(str(metadata["name"]))
    return f"{describe(item)} can have no shell: {problem}" if problem else None
