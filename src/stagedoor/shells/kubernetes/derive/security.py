"""The securityContext of a shell's containers: the app's, stricter where the app sets nothing. Pure.

A shell has capabilities beyond the runtime's defaults only with a privilege. If an app passes Pod Security
`restricted`, so does its shell. If an app runs as root, its shell keeps root's default capabilities, without
which it could not install a package.
"""

from collections.abc import Mapping
from typing import Any

from stagedoor.shells.kubernetes.derive.annotations import CAPABILITIES, AppSettings
from stagedoor.shells.kubernetes.derive.notes import Note, note_change, note_left_out, note_warning
from stagedoor.shells.kubernetes.names import PREFIX

_DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""The capabilities that containerd gives a container by default (its oci package)."""


def derive_security(
    container: Mapping[str, Any],
    pod: Mapping[str, Any],
    settings: AppSettings,
    notes: list[Note],
) -> dict[str, Any]:
    """Return the securityContext of the shell's container, derived from those of the app's container and pod.

    Adds to `notes`.
    """
    context = drop_privileges("the container", container, notes)
    restrict_capabilities("the container", context, settings, notes)
    if settings.user is not None:
        context["runAsUser"] = settings.user
        if settings.group is not None:
            context["runAsGroup"] = settings.group
        notes.append(note_change("user", f"uid {settings.user} by {PREFIX}user"))
    uid = context.get("runAsUser", pod.get("runAsUser"))
    non_root = context.get("runAsNonRoot", pod.get("runAsNonRoot"))
    if "seccompProfile" not in context and "seccompProfile" not in pod:
        context["seccompProfile"] = {"type": "RuntimeDefault"}
    if "allowPrivilegeEscalation" not in context and not _adds_sys_admin(context):
        context["allowPrivilegeEscalation"] = False
        notes.append(
            note_change(
                "privileges",
                "sudo and other setuid programs gain none, as the app's container does not set "
                "allowPrivilegeEscalation: true",
            )
        )
    if uid or non_root:
        capabilities = dict(context.get("capabilities") or {})
        # A process with such a uid has no effective capabilities anyway.
        capabilities.setdefault("drop", ["ALL"])
        context["capabilities"] = capabilities
        if uid and non_root is None:
            context["runAsNonRoot"] = True
    elif uid is None:
        notes.append(
            note_warning(
                "user",
                "the image decides, and may say root; the app's securityContext.runAsUser or "
                f"{PREFIX}user decides better",
            )
        )
    else:
        notes.append(note_warning("user", "root, as in the app's container"))
    return context


def restrict_capabilities(
    subject: str, context: dict[str, Any], settings: AppSettings, notes: list[Note]
) -> None:
    """Remove capabilities above the default ones from a securityContext, unless the app has the privilege.

    Adds to `notes`.
    """
    capabilities = context.get("capabilities") or {}
    above = [name for name in capabilities.get("add") or () if not _is_default(name)]
    if not above:
        return
    if CAPABILITIES in settings.privileges:
        why = f"{', '.join(above)}, as in the app: they may open the node to the shell"
        notes.append(note_warning(f"capabilities of {subject}", why))
        return
    kept = [name for name in capabilities["add"] if _is_default(name)]
    context["capabilities"] = {**capabilities, "add": kept}
    if not kept:
        del context["capabilities"]["add"]
    why = (
        "more than containers have by default; the annotation "
        f"{PREFIX}privileges: {CAPABILITIES} brings them"
    )
    notes.append(note_left_out(f"capabilities {', '.join(above)} of {subject}", why))


def _is_default(capability: str) -> bool:
    return capability.removeprefix("CAP_") in _DEFAULT_CAPABILITIES


def drop_privileges(subject: str, context: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
    """Return a securityContext without anything that opens the node to a container, and add to `notes`."""
    kept = dict(context)
    if kept.pop("privileged", False):
        notes.append(
            note_left_out(f"privileged of {subject}", "it would open the node to the shell")
        )
    if kept.pop("procMount", "Default") != "Default":
        notes.append(note_left_out(f"procMount of {subject}", "it would show more of the node"))
    return kept


def _adds_sys_admin(context: Mapping[str, Any]) -> bool:
    # The API refuses SYS_ADMIN with allowPrivilegeEscalation: false (core validation of SecurityContext).
    return any(
        name in ("SYS_ADMIN", "CAP_SYS_ADMIN", "ALL")
        for name in (context.get("capabilities") or {}).get("add") or ()
    )
