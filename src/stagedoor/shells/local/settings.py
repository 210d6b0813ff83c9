"""What is said of a local shell: by the settings, and to its process when it starts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from stagedoor import __version__
from stagedoor.model.target import Target


@dataclass(frozen=True, slots=True)
class LocalShell:
    """One `[[shells.local]]` entry.

    `env` is the app's environment inside the shell. `directory` is where a login starts, None for
    the home directory. `login_shell` is a program's path, None for the OS user's own.
    `agent_forward` allows `ssh -A`.
    """

    app: str
    environment: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    login_shell: str | None = None
    agent_forward: bool = False

    @property
    def target(self) -> Target:
        return Target(self.app, self.environment)


@dataclass(frozen=True, slots=True)
class Order:
    """What a shell's process is told on its standard input: no secret is ever in argv.

    `idle_stop_s`: it stops itself after so long without a session; `drain_grace_s`: when told to
    stop, live sessions have this long.
    """

    shell: LocalShell
    folder: str
    idle_stop_s: float
    drain_grace_s: float

    def to_json(self) -> str:
        fields = {name: getattr(self, name) for name in ("folder", "idle_stop_s", "drain_grace_s")}
        shell = asdict(self.shell) | {"env": dict(self.shell.env)}
        return json.dumps(fields | {"shell": shell}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Order":
        fields = json.loads(text)
        return cls(**(fields | {"shell": LocalShell(**fields["shell"])}))

    def digest(self) -> str:
        """Equal for two orders that would start the same: a running process with another is
        replaced."""
        return hashlib.sha256(f"{__version__}\0{self.to_json()}".encode()).hexdigest()
