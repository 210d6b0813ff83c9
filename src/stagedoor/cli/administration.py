"""The administration that a command uses: of the store on this machine, or of a gateway over its API."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from stagedoor.admin.service import open_service
from stagedoor.cli import show
from stagedoor.cli.installation import Installation
from stagedoor.model.policy import Policy
from stagedoor.model.shell import ProgressStep, ShellState
from stagedoor.model.target import Target
from stagedoor.wire.api.inputs import Input
from stagedoor.wire.api.port import NOTHING, Administration

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from stagedoor.admin.apps import Apps
    from stagedoor.api.call import AppSource
    from stagedoor.settings.settings import Settings


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
    from stagedoor.api.local import StoreAdministration
    from stagedoor.signin.site import read_step_up_rules

    settings = installation.settings

    def require_unrevoked_keys(lines: Iterable[str]) -> None:
        # Imported here, because cryptography would cost each command a tenth of its time.
        from stagedoor.admin.certificates import revocation

        revoked = revocation.RevokedKeysFile(settings.ssh.revoked_keys_file)
        revocation.require_unrevoked(lines, revoked.explain_refusal)

    with open_service(settings, create=create) as service:
        yield StoreAdministration(
            service,
            settings,
            _find_apps(settings),
            require_unrevoked_keys,
            read_step_up_rules(settings),
        )


def call(
    installation: Installation,
    name: str,
    path: Mapping[str, str] = NOTHING,
    query: Mapping[str, str] = NOTHING,
    body: Input | None = None,
    *,
    create: bool = False,
) -> Any:
    """Open the administration for one operation, and return its answer. Raises StagedoorError."""
    with open_administration(installation, create=create) as admin:
        return admin.call(name, path, query, body)


def print_list(
    installation: Installation,
    name: str,
    row: Callable[[Any], Mapping[str, object]],
    none: str,
    query: Mapping[str, str | None] = NOTHING,
    *,
    as_json: bool,
    create: bool = False,
) -> None:
    """Print the items of a list as a table with a `row` for each, or the note `none`; or all as JSON.

    Values of `query` that are None are left out. Raises StagedoorError.
    """
    given = {key: value for key, value in query.items() if value is not None}
    with open_administration(installation, create=create) as admin:
        items = list(admin.list_all(name, given))
    if as_json:
        show.print_json(items)
    else:
        show.print_table([row(item) for item in items], none)


def _find_apps(settings: "Settings") -> "AppSource":
    from stagedoor.api.call import AppSource
    from stagedoor.cli.complete import list_settings_targets

    async def observe(target: Target) -> ShellState:
        from stagedoor.serve.parts.shells import build_shells

        return await build_shells(settings, Policy).local.observe(target)

    def progress(step: ProgressStep) -> None:
        show.note(step.line)

    open_cluster = partial(_open_cluster, settings) if settings.kubernetes.is_used else None
    return AppSource(partial(list_settings_targets, settings), observe, open_cluster, progress)


def _open_cluster(settings: "Settings") -> "AbstractAsyncContextManager[Apps]":
    # Imported here, since its libraries are an extra.
    from stagedoor.serve.prepare import check_kubernetes

    check_kubernetes(settings)
    from stagedoor.admin.apps import open_apps

    return open_apps(settings)
