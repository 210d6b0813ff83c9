"""What the pages and the requests of logins are made of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.admin.login.approval import LoginApproval
from stagedoor.admin.login.machine_logins import MachineLoginService
from stagedoor.admin.login.service import LoginService
from stagedoor.model.denial import Denial


@dataclass(frozen=True, slots=True)
class LoginParts:
    """Both sides, logins of machines by a token of their own, the well-known document for a request's host
    name, the key revocation list, and the client as one file."""

    logins: LoginService
    approval: LoginApproval
    machines: MachineLoginService
    describe: Callable[[str], Mapping[str, object] | Denial]
    krl: Callable[[], Awaitable[bytes | Denial]]
    client: bytes = field(repr=False)
