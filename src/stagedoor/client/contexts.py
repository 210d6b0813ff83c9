"""The gateways that this machine administers, by name, in `contexts.json` of the person's configuration.

The file holds no secret: `stagedoor login` keeps that.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from stagedoor.laptop import ssh_files
from stagedoor.laptop.login_files import find_home
from stagedoor.model.errors import NotFoundError, RefusedError, SettingsError

LOCAL = "local"
"""The name of the gateway on this machine, by its store."""
VARIABLE = "STAGEDOOR_CONTEXT"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """A gateway that is administered over its API. `ca_file` has the CAs to trust, None for the system's."""

    name: str
    gateway: str
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts by name. `current` is the one that commands use, `LOCAL` for none of them."""

    current: str = LOCAL
    by_name: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, name: str) -> Context | None:
        """Return the context `name`, None for `LOCAL`. Raises NotFoundError."""
        if name == LOCAL:
            return None
        if name not in self.by_name:
            raise NotFoundError.with_mend(
                f"there is no context {name!r}", "see `stagedoor context list`"
            )
        return self.by_name[name]

    def add(self, context: Context) -> "Contexts":
        """Return the contexts with another one, which becomes the current one. Raises RefusedError."""
        if context.name == LOCAL or not _NAME.fullmatch(context.name):
            raise RefusedError(
                f"{context.name!r} is no name for a context: use letters, digits, '-', '_' and '.', and not "
                f"{LOCAL}"
            )
        return Contexts(context.name, {**self.by_name, context.name: context})

    def use(self, name: str) -> "Contexts":
        """Return the contexts with another current one. Raises NotFoundError."""
        self.get(name)
        return replace(self, current=name)

    def remove(self, name: str) -> "Contexts":
        """Return the contexts without one. Raises NotFoundError."""
        removed = self.get(name)
        kept = {key: context for key, context in self.by_name.items() if context is not removed}
        return Contexts(LOCAL if self.current == name else self.current, kept)


def find_contexts_file() -> Path:
    """Return the path of the file, which need not exist."""
    return find_home() / "contexts.json"


def read_contexts() -> Contexts:
    """Return the contexts of this person. Raises SettingsError for a file that cannot be read."""
    try:
        file = find_contexts_file()
    except RuntimeError:  # a container whose account has no home
        return Contexts()
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        by_name = {
            str(name): Context(str(name), str(entry["gateway"]), entry.get("ca_file"))
            for name, entry in said["contexts"].items()
        }
        current = str(said["current"])
    except (FileNotFoundError, PermissionError):
        return Contexts()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{file} cannot be read ({type(error).__name__}); remove it, and add the contexts again"
        ) from None
    return Contexts(current, by_name)


def write_contexts(contexts: Contexts) -> None:
    """Store the contexts. Raises OSError."""
    file = find_contexts_file()
    said = {
        "current": contexts.current,
        "contexts": {
            context.name: {"gateway": context.gateway, "ca_file": context.ca_file}
            for context in contexts.by_name.values()
        },
    }
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ssh_files.replace(file, json.dumps(said, indent=1) + "\n", 0o600)


def find_context() -> Context | None:
    """Return the context that commands use, None for the store on this machine.

    `STAGEDOOR_CONTEXT` is before `stagedoor context use`. Raises NotFoundError, SettingsError.
    """
    name = os.environ.get(VARIABLE)
    contexts = read_contexts()
    return contexts.get(name or contexts.current)
