"""The settings of a local shell, and the order that its process reads when it starts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from stagedoor import __version__
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class LocalShell:
    """One `[[shells.local]]` entry.

    `env` is the app's environment inside the shell. `directory` is where a login starts, None for the home
    directory. `login_shell` is the path of a program, None for the OS user's own login shell.
    """

    app: str
    environment: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    login_shell: str | None = None

    @property
    def target(self) -> Target:
        """Return the app and environment as a target."""
        return Target(self.app, self.environment)


@dataclass(frozen=True, slots=True)
class Order:
    """The order that a shell's process reads from its standard input, so that no secret is in argv.

    The process stops after `idle_stop_s` seconds without a session. When it is stopped by a signal, open
    sessions have `drain_grace_s` seconds to end.
    """

    shell: LocalShell
    folder: str
    idle_stop_s: float
    drain_grace_s: float

    def to_json(self) -> str:
        """Return the order as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Read an order that `to_json` returned."""
        fields = json.loads(text)
        return cls(**(fields | {"shell": LocalShell(**fields["shell"])}))

    def hash_order(self) -> str:
        """Return a digest of the order and the version. A running process with another digest is replaced."""
        return hashlib.sha256(f"{__version__}\0{self.to_json()}".encode()).hexdigest()
