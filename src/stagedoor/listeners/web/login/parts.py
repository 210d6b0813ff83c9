"""The services that the pages and the API of logins use."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.model.denial import Denial
from stagedoor.signin.login.approval import LoginApproval
from stagedoor.signin.login.machine_logins import MachineLoginService
from stagedoor.signin.login.service import LoginService


@dataclass(frozen=True, slots=True)
class LoginParts:
    """The services of logins.

    `logins` serves the client and `approval` the user's page; `machines` logs machines in by tokens of
    their own. `describe` returns the well-known document for a request's host name, `krl` the key
    revocation list. `client` is the client program as one file.
    """

    logins: LoginService
    approval: LoginApproval
    machines: MachineLoginService
    describe: Callable[[str], Mapping[str, object] | Denial]
    krl: Callable[[], Awaitable[bytes | Denial]]
    client: bytes = field(repr=False)
