"""NetworkPolicies that restrict what an app may reach, but not what its shell may reach. Pure.

A shell has none of its app's labels, so a policy that selects pods by these does not select the shell.
"""

from collections.abc import Mapping, Sequence

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.images import selects
from stagedoor.shells.kubernetes.names import RUN_OF, SHELL_OF


def find_egress_problem(
    name: str,
    app_labels: Mapping[str, str],
    policies: Sequence[Object],
    shell: Mapping[str, str],
) -> str | None:
    """Return a sentence about the policies under which a shell can reach more than its app, or None.

    `app_labels` are those of the app's pods, and `shell` those of its shell's pod; `policies` are all of the
    namespace.
    """
    bounding = [policy for policy in policies if _bounds_egress(policy)]
    if any(_selects(policy, shell) for policy in bounding):
        # A default of the namespace, or a policy for the shell: its author has thought of shells.
        return None
    names = [str(policy["metadata"]["name"]) for policy in bounding if _selects(policy, app_labels)]
    if not names:
        return None
    many = "NetworkPolicies" if len(names) > 1 else "NetworkPolicy"
    verb = "bound" if len(names) > 1 else "bounds"
    return (
        f"{many} {', '.join(sorted(names))} {verb} what the app may reach, and not its shell; "
        f"give the shell one for the label {SHELL_OF}: {name}, and its runs one for {RUN_OF}: {name}"
    )


def _bounds_egress(policy: Object) -> bool:
    """Return whether the policy applies to egress (networking.k8s.io/v1 NetworkPolicySpec, `policyTypes`)."""
    spec = policy.get("spec") or {}
    types = spec.get("policyTypes")
    return "Egress" in types if types else bool(spec.get("egress"))


def _selects(policy: Object, labels: Mapping[str, str]) -> bool:
    return selects((policy.get("spec") or {}).get("podSelector") or {}, labels)
