"""The description of a derived shell for `stagedoor app explain`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.target import Target
from stagedoor.shells.kubernetes.derive.annotations import (
    AppSettings,
    WrongSettings,
    describe,
    is_offered,
)
from stagedoor.shells.kubernetes.derive.container import format_source
from stagedoor.shells.kubernetes.derive.notes import Note, NoteKind, note_warning
from stagedoor.shells.kubernetes.derive.shell import Derived
from stagedoor.shells.kubernetes.duration import show_duration
from stagedoor.shells.kubernetes.names import CONTAINER, OPT_IN, make_shell_name

_HEADINGS = {
    NoteKind.WARNING: "Mind",
    NoteKind.CHANGED: "Changed from the app",
    NoteKind.LEFT_OUT: "Left out",
}


@dataclass(frozen=True, slots=True)
class ShellReport:
    """The description of an app's shell; `to_json()` and `to_text()` have the same contents.

    `facts` maps names to texts, in the order shown: container, image, user, volumes, times.
    If there are `problems`, the app has no shell, and `facts` and `notes` are empty.
    """

    target: Target
    app: str
    namespace: str
    problems: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object for `--json`. It always has all fields."""
        return {
            "target": str(self.target),
            "app": self.app,
            "namespace": self.namespace,
            "problems": list(self.problems),
            "shell": dict(self.facts),
            "notes": [
                {"kind": note.kind.value, "subject": note.subject, "why": note.why}
                for note in self.notes
            ],
        }

    def to_text(self) -> str:
        """Return the text for a terminal, without a final newline."""
        lines = [f"{self.target}: the shell of {self.app} in namespace {self.namespace}"]
        if self.problems:
            lines += ["", "No shell can be made:", *(f"  {problem}" for problem in self.problems)]
        width = max(map(len, self.facts), default=0)
        lines += [f"  {name:{width}}  {value}" for name, value in self.facts.items()]
        for kind, heading in _HEADINGS.items():
            notes = [note for note in self.notes if note.kind is kind]
            if notes:
                lines += ["", f"{heading}:", *(f"  {note}" for note in notes)]
        return "\n".join(lines)


def explain(
    target: Target,
    app: Object,
    settings: AppSettings | WrongSettings,
    derived: Derived | WrongSettings | None,
    egress: str | None = None,
) -> ShellReport:
    """Describe the shell of `app`.

    `derived` is None if `settings` are wrong; `egress` is the result of `policies.find_egress_problem`.
    """
    problems: list[str] = []
    if not is_offered(app):
        problems.append(f"{describe(app)} offers no shell; the label {OPT_IN}: true offers one")
    for part in (settings, derived):
        if isinstance(part, WrongSettings):
            problems += [problem for problem in part.problems if problem not in problems]
    namespace = app["metadata"].get("namespace", "")
    if problems or not isinstance(derived, Derived):
        return ShellReport(target, describe(app), namespace, tuple(problems))
    facts = MappingProxyType(_facts(app, derived))
    notes = derived.notes if egress is None else (note_warning("network", egress), *derived.notes)
    return ShellReport(target, describe(app), namespace, (), facts, notes)


def _facts(app: Object, derived: Derived) -> dict[str, str]:
    settings, pod = derived.settings, derived.deployment["spec"]["template"]["spec"]
    container = next(item for item in pod["containers"] if item["name"] == CONTAINER)
    security = container["securityContext"]
    uid = security.get("runAsUser", (pod.get("securityContext") or {}).get("runAsUser"))
    others = [
        item["name"]
        for field in ("initContainers", "containers")
        for item in pod.get(field) or ()
        if item is not container
    ]
    facts = {
        "objects": make_shell_name(app["metadata"]["name"]),
        "made from": f"container {derived.container}",
        "image": derived.image,
        "packages image": settings.packages_image or "",
        "command": " ".join(container["command"]),
        "user": "as the image says" if uid is None else f"uid {uid}",
        "service account": _account(pod),
        "environment": _environment(container),
        "mounts": ", ".join(
            mount["mountPath"]
            for mount in container["volumeMounts"]
            if not mount["name"].startswith("stagedoor-")
        ),
        "resources": _resources(container.get("resources") or {}),
        "other containers": ", ".join(others),
        "stops": "never automatically (warm)"
        if settings.warm
        else f"{show_duration(settings.idle_stop_s)} after the last session, "
        f"{show_duration(settings.tmux_grace_s)} with a detached tmux",
        "deleted": f"{show_duration(settings.idle_delete_s)} after that",
        "grace": f"{show_duration(settings.grace_s)} for open sessions when it must end",
        "template": derived.template,
    }
    if settings.warm:
        del facts["deleted"]
    return {name: value for name, value in facts.items() if value}


def _account(pod: Mapping[str, Any]) -> str:
    if pod.get("automountServiceAccountToken") is False:
        return "none"
    return str(pod.get("serviceAccountName", "default"))


def _environment(container: Mapping[str, Any]) -> str:
    """Return the names of the variables and sources. Values are left out, since they may be secret."""
    names = [entry["name"] for entry in container.get("env") or ()]
    names += [f"all of {format_source(source)}" for source in container.get("envFrom") or ()]
    return ", ".join(names)


def _resources(resources: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(
        f"{part} {', '.join(f'{name} {amount}' for name, amount in sorted(amounts.items()))}"
        for part, amounts in sorted(resources.items())
        if amounts
    )
