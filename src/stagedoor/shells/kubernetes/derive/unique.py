"""Lists in which an app may name a thing twice, and its shell may not. Pure.

The API server takes such lists from `kubectl replace` or a controller's update, and refuses them in a
server-side apply, by which shells are made (`x-kubernetes-list-map-keys` in its OpenAPI document).
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.shells.kubernetes.derive.notes import Note, changed, left_out, warning

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
"""`$$` stands for `$`, and `$(NAME)` for the value of an entry before (kubelet, third_party/forked/golang/
expansion)."""


def last_wins(entries: Iterable[Object]) -> tuple[list[dict[str, Any]], list[Note]]:
    """Of the entries of `env` the last of each name, as the kubelet has it.

    What speaks of an earlier one, as in `PATH=$(PATH):/opt/bin`, gets its value in place.
    """
    given = list(entries)
    last = {entry["name"]: number for number, entry in enumerate(given)}
    earlier: dict[str, _Earlier | None] = {}
    kept: dict[str, dict[str, Any]] = {}
    notes: list[Note] = []
    for number, entry in enumerate(given):
        name = entry["name"]
        made, lost = _in_place(entry, earlier, kept)
        notes += [
            warning(
                f"variable {name}", f"it speaks of an earlier {one}, which is not a plain value"
            )
            for one in lost
        ]
        if last[name] == number:
            kept[name] = made
            earlier.pop(name, None)
        else:
            plain = not made.get("valueFrom")
            earlier[name] = _Earlier(made.get("value") or "", frozenset(kept)) if plain else None
            notes.append(
                changed(f"variable {name}", "the app has it more than once; the last counts")
            )
    return list(kept.values()), notes


@dataclass(frozen=True, slots=True)
class _Earlier:
    """An entry's text, and the names to which it could refer."""

    text: str
    known: frozenset[str]

    def at(self, known: Container[str]) -> str:
        """The text for a place where `known` are: what stood for itself goes on to do so."""
        return _REFERENCE.sub(
            lambda one: f"${one[0]}" if one[1] in known and one[1] not in self.known else one[0],
            self.text,
        )


def _in_place(
    entry: Object, earlier: Mapping[str, _Earlier | None], known: Container[str]
) -> tuple[dict[str, Any], list[str]]:
    """The entry with the values of `earlier` ones in it, and the names of those that have none."""
    lost: list[str] = []

    def replaced(reference: re.Match[str]) -> str:
        name = reference[1]
        if name is None or name not in earlier:
            return reference[0]
        one = earlier[name]
        if one is None:
            lost.append(name)
            return reference[0]
        return one.at(known)

    text = entry.get("value")
    if not earlier or not isinstance(text, str):
        return dict(entry), lost
    return {**entry, "value": _REFERENCE.sub(replaced, text)}, lost


def joined_aliases(aliases: Iterable[Object]) -> tuple[list[dict[str, Any]], list[Note]]:
    """Of `hostAliases` one for each address, with the names of all."""
    names: dict[str, list[str]] = {}
    notes = []
    for alias in aliases:
        address = alias["ip"]
        if address in names:
            notes.append(changed(f"host alias {address}", "the app has it more than once; joined"))
        names[address] = list(dict.fromkeys([*names.get(address, ()), *alias.get("hostnames", ())]))
    return [{"ip": address, "hostnames": them} for address, them in names.items()], notes


def named_once(references: Sequence[Object]) -> tuple[list[dict[str, Any]], list[Note]]:
    """Of `imagePullSecrets` each once; one without a name speaks of nothing."""
    kept = {one["name"]: dict(one) for one in reversed(references) if one.get("name")}
    found = list(reversed(kept.values()))
    if len(found) == len(references):
        return found, []
    why = "those that the app names more than once, or without a name"
    return found, [left_out("imagePullSecrets", why)]
