"""The options of the laptop's commands.

The one-file client parses them with argparse (`laptop.main`), and the installed program with click
(`cli.laptop_command`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Option:
    """An option of a command, or its argument if `name` has no dashes.

    `value` is the name of its value in the help. An option without one is a flag. If `is_file`, the value
    must be an existing file. `limits` are the minimum and the maximum of a number. The help omits an option
    that `is_hidden`.
    """

    def __init__(
        self,
        name: str,
        about: str,
        value: str = "",
        *,
        choices: Sequence[str] = (),
        is_file: bool = False,
        limits: tuple[float, float] | None = None,
        is_hidden: bool = False,
    ) -> None:
        self.name = name
        self.dest = name.lstrip("-").replace("-", "_")
        self.about = about
        self.value = value
        self.choices = choices
        self.is_file = is_file
        self.limits = limits
        self.is_hidden = is_hidden

    @property
    def is_argument(self) -> bool:
        """True if this is a positional argument."""
        return not self.name.startswith("-")

    @property
    def is_flag(self) -> bool:
        """True if this is an option without a value."""
        return not (self.is_argument or self.value or self.choices)


_JSON = Option("--json", "Print one JSON document.")
_CA_FILE = "Trust these CAs for https, not the system's."
LOGIN = (
    Option(
        "gateway",
        "https://HOST[:PORT][/PATH]. Default: the one that this machine has logged in to.",
    ),
    Option("host", "", is_hidden=True),
    Option("--print", "Print ssh's configuration instead of writing it."),
    Option("--label", "The name of this machine at the gateway. Default: NAME@HOST.", "TEXT"),
    Option("--id-token-env", "The environment variable with the job's ID token.", "NAME"),
    Option(
        "--id-token-file",
        "A file with the ID token, as Kubernetes mounts it.",
        "FILE",
        is_file=True,
    ),
    Option("--no-browser", "Print the address, and do not open a browser."),
    Option("--ca-file", _CA_FILE, "FILE", is_file=True),
    Option("--if-needed", "Log in only if there is no valid certificate; ssh runs this."),
    Option("--folder", "The gateway's folder on this machine.", "DIRECTORY", is_hidden=True),
)
LOGOUT = (
    Option("gateway", "The gateway to log out of. Default: all."),
    Option("--forget", "Remove the key and ssh's configuration as well."),
)
WHOAMI = (Option("gateway", "The gateway to ask. Default: all."), _JSON)
DOCTOR = (
    Option("host", "The name that you give to ssh, such as app01.ssh; with --how web, app01."),
    Option(
        "--how",
        "The access method. Default: the one in your ssh configuration.",
        choices=("connect", "jump", "direct", "web"),
    ),
    Option("--gateway", "HOST:PORT, http://… or https://…, by the access method.", "ADDRESS"),
    Option("--user", "Your user name there ($STAGEDOOR_USER, else your login name).", "NAME"),
    Option("--token-file", "File with your token or password, mode 0600.", "FILE"),
    Option("--ca-file", _CA_FILE, "FILE"),
    Option("--server-name", "The name that the gateway's certificate must have.", "NAME"),
    Option("--via", "Corporate proxy to use, or `direct` for none.", "URL"),
    Option("--ssh-config", "The ssh configuration to use, not your own.", "FILE", is_file=True),
    Option(
        "--idle",
        "Also measure the longest idle time that a connection survives, up to this; takes twice as long.",
        "SECONDS",
        limits=(1, 86400),
    ),
    _JSON,
)
_GATEWAY_OPTIONS = ("gateway", "user", "token_file", "ca_file", "server_name", "via")


def select_gateway_options(values: Mapping[str, str | None]) -> dict[str, str]:
    """Return the parsed options of the connection to a gateway, by their names in `stagedoor tunnel`."""
    pairs = ((name, values.get(name)) for name in _GATEWAY_OPTIONS)
    return {f"--{name.replace('_', '-')}": value for name, value in pairs if value}
