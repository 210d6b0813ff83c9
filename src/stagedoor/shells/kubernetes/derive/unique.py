"""Removes duplicates from lists in which an app may have them, but its shell may not. Pure.

The API server accepts duplicates from `kubectl replace` or a controller's update, but refuses them in a
server-side apply, which creates shells (`x-kubernetes-list-map-keys` in its OpenAPI document).
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.notes import Note, note_change, note_left_out, note_warning

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
"""`$$` expands to `$`, and `$(NAME)` to the value of an earlier entry (kubelet,
third_party/forked/golang/expansion)."""


def keep_last(entries: Iterable[Object], notes: list[Note]) -> list[dict[str, Any]]:
    """Return the last entry of each name in `env`, which the kubelet would use, and add to `notes`.

    A reference to an earlier entry of the same name, as in `PATH=$(PATH):/opt/bin`, is replaced by its value.
    """
    entries = list(entries)
    last = {entry["name"]: number for number, entry in enumerate(entries)}
    earlier: dict[str, _Earlier | None] = {}
    kept: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        name = entry["name"]
        expanded, lost = _expand(entry, earlier, kept)
        notes += [
            note_warning(
                f"variable {name}",
                f"it refers to an earlier {variable}, which is not a plain value",
            )
            for variable in lost
        ]
        if last[name] == number:
            kept[name] = expanded
            earlier.pop(name, None)
        else:
            is_plain = not expanded.get("valueFrom")
            text = expanded.get("value") or ""
            earlier[name] = _Earlier(text, frozenset(kept)) if is_plain else None
            notes.append(
                note_change(f"variable {name}", "the app has it more than once; the last counts")
            )
    return list(kept.values())


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The text of a dropped entry, and the names to which it could refer."""

    text: str
    available: frozenset[str]

    def at(self, available: Container[str]) -> str:
        """Return the text for a later entry, which may refer to the names `available`.

        References to names that were not available earlier were not expanded, so they are escaped.
        """
        return _REFERENCE.sub(
            lambda match: (
                f"${match[0]}"
                if match[1] in available and match[1] not in self.available
                else match[0]
            ),
            self.text,
        )


def _expand(
    entry: Object, earlier: Mapping[str, _Earlier | None], available: Container[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the entry with references to `earlier` entries expanded, and the names without a value."""
    lost: list[str] = []

    def expand(reference: re.Match[str]) -> str:
        name = reference[1]
        if name is None or name not in earlier:
            return reference[0]
        dropped = earlier[name]
        if dropped is None:
            lost.append(name)
            return reference[0]
        return dropped.at(available)

    text = entry.get("value")
    if not earlier or not isinstance(text, str):
        return dict(entry), lost
    return {**entry, "value": _REFERENCE.sub(expand, text)}, lost


def join_aliases(aliases: Iterable[Object], notes: list[Note]) -> list[dict[str, Any]]:
    """Join `hostAliases` with the same address, and return one alias for each, and add to `notes`."""
    names: dict[str, list[str]] = {}
    for alias in aliases:
        address = alias["ip"]
        if address in names:
            notes.append(
                note_change(f"host alias {address}", "the app has it more than once; joined")
            )
        names[address] = list(dict.fromkeys([*names.get(address, ()), *alias.get("hostnames", ())]))
    return [{"ip": address, "hostnames": hosts} for address, hosts in names.items()]


def drop_duplicates(references: Sequence[Object], notes: list[Note]) -> list[dict[str, Any]]:
    """Return `imagePullSecrets` without duplicates and without references that have no name.

    Adds to `notes`.
    """
    by_name = {
        reference["name"]: dict(reference)
        for reference in reversed(references)
        if reference.get("name")
    }
    if len(by_name) < len(references):
        why = "those that the app names more than once, or without a name"
        notes.append(note_left_out("imagePullSecrets", why))
    return list(reversed(by_name.values()))
