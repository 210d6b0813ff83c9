"""The common parts of the settings' tables: their base class, units, and checks of names and networks."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from stagedoor.model.target import is_valid_app, is_valid_environment
from stagedoor.model.units import DAY_S

Seconds = Annotated[float, Meta(gt=0, le=366 * DAY_S)]
"""Bounded, because timers do not accept infinity."""
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]


_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)


def check_word(word: str, name: str) -> None:
    """Raise ValueError if `word` is no name for commands, logs and metrics. `name` is the setting."""
    if not _WORD.fullmatch(word):
        raise ValueError(f"{name} is {word!r}; use a-z, 0-9 and inner hyphens, 40 at most")


def check_networks(texts: Iterable[str], name: str) -> None:
    """Raise ValueError if a text is no network (CIDR). `name` is the setting, for the message."""
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise ValueError(f"{name} holds {text!r}, which is not a network: {error}") from None


@contextmanager
def report_as(setting: str) -> Iterator[None]:
    """Put the name of a setting before the message of a ValueError in this block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None


def check_addresses(addresses: Iterable[str], name: str) -> None:
    """Raise ValueError if an address is not one that `split_address` takes. `name` is the setting."""
    for address in addresses:
        with report_as(name):
            split_address(address)


def check_labels(app: str, environment: str | None) -> None:
    """Raise ValueError for names by which clients could not reach the app (`wire.target`)."""
    if not is_valid_app(app):
        raise ValueError(
            f"app {app!r} is not a valid name for an app: use lower-case letters, digits and inner hyphens, "
            "59 characters at most, not ending in -ssh"
        )
    if environment is not None and not is_valid_environment(environment):
        raise ValueError(
            f"environment {environment!r} is not a valid name: use lower-case letters, digits and "
            "inner hyphens, 63 characters at most, and not ssh alone"
        )


def split_address(address: str) -> tuple[str, int]:
    """Split `127.0.0.1:8022`, `[::1]:8022` or `:8022` into host ("" for every interface) and port.

    Raises ValueError.
    """
    host, separator, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    if ":" in host and not bracketed:
        raise ValueError(f"{address!r}: write an IPv6 address in brackets, as in [::1]:8022")
    return host.strip("[]"), int(port)


def check_url(text: str | None, name: str) -> None:
    """Raise ValueError if `text` is no URL of a site, as people type it. None is accepted."""
    if text is None:
        return
    parts = urlsplit(text)
    odd = parts.query or parts.fragment or not text.isprintable() or " " in text
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise ValueError(f"{name} is {text!r}; write https://HOST or https://HOST:PORT")


def check_unique(names: Iterable[str], tables: str) -> None:
    """Raise ValueError if two of `tables` (`[[sso]]`) have the same name."""
    listed = list(names)
    if len(set(listed)) < len(listed):
        raise ValueError(f"two {tables} tables have the same name")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table. Unknown keys are errors, never ignored."""
