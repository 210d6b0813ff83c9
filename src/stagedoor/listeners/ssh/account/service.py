"""What people do with their own account over SSH: the same as on the WebShell's page, by the same service.

Only for people (`Identity.is_person`), as there: a token must not make another one that outlives it, and
neither must a key or certificate that a program may hold.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stagedoor.admin.credentials import AccountState, CredentialService
from stagedoor.admin.key_proof import NAMESPACE, line_to_sign
from stagedoor.listeners.ssh.account.channel_input import ChannelInput, InputError
from stagedoor.listeners.ssh.account.command import (
    COMMENT,
    EXPIRES,
    FROM_STDIN,
    JSON,
    OTHERS,
    AccountCommand,
    CommandError,
    parse_command,
)
from stagedoor.listeners.ssh.account.listing import (
    account_json,
    account_text,
    as_json,
    parts_of,
    table,
)
from stagedoor.listeners.ssh.seam import Login
from stagedoor.model.credential import PasswordCredential
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.model.session import AccessMethod, Origin
from stagedoor.model.units import DAY_S
from stagedoor.wire.duration import parse_duration
from stagedoor.wire.rfc3339 import show_milliseconds, show_time

USAGE = 2
DEFAULT_DAYS = 30.0
SIGNATURE_END = b"-----END SSH SIGNATURE-----"
_CAME_BY = {
    Method.TOKEN: "a token, which must not make another one that outlives it",
    Method.PUBLIC_KEY: "a registered key, which a program may hold too",
    Method.CERTIFICATE: "a certificate of an administrator's, which a program may hold too",
    Method.MACHINE: "a machine's login, which is no person's",
}
_ANOTHERS = Denial(Reason.CREDENTIAL_WRONG, "the key of this connection is another user's now")
_HOLDS_NO_MORE = Denial(
    Reason.CREDENTIAL_WRONG,
    "what this connection was opened by holds no more; connect again, and sign in again if you are asked to",
)
_ONE_APP = "a credential for some apps alone"


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """What to write on stdout and on stderr, and the exit status."""

    out: str = ""
    error: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class AccountRequest:
    """A command of `login`; `at` is what follows `ssh` in a command to this gateway, `host` its name."""

    command: AccountCommand
    login: Login
    at: str
    host: str
    input: ChannelInput


@dataclass(frozen=True, slots=True)
class AccountLinks:
    """Where people can come to their account otherwise. `web` is the WebShell's address, None where the
    settings do not tell it; `logins`: whether `stagedoor login` works; `passwords`: whether SSH takes them.
    """

    web: str | None = None
    logins: bool = False
    passwords: bool = False

    @property
    def page(self) -> str:
        return "your account's page" + (f" ({self.web}/account)" if self.web else "")


_Act = Callable[[AccountRequest, Identity], Awaitable[AccountAnswer | Denial]]
_TakeAway = Callable[[Identity, str], Awaitable[Denial | None]]


class AccountCommands:
    """Belongs to one event loop."""

    def __init__(self, credentials: CredentialService, links: AccountLinks) -> None:
        self._credentials = credentials
        self._links = links
        self._acts: Mapping[str, _Act] = {
            "account": self._show,
            "token list": self._list,
            "token create": self._create_token,
            "token revoke": partial(self._take_away, credentials.revoke_token, "Revoked the token"),
            "key list": self._list,
            "key challenge": self._challenge,
            "key add": self._add_key,
            "key remove": partial(self._take_away, credentials.remove_key, "Removed the key"),
            "passkey list": self._list,
            "passkey add": self._add_passkey,
            "passkey remove": partial(
                self._take_away, credentials.remove_passkey, "Removed the passkey"
            ),
            "sign-in list": self._list,
            "sign-in end": self._end_sign_ins,
            "password": self._set_password,
        }

    async def answer(
        self, words: Sequence[str], login: Login, at: str, host: str, input_: ChannelInput
    ) -> AccountAnswer | None:
        """None for what is about no account."""
        command = parse_command(words)
        if command is None:
            return None
        if isinstance(command, CommandError):
            forms = "".join(f"  ssh {at} {form}\n" for form in command.forms)
            return AccountAnswer("", f"stagedoor: {command.why}\n{forms}", USAGE)
        asked = AccountRequest(command, login, at, host, input_)
        try:
            identity = await self._person(asked)
            if isinstance(identity, Denial):
                return _refused(identity)
            done = await self._acts[command.name](asked, identity)
        except InputError as error:
            return AccountAnswer("", f"stagedoor: nothing was changed: {error}\n", error.status)
        return _refused(done) if isinstance(done, Denial) else done

    async def _person(self, asked: AccountRequest) -> Identity | Denial:
        """Who it is now: the connection may be older than a change that ended what it came by."""
        login = asked.login
        identity = await login.flow.authenticate(login.credential, login.source)
        if isinstance(identity, Identity) and identity.name == login.identity.name:
            if identity.is_person:
                return identity
            denial = no_person(identity, asked.at, self._links)
            return login.flow.deny(denial, _origin(login), identity)
        if isinstance(identity, Denial) and identity.reason is not Reason.CREDENTIAL_WRONG:
            return identity
        # Why exactly is for the log: it says whose a key is now.
        denial = identity if isinstance(identity, Denial) else _ANOTHERS
        login.flow.deny(denial, _origin(login), login.identity)
        return _HOLDS_NO_MORE

    # What is there.

    async def _show(self, asked: AccountRequest, identity: Identity) -> AccountAnswer | Denial:
        both = await self._held(identity)
        if isinstance(both, Denial):
            return both
        held, passkeys = both
        parts = parts_of(identity.name, held, passkeys)
        if JSON in asked.command.options:
            return AccountAnswer(account_json(identity, held, parts))
        return AccountAnswer(account_text(identity, held, parts, asked.at))

    async def _list(self, asked: AccountRequest, identity: Identity) -> AccountAnswer | Denial:
        both = await self._held(identity)
        if isinstance(both, Denial):
            return both
        part = parts_of(identity.name, *both)[asked.command.name.partition(" ")[0]]
        if JSON in asked.command.options:
            return AccountAnswer(as_json(part.documents))
        if not part.rows:
            return AccountAnswer("", f"{part.title}: none\n")
        return AccountAnswer("\n".join(table(part.rows)) + "\n")

    async def _held(self, identity: Identity) -> tuple[AccountState, list[PasskeyRecord]] | Denial:
        held = await self._credentials.held(identity)
        passkeys = await self._credentials.passkeys(identity)
        if isinstance(held, Denial):
            return held
        return passkeys if isinstance(passkeys, Denial) else (held, passkeys)

    # What gives something.

    async def _create_token(
        self, asked: AccountRequest, identity: Identity
    ) -> AccountAnswer | Denial:
        options = asked.command.options
        days = min(DEFAULT_DAYS, self._credentials.token_max_days)
        if EXPIRES in options:
            seconds = parse_duration(options[EXPIRES])
            if seconds is None:
                return Denial(Reason.BAD_REQUEST, f"{EXPIRES} is how long it lasts: 8h, 30d, 1d12h")
            days = seconds / DAY_S
        made = await self._credentials.add_token(identity, asked.command.arguments, days)
        if isinstance(made, Denial):
            return made
        if JSON in options:
            return AccountAnswer(
                as_json(
                    {
                        "id": made.id,
                        "user": identity.name,
                        "token": made.text,
                        "scopes": None if made.scopes is None else list(made.scopes),
                        "expires_at": show_milliseconds(made.expires_at),
                    }
                )
            )
        ends = show_time(made.expires_at)
        return AccountAnswer(
            f"{made.text}\n", f"Token {made.id} ends {ends}. It is not shown again.\n"
        )

    async def _challenge(self, asked: AccountRequest, identity: Identity) -> AccountAnswer | Denial:
        closed = self._credentials.not_open("keys", identity)
        return closed or AccountAnswer(f"{_line(asked, identity)}\n")

    async def _add_key(self, asked: AccountRequest, identity: Identity) -> AccountAnswer | Denial:
        if (closed := self._credentials.not_open("keys", identity)) is not None:
            return closed
        sign = f"ssh-keygen -Y sign -n {NAMESPACE} -f ~/.ssh/id_ed25519"
        hint = (
            f"Waiting for a signature of this line:\n  {_line(asked, identity)}\n"
            f"It is made and sent by:\n  ssh {asked.at} key challenge | {sign} | ssh {asked.at} key add\n"
        )
        signature = await asked.input.text(SIGNATURE_END, hint)
        still = await self._person(asked)
        if isinstance(still, Denial):
            return still
        denial = await self._credentials.add_key(
            still,
            asked.host,
            signature,
            asked.command.options.get(COMMENT, ""),
            proved=self._credentials.proved_lately(still),
        )
        return denial or AccountAnswer("", "The key is registered.\n")

    async def _add_passkey(
        self, asked: AccountRequest, identity: Identity
    ) -> AccountAnswer | Denial:
        return Denial(
            Reason.BAD_REQUEST, f"a passkey is made by a browser: add one on {self._links.page}"
        )

    async def _set_password(
        self, asked: AccountRequest, identity: Identity
    ) -> AccountAnswer | Denial:
        held = await self._credentials.held(identity)
        if isinstance(held, Denial):
            return held
        if not held.has_password:
            mend = "an administrator sets one with: stagedoor user password"
            if identity.method is Method.SSO:
                mend = f"you sign in at {identity.credential_id}, and change your password there"
            return Denial(Reason.BAD_REQUEST, f"{identity.name} has no password here; {mend}")
        if (closed := self._credentials.not_open("password", identity)) is not None:
            return closed
        proved = await self._proved(asked, identity)
        if isinstance(proved, Denial):
            return proved
        new = await _new_password(asked)
        still = await self._person(asked)
        if isinstance(still, Denial):
            return still
        changed = await self._credentials.set_password(proved, new)
        if isinstance(changed, Denial):
            return changed
        here = ""
        if identity.method is Method.PASSWORD:
            here = ", this sign-in too" if identity.sign_in else ", this connection too"
        return AccountAnswer(
            "", f"The password is changed. What the old one opened is being closed{here}.\n"
        )

    async def _proved(self, asked: AccountRequest, identity: Identity) -> Identity | Denial:
        """By the present password; each try counts as one to log in."""
        login, name = asked.login, identity.name
        if asked.input.is_terminal:
            present = await asked.input.ask(f"Present password of {name}: ")
        elif FROM_STDIN in asked.command.options:
            present = await asked.input.line("the present password, the first line")
        else:
            return Denial(
                Reason.BAD_REQUEST,
                f"there is no terminal to ask for a password: ssh -t {asked.at} password (or give the "
                f"present and the new one on stdin, a line each, with {FROM_STDIN})",
            )
        proved = await login.flow.authenticate(PasswordCredential(name, present), login.source)
        if isinstance(proved, Denial):
            return login.flow.deny(proved, _origin(login), identity)
        if proved.method is not Method.PASSWORD:
            return Denial(Reason.BAD_REQUEST, "give your present password, not a token")
        return proved

    # What takes something away.

    async def _take_away(
        self, take: _TakeAway, said: str, asked: AccountRequest, identity: Identity
    ) -> AccountAnswer | Denial:
        [one] = asked.command.arguments
        denial = await take(identity, one)
        return denial or AccountAnswer("", f"{said} {one}.\n")

    async def _end_sign_ins(
        self, asked: AccountRequest, identity: Identity
    ) -> AccountAnswer | Denial:
        others = OTHERS in asked.command.options
        ended = 0
        for wanted in ("others",) if others else asked.command.arguments:
            count = await self._credentials.end_sign_ins(identity, wanted)
            if isinstance(count, Denial):
                before = f" ({ended} ended before)" if ended else ""
                return AccountAnswer("", f"stagedoor: {wanted}: {count.line}{before}\n", 1)
            ended += count
        return AccountAnswer("", f"Ended {ended} sign-in{'' if ended == 1 else 's'}.\n")


def no_person(identity: Identity, at: str, links: AccountLinks) -> Denial:
    """Why this is no way to an account, and which ones are."""
    came_by = _ONE_APP if identity.scopes is not None else _CAME_BY.get(identity.method, "a key")
    ways = []
    if links.passwords:
        ways.append(f"come by your password (ssh -o PubkeyAuthentication=no {at} account)")
    if links.logins:
        site = links.web or "https://GATEWAY"
        ways.append(f"come by the key of a sign-in (stagedoor login {site})")
    ways.append(f"use {links.page}" if links.web else "ask an administrator")
    return Denial(
        Reason.NO_GRANT,
        f"an account is for people, and you came by {came_by}: {', or '.join(ways)}",
    )


async def _new_password(asked: AccountRequest) -> str:
    """Raises InputError."""
    if not asked.input.is_terminal:
        return await asked.input.line("the new password, the second line")
    new = await asked.input.ask(f"New password of {asked.login.identity.name}: ")
    if await asked.input.ask("The same again: ") != new:
        raise InputError("the new password was typed in two ways")
    return new


def _line(asked: AccountRequest, identity: Identity) -> str:
    return line_to_sign(identity, asked.host)


def _origin(login: Login) -> Origin:
    return Origin(AccessMethod.JUMP, login.source)


def _refused(denial: Denial) -> AccountAnswer:
    return AccountAnswer("", f"stagedoor: {denial.line}\n", 1)
