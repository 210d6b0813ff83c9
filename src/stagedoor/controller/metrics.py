"""What the controller counts, and how Prometheus reads it (text exposition format 0.0.4). Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_HELP = {
    "decisions": ("counter", "What was decided of a shell; a look ends with Keep as a rule."),
    "failures": ("counter", "Keys that could not be seen to, by the API's reason."),
    "shells": ("gauge", "Shells that have a pod, or should have one."),
    "apps": ("gauge", "Apps that offer a shell."),
    "queue": ("gauge", "Keys that wait, those that wait for a time to come included."),
    "leading": ("gauge", "1 in the replica that works, 0 in those that stand by."),
    "reconcile_seconds": ("counter", "Time spent on keys, requests included."),
    "requests": ("counter", "Requests to the cluster's API; a status of 0 had no answer."),
}


@dataclass
class Metrics:
    """Changed by the controller in its event loop, read by whoever asks."""

    decisions: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    reconcile_seconds: float = 0.0
    requests: Mapping[tuple[str, str, int], int] = field(default_factory=dict)
    """By verb, kind and status."""
    shells: int = 0
    apps: int = 0
    queue: int = 0
    leading: bool = False

    def text(self) -> str:
        """One page."""
        lines = []
        for name, (sort, told) in _HELP.items():
            full = f"stagedoor_controller_{name}" + ("_total" if sort == "counter" else "")
            lines += [f"# HELP {full} {told}", f"# TYPE {full} {sort}"]
            value = getattr(self, name)
            if name == "requests":
                lines += [
                    f'{full}{{verb="{_quoted(verb)}",kind="{_quoted(kind)}",status="{status}"}} {count}'
                    for (verb, kind, status), count in sorted(value.items())
                ]
            elif isinstance(value, Counter):
                label = "decision" if name == "decisions" else "reason"
                lines += [
                    f'{full}{{{label}="{_quoted(which)}"}} {count}'
                    for which, count in sorted(value.items())
                ]
            else:
                lines.append(f"{full} {float(value):.12g}")
        return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
