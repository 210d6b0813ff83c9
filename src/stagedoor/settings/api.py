"""The settings of the HTTP API."""

from typing import Annotated

from msgspec import Meta

from stagedoor.settings.form import Table, check_networks


class ApiSettings(Table, frozen=True):
    """The HTTP API `/api/v1` for administration, at the WebShell's addresses."""

    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="The networks (CIDR) from which the API may be used, besides `listen.networks`. "
            "Empty: all that may use the WebShell. The API does nothing for users without a role "
            "(`stagedoor role add`)."
        ),
    ] = ()

    def __post_init__(self) -> None:
        check_networks(self.networks, "api.networks")
