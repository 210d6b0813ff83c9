"""The environment variables that a local shell's sessions and its runs have in common. Pure."""

import shlex
from pathlib import Path

from stagedoor.shells.local.process import LocalAccount
from stagedoor.shells.local.settings import LocalShell

_OWN = Path(__file__).with_name("bin")
"""The folder with Stagedoor's own program, `stagedoor-get`. It is last in PATH, so that it hides no other."""
_FUNCTION = {"BASH_FUNC_stagedoor-get%%": f'() {{ {shlex.quote(f"{_OWN}/stagedoor-get")} "$@"; }}'}
"""The same program as an exported function of bash, which remains when /etc/profile sets another PATH."""
_ALIAS = {"ENV": f"{_OWN}/interactive.sh"}
"""The same as an alias of a POSIX shell."""
_POSIX_SHELLS = ("ash", "dash", "ksh", "mksh", "sh")
_PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{_OWN}"


def describe_account(account: LocalAccount, shell: str) -> dict[str, str]:
    """Return the variables of every login (login(1)); `shell` is the path of the login shell."""
    return {
        "HOME": account.home,
        "LOGNAME": account.name,
        "USER": account.name,
        "SHELL": shell,
        "PATH": _PATH,
    }


def describe_app(settings: LocalShell, shell: str) -> dict[str, str]:
    """Return the variables that find `stagedoor-get`, then the app's, which take precedence over all."""
    name = shell.rpartition("/")[2]
    own = _FUNCTION if name == "bash" else _ALIAS if name in _POSIX_SHELLS else {}
    return {**own, **settings.env}


def drop_nul(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables without those that an environment cannot contain (environ(7))."""
    return {name: value for name, value in variables.items() if "\0" not in f"{name}{value}"}
