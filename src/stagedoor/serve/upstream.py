"""How the gateway itself logs in to shells, where a way in ends at the gateway."""

from stagedoor.admin.authorities import host_ca_line, user_ca
from stagedoor.model.errors import SettingsError
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.upstream.login import Account, Upstream
from stagedoor.wire.sshkey import KeyRefused, parse_public_key


def upstream_of(settings: Settings) -> Upstream:
    """By the gateway's own user CA, and accounts as the settings name them. Raises StagedoorError."""
    accounts = {
        Target(entry.app, entry.environment): Account(entry.login_name, entry.host_keys)
        for entry in settings.shells.static
    }
    for entry in settings.shells.static:
        for line in entry.host_keys:
            key = parse_public_key(line)
            if isinstance(key, KeyRefused):
                raise SettingsError(f"host_keys of the shell {entry.app}: {key.reason}")
    ours = Account()
    return Upstream(
        user_ca(settings).sign_user,
        (host_ca_line(settings),),
        lambda target: accounts.get(target, ours),
    )
