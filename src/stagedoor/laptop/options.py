"""The commands of a developer's machine and their options, shared by both programs that have them.

The one-file client parses them with argparse (`laptop.main`), the installed program with click
(`cli.laptop_command`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Option:
    """An option of a command, or its argument if `name` has no dashes.

    `value` is the name of its value in the help; an option without one is a flag. With `file`, the value is a
    file that exists. `within` is the range of a number, both ends included. A `hidden` option is in no help.
    """

    def __init__(
        self,
        name: str,
        about: str,
        value: str = "",
        *,
        choices: Sequence[str] = (),
        file: bool = False,
        within: tuple[float, float] | None = None,
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.dest = name.lstrip("-").replace("-", "_")
        self.about = about
        self.value = value
        self.choices = choices
        self.file = file
        self.within = within
        self.hidden = hidden

    @property
    def is_argument(self) -> bool:
        """True if it is a positional argument."""
        return not self.name.startswith("-")

    @property
    def is_flag(self) -> bool:
        """True if it is an option without a value."""
        return not (self.is_argument or self.value or self.choices)


_JSON = Option("--json", "Print one JSON document.")
_CA_FILE = "Trust these CAs for https, in place of the system's."
LOGIN = (
    Option("gateway", "https://HOST[:PORT][/PATH]"),
    Option("host", "", hidden=True),
    Option("--print", "Print what would be written; change nothing."),
    Option("--label", "What the gateway calls this machine. Default: NAME@HOST.", "TEXT"),
    Option("--id-token-env", "The environment variable with this job's ID token.", "NAME"),
    Option(
        "--id-token-file", "The file with an ID token, as Kubernetes mounts it.", "FILE", file=True
    ),
    Option("--no-browser", "Print the address; do not open a browser."),
    Option("--ca-file", _CA_FILE, "FILE", file=True),
    Option("--if-needed", "Log in only if there is no valid certificate, as ssh runs it."),
    Option("--folder", "The gateway's folder on this machine.", "DIRECTORY", hidden=True),
)
LOGOUT = (
    Option("gateway", "The gateway to log out of. Default: all."),
    Option("--forget", "Remove the key and ssh's configuration as well."),
)
WHOAMI = (Option("gateway", "The gateway to ask. Default: all."), _JSON)
DOCTOR = (
    Option("host", "As you give it to ssh: app01.ssh; with --how web: app01."),
    Option(
        "--how",
        "The access method. Default: the one that your ssh is configured for.",
        choices=("connect", "jump", "direct", "web"),
    ),
    Option("--gateway", "HOST:PORT, http://… or https://…, as the access method needs.", "ADDRESS"),
    Option("--user", "Your user name there ($STAGEDOOR_USER, else your login name).", "NAME"),
    Option("--token-file", "File with your token or password, mode 0600.", "FILE"),
    Option("--ca-file", _CA_FILE, "FILE"),
    Option("--server-name", "The name that the gateway's certificate must have.", "NAME"),
    Option("--via", "Corporate proxy on the way, or `direct` for none.", "URL"),
    Option("--ssh-config", "Use this configuration of ssh, not yours.", "FILE", file=True),
    Option(
        "--idle",
        "Also measure how long a silence the connection survives, up to this; takes twice as long.",
        "SECONDS",
        within=(1, 86400),
    ),
    _JSON,
)
_REACH = ("gateway", "user", "token_file", "ca_file", "server_name", "via")


def reach_options(given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the parsed options of the way to a gateway, as `stagedoor tunnel` names them."""
    values = ((name, given.get(name)) for name in _REACH)
    return {f"--{name.replace('_', '-')}": value for name, value in values if value}
