"""Readers of annotations' values. Pure.

Each reader takes the text without surrounding blanks and returns the value. For a wrong value it raises
WrongValueError, with a message that names it and the allowed ones.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from stagedoor.model.hostname import SUBDOMAIN, is_valid_subdomain
from stagedoor.model.target import is_valid_label
from stagedoor.shells.kubernetes.derive.images import parse_reference
from stagedoor.shells.kubernetes.duration import parse_duration, parse_quantity, show_duration

MAX_SHOWN = 60
"""The most characters of a wrong value that a message quotes."""

ALL = "*"
"""The item that stands for all containers in a list of containers."""

# apimachinery validation.IsEnvVarName: names that every version of Kubernetes accepts.
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_USER = re.compile(r"(\d{1,10})(?::(\d{1,10}))?", re.ASCII)
_RESOURCE = re.compile(
    rf"cpu|memory|ephemeral-storage|hugepages-[0-9A-Za-z]{{1,20}}"
    rf"|(?:{SUBDOMAIN})/[a-zA-Z0-9](?:[a-zA-Z0-9._-]{{0,61}}[a-zA-Z0-9])?",
    re.ASCII,
)
_SOURCE = re.compile(rf"(?:secret|configmap)/(?:{SUBDOMAIN})", re.ASCII)
_MAX_ID = 2**31 - 1  # the highest runAsUser that the kubelet accepts


class WrongValueError(ValueError):
    """A wrong value of an annotation.

    The message names the value and the allowed ones, but never the value of an environment variable.
    """


def show(text: str) -> str:
    """Return a wrong value for a message: in quotes, printable, and cut to MAX_SHOWN characters."""
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def read_boolean(text: str) -> bool:
    """Read `true` or `false`."""
    if text not in ("true", "false"):
        raise WrongValueError(f'{show(text)} is neither "true" nor "false"')
    return text == "true"


def read_label(text: str) -> str:
    """Read the name of a container (RFC 1123 label)."""
    if not is_valid_label(text):
        raise WrongValueError(
            f"{show(text)} is not a container's name; allowed: a-z, 0-9 and - inside, 63 at most"
        )
    return text


def read_image(text: str) -> str:
    """Read the name of an image, with or without tag and digest."""
    if parse_reference(text) is None:
        raise WrongValueError(
            f"{show(text)} is not an image; allowed: REPOSITORY:TAG or REPOSITORY@sha256:DIGEST"
        )
    return text


def make_duration_reader(least_s: int, most_s: int) -> Callable[[str], int]:
    """Return a reader for durations from `least_s` to `most_s` seconds, both included."""
    allowed = (
        f"allowed: {show_duration(least_s)} to {show_duration(most_s)}, such as 30m, 1h30m or 2d"
    )

    def read(text: str) -> int:
        seconds = parse_duration(text)
        if seconds is None:
            raise WrongValueError(f"{show(text)} is not a duration; {allowed}")
        if not least_s <= seconds <= most_s:
            raise WrongValueError(f"{show(text)} is out of range; {allowed}")
        return seconds

    return read


def read_words(text: str) -> tuple[str, ...]:
    """Read a command: a JSON list, or words split as by a POSIX shell but not expanded."""
    allowed = 'allowed: words such as /entrypoint.sh --env, or a JSON list such as ["/a b.sh"]'
    if text.startswith("["):
        command = _json(text, allowed)
        if not all(isinstance(word, str) for word in command):
            raise WrongValueError(f"{show(text)} contains a non-string; {allowed}")
    else:
        try:
            command = shlex.split(text)
        except ValueError:
            raise WrongValueError(f"{show(text)} has an open quote; {allowed}") from None
    if not command or not command[0]:
        raise WrongValueError(f"{show(text)} names no program; {allowed}")
    if not all(_is_passable(word) for word in command):
        raise WrongValueError(f"{show(text)} contains a NUL or an unpaired surrogate; {allowed}")
    return tuple(command)


def read_directory(text: str) -> str:
    """Read an absolute path."""
    if not text.startswith("/") or not text.isprintable() or len(text) > 4095:
        raise WrongValueError(
            f"{show(text)} is not a directory; allowed: an absolute path, as /srv/app"
        )
    return text


def read_login_name(text: str) -> str:
    """Read a login name that useradd(8) accepts."""
    if not _LOGIN.fullmatch(text):
        raise WrongValueError(
            f"{show(text)} is not a login name; allowed: a-z, 0-9, _ and -, 32 at most, no digit first"
        )
    return text


def read_user(text: str) -> tuple[int, int | None]:
    """Read `UID` or `UID:GID`. Root is refused, since an annotation must not give a shell root."""
    match = _USER.fullmatch(text)
    ids = [int(part) for part in match.groups() if part is not None] if match else []
    if not ids or ids[0] == 0 or max(ids) > _MAX_ID:
        raise WrongValueError(
            f"{show(text)} is not a user; allowed: UID or UID:GID in digits, from 1 to {_MAX_ID}"
        )
    return ids[0], ids[1] if len(ids) > 1 else None


def read_resources(text: str) -> Mapping[str, Mapping[str, str]]:
    """Read ResourceRequirements in JSON: `requests` and `limits`."""
    allowed = 'allowed: JSON such as {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}'
    parts = _json(text, allowed)
    if not isinstance(parts, dict) or not parts or set(parts) - {"requests", "limits"}:
        raise WrongValueError(f"{show(text)} is not made of requests and limits; {allowed}")
    for part, amounts in parts.items():
        if not isinstance(amounts, dict):
            raise WrongValueError(f"{part} is not an object; {allowed}")
        for name, amount in amounts.items():
            if not _RESOURCE.fullmatch(name):
                raise WrongValueError(f"{show(name)} in {part} is not a resource; {allowed}")
            if not isinstance(amount, str) or parse_quantity(amount) is None:
                shown = show(amount if isinstance(amount, str) else json.dumps(amount))
                raise WrongValueError(f"{shown} for {name} in {part} is not a quantity; {allowed}")
    for name, limit in parts.get("limits", {}).items():
        request = parts.get("requests", {}).get(name)
        if request is not None and (parse_quantity(request) or 0) > (parse_quantity(limit) or 0):
            raise WrongValueError(
                f"the request of {show(request)} for {name} is above the limit of {show(limit)}"
            )
    return MappingProxyType({part: MappingProxyType(parts[part]) for part in sorted(parts)})


def read_variables(text: str) -> Mapping[str, str]:
    """Read `NAME=VALUE` lines, or a JSON object.

    Blanks around a value are kept, but not those around the whole text.
    """
    allowed = 'allowed: lines NAME=VALUE, or JSON such as {"NAME": "VALUE"}'
    pairs: list[tuple[str, str]] = []
    if text.startswith("{"):
        for name, value in _json(text, allowed, secret=True).items():
            if not isinstance(value, str):
                raise WrongValueError(f"the value of {show(name)} is not a string; {allowed}")
            pairs.append((name, value))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            name, equals, value = line.partition("=")
            if not equals:
                raise WrongValueError(f"line {number} has no =; {allowed}")
            pairs.append((name.strip(), value.removesuffix("\r")))
    for name, value in pairs:
        if not _VARIABLE.fullmatch(name):
            raise WrongValueError(f"{show(name)} is not a variable's name; {allowed}")
        if not _is_passable(value):
            raise WrongValueError(
                f"the value of {name} contains a NUL or an unpaired surrogate; {allowed}"
            )
    values = dict(pairs)
    if not values:
        raise WrongValueError(f"it names no variable; {allowed}")
    if len(values) < len(pairs):
        raise WrongValueError(f"it names a variable twice; {allowed}")
    return MappingProxyType(values)


def parse_dropped_variables(text: str) -> tuple[str, ...]:
    """Read names of variables, and sources of `envFrom` as `secret/NAME` or `configmap/NAME`."""
    names = _list(text)
    for name in names:
        if not (_VARIABLE.fullmatch(name) or _SOURCE.fullmatch(name)):
            raise WrongValueError(
                f"{show(name)} is not a variable; allowed: a list such as "
                "DATABASE_URL, secret/payments, configmap/flags"
            )
    return names


def make_choice_reader(*choices: str) -> Callable[[str], frozenset[str]]:
    """Return a reader for lists of words among `choices`."""

    def read(text: str) -> frozenset[str]:
        for word in (chosen := _list(text)):
            if word not in choices:
                raise WrongValueError(f"{show(word)} is unknown; allowed: {', '.join(choices)}")
        return frozenset(chosen)

    return read


def parse_container_names(text: str) -> tuple[str, ...]:
    """Read `none`, `all`, or names of containers."""
    if text in ("none", "all"):
        return (ALL,) if text == "all" else ()
    names = _list(text)
    for name in names:
        if not is_valid_label(name):
            raise WrongValueError(
                f"{show(name)} is not a container's name; allowed: none, all, or names such as one, two"
            )
    return names


def read_host_aliases(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read lines as in hosts(5): an address and its names. A `;` ends a line too."""
    allowed = "allowed: lines such as 10.0.0.5 db.internal db"
    aliases = []
    for line in re.split(r"[\n;]", text):
        address, *names = line.split() or [""]
        if not address:
            continue
        try:
            ip_address(address)
        except ValueError:
            raise WrongValueError(f"{show(address)} is not an IP address; {allowed}") from None
        if "%" in address:
            raise WrongValueError(f"{show(address)} names an interface; {allowed}")
        if not names:
            raise WrongValueError(f"{address} has no name; {allowed}")
        for name in names:
            if not is_valid_subdomain(name):
                raise WrongValueError(f"{show(name)} is not a host's name; {allowed}")
        aliases.append((address, tuple(names)))
    if not aliases:
        raise WrongValueError(f"it is empty; {allowed}")
    return tuple(aliases)


def _is_passable(text: str) -> bool:
    # execve(2) accepts no NUL; a lone surrogate, which JSON can express, has no UTF-8.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _list(text: str) -> tuple[str, ...]:
    items = tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip(", \t\r\n"))))
    if items == ("",):
        raise WrongValueError("it is empty; remove the annotation, or name something")
    return items


def _json(text: str, allowed: str, *, secret: bool = False) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        shown = "it" if secret else show(text)
        raise WrongValueError(f"{shown} is not JSON; {allowed}") from None


def _refuse_constant(name: str) -> Any:
    # Python's parser accepts NaN and Infinity, which are not JSON (RFC 8259 section 6).
    raise ValueError(name)
