"""The environment of a shell's container: the app's entries in their order. Pure.

`ssh app01.ssh env` should print what `kubectl exec` prints in the app's container. So a reference to a field
of the pod stays a reference, unless the field has another value in the shell's pod.
"""

import re
from collections.abc import Mapping
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.shells.kubernetes.derive.notes import Note, changed, left_out, warning
from stagedoor.shells.kubernetes.derive.unique import last_wins
from stagedoor.shells.kubernetes.names import CONTAINER, PREFIX

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def shell_environment(
    container: Object, template_metadata: Object, settings: AppSettings, present: frozenset[str]
) -> tuple[dict[str, Any], list[Note]]:
    """Return the fields `env` and `envFrom` in a mapping, and notes on the changes.

    `container` is the app's, `template_metadata` the metadata of its pod template; `present` are the app's
    other containers in the shell's pod. A variable that `env_add` overrides keeps its place, since `$(NAME)`
    in a value refers to an entry before it.
    """
    notes: list[Note] = []
    dropped = set(settings.env_drop)
    entries: list[dict[str, Any]] = []
    added = dict(settings.env_add)
    for entry in container.get("env") or ():
        name = entry["name"]
        if name in settings.env_drop:
            dropped.discard(name)
        elif name in settings.env_add:
            if name in added:
                entries.append({"name": name, "value": added.pop(name)})
        else:
            kept = _entry(entry, template_metadata, container["name"], present, notes)
            entries += [kept] if kept is not None else []
    entries += [{"name": name, "value": value} for name, value in added.items()]
    entries, doubled = last_wins(entries)
    notes += doubled
    sources = []
    for source in container.get("envFrom") or ():
        name = _source_name(source)
        if name in settings.env_drop:
            dropped.discard(name)
        else:
            sources.append(dict(source))
    for name in settings.env_drop:
        if name in dropped:
            notes.append(
                warning(
                    f"variable {name}",
                    f"{PREFIX}env-drop names it, and the container does not: what comes out of "
                    "an envFrom can only be left out with its source, as secret/NAME or "
                    "configmap/NAME",
                )
            )
        else:
            notes.append(changed(f"variable {name}", f"left out by {PREFIX}env-drop"))
    notes += [changed(f"variable {name}", f"set by {PREFIX}env-add") for name in settings.env_add]
    fields = {"env": entries, "envFrom": sources}
    return {field: value for field, value in fields.items() if value}, notes


def _entry(
    entry: Object,
    template_metadata: Object,
    container: str,
    present: frozenset[str],
    notes: list[Note],
) -> dict[str, Any] | None:
    source = entry.get("valueFrom") or {}
    subject = f"variable {entry['name']}"
    if "fileKeyRef" in source:
        notes.append(left_out(subject, "it is read from a file that the app's containers write"))
        return None
    resource = source.get("resourceFieldRef") or {}
    named = resource.get("containerName")
    if named == container:
        of = {**resource, "containerName": CONTAINER}
        return {**entry, "valueFrom": {**source, "resourceFieldRef": of}}
    if named and named not in present:
        notes.append(left_out(subject, f"it speaks of container {named}, which is left out"))
        return None
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    keyed = _KEYED.fullmatch(path)
    if keyed is None:
        return dict(entry)
    values: Mapping[str, str] = template_metadata.get(keyed[1]) or {}
    if keyed[2] not in values:
        why = f"{path} is not in the app's template; it may be empty here"
        notes.append(warning(subject, why))
        return dict(entry)
    # The shell's pod does not have the app's labels and annotations, but their values are known. In a
    # literal value `$` is written `$$`.
    notes.append(changed(subject, f"the app's own {path}"))
    return {"name": entry["name"], "value": values[keyed[2]].replace("$", "$$")}


def _source_name(source: Object) -> str:
    for field, kind in (("secretRef", "secret"), ("configMapRef", "configmap")):
        if field in source:
            return f"{kind}/{source[field].get('name', '')}"
    return ""
