"""The administration that a command uses: of the store on this machine, or of a gateway over its API."""

from collections.abc import Iterator
from contextlib import contextmanager

from stagedoor.admin.service import open_service
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.port import Administration


@contextmanager
def open_administration(
    installation: Installation, *, create: bool = False
) -> Iterator[Administration]:
    """Open the administration of the gateway that is in use. Raises StagedoorError."""
    context = installation.context
    if context is not None:
        from stagedoor.client.administration import ApiAdministration

        yield ApiAdministration(context)
        return
    from stagedoor.admin.api.local import StoreAdministration
    from stagedoor.admin.certificates.revocation import RevokedKeysFile, require_unrevoked
    from stagedoor.cli.complete import list_settings_targets
    from stagedoor.signin.step_up import read_step_up_rules

    settings = installation.settings
    refused = RevokedKeysFile(settings.ssh.revoked_keys_file).explain_refusal
    with open_service(settings, create=create) as service:
        yield StoreAdministration(
            service,
            lambda: list_settings_targets(settings),
            lambda lines: require_unrevoked(lines, refused),
            read_step_up_rules(settings),
        )
