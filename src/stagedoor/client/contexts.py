"""The gateways that this machine administers, by name, in `contexts.json` of the user's configuration folder.

The file contains no secret: `stagedoor login` stores that elsewhere.
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
"""The name that stands for the store on this machine."""
VARIABLE = "STAGEDOOR_CONTEXT"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """A gateway to administer over its API. `ca_file` has the CAs to trust, or is None for the system's."""

    name: str
    gateway: str
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts by name. `current` is the name of the one that commands use, or `LOCAL`."""

    current: str = LOCAL
    by_name: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, name: str) -> Context | None:
        """Return the context `name`, or None for `LOCAL`. Raises NotFoundError."""
        if name == LOCAL:
            return None
        if name not in self.by_name:
            raise NotFoundError.with_fix(
                f"there is no context {name!r}", "see `stagedoor context list`"
            )
        return self.by_name[name]

    def add(self, context: Context) -> "Contexts":
        """Return the contexts with `context` added, as the current one. Raises RefusedError."""
        if context.name == LOCAL or not _NAME.fullmatch(context.name):
            raise RefusedError(
                f"{context.name!r} is not a valid name for a context: use letters, digits, '-', '_' and '.', "
                f"but not {LOCAL}"
            )
        return Contexts(context.name, {**self.by_name, context.name: context})

    def use(self, name: str) -> "Contexts":
        """Return the contexts with `name` as the current one. Raises NotFoundError."""
        self.get(name)
        return replace(self, current=name)

    def remove(self, name: str) -> "Contexts":
        """Return the contexts without `name`. Raises NotFoundError."""
        removed = self.get(name)
        kept = {key: context for key, context in self.by_name.items() if context is not removed}
        return Contexts(LOCAL if self.current == name else self.current, kept)


def find_contexts_file() -> Path:
    """Return the path of the file, which may not exist."""
    return find_home() / "contexts.json"


def read_contexts() -> Contexts:
    """Return the stored contexts. Raises SettingsError if the file is malformed."""
    try:
        file = find_contexts_file()
    except RuntimeError:  # the account has no home, as in some containers
        return Contexts()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        by_name = {
            str(name): Context(str(name), str(entry["gateway"]), entry.get("ca_file"))
            for name, entry in document["contexts"].items()
        }
        current = str(document["current"])
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
    document = {
        "current": contexts.current,
        "contexts": {
            context.name: {"gateway": context.gateway, "ca_file": context.ca_file}
            for context in contexts.by_name.values()
        },
    }
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ssh_files.replace_file(file, json.dumps(document, indent=1) + "\n", 0o600)


def find_context() -> Context | None:
    """Return the context that commands use, or None for the store on this machine.

    `STAGEDOOR_CONTEXT` overrides `stagedoor context use`. Raises NotFoundError, SettingsError.
    """
    name = os.environ.get(VARIABLE)
    contexts = read_contexts()
    return contexts.get(name or contexts.current)
