"""`/account`: a user's own password, tokens, SSH keys, passkeys and sign-ins; and `/invitation`.

The account is only for people (`Identity.is_person`), because a token must not be able to create another that
outlives it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stagedoor.listeners.web.guard import RequestGuard
from stagedoor.listeners.web.pages.base import SEE_OTHER, Pages, choose_page_status
from stagedoor.listeners.web.pages.user_routes import UserRoutes, make_form_route
from stagedoor.listeners.web.sign_in.cookies import read_cookie, set_cookie, start_session
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import TOKEN_SOON_S, Identity, Method
from stagedoor.model.webpass import describe_sign_in_method
from stagedoor.signin.credentials import CredentialService, NewToken
from stagedoor.signin.key_proof import make_line_to_sign, render_sign_command
from stagedoor.signin.passes import PassService
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.wire.language.choose import NAMES

_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class FormOutcome:
    """The outcome of a form, shown in the section of the page that the form is in."""

    section: str
    text: str = ""
    wrong: bool = False
    token: NewToken | None = None


def _describe_apps(scopes: tuple[str, ...] | None) -> str:
    if scopes is None:
        return "all apps that you may enter"
    return " ".join(scope.removeprefix("connect:") for scope in scopes)


_MAX_CHARS = 4096
_NO_PERSON = Denial(
    Reason.NO_GRANT,
    "an account is for people: sign in with a password, with your identity provider, or by a link "
    "for all apps, and not with a token or a link for one app",
)


_Fields = dict[str, str]
_Change = Callable[[Request, Identity, _Fields], Awaitable[Response | Denial | None]]


class AccountPages:
    """The routes of the account's page. Belongs to one event loop."""

    def __init__(
        self,
        guard: RequestGuard,
        pages: Pages,
        passes: PassService,
        credentials: CredentialService,
        passkeys: PasskeyRegistry,
    ) -> None:
        self._guard = guard
        self._pages = pages
        self._passes = passes
        self._credentials = credentials
        self._passkeys = passkeys
        self._path = f"{pages.place.path}/account"
        self._user_routes = UserRoutes(pages, partial(pages.identify_person, refusal=_NO_PERSON))
        self.routes: list[BaseRoute] = [
            self._user_routes.get("/account", self._render_page),
            self._make_form_route("language", "language", self._set_language),
            self._make_form_route("password", "password", self._set_password),
            self._make_form_route("tokens/add", "tokens", self._add_token),
            self._make_form_route("tokens/revoke", "tokens", self._revoke_token),
            self._make_form_route("keys/add", "keys", self._add_key),
            self._make_form_route("keys/remove", "keys", self._remove_key),
            self._make_form_route("passkeys/remove", "passkeys", self._remove_passkey),
            self._make_form_route("sign-ins/end", "sign-ins", self._end_sign_ins),
        ]

    def _make_form_route(self, path: str, section: str, change: _Change) -> Route:
        """Return the route of a form, which shows the outcome in the form's section of the page."""

        async def act(request: Request, identity: Identity, fields: _Fields) -> Response:
            outcome = await change(request, identity, fields)
            if isinstance(outcome, Denial):
                why = FormOutcome(section, f"Nothing was changed: {outcome.line}.", wrong=True)
                return await self._render_page(request, identity, why, choose_page_status(outcome))
            return outcome or RedirectResponse(f"{self._path}#{section}", SEE_OTHER)

        return self._user_routes.post(f"/account/{path}", act)

    async def _render_page(
        self,
        request: Request,
        identity: Identity,
        said: FormOutcome | None = None,
        status: int = 200,
    ) -> Response:
        held = await self._credentials.read_account(identity)
        passkeys = await self._passkeys.list_own(identity)
        for denial in (held, passkeys):
            if isinstance(denial, Denial):
                return self._pages.explain(denial)
        assert not isinstance(held, Denial), "it was answered"
        return self._pages.render(
            "account.html",
            identity,
            status,
            identity=identity,
            held=held,
            passkeys=passkeys,
            proved=self._passkeys.has_fresh_proof(identity),
            said=said,
            key_command=render_sign_command(make_line_to_sign(identity, _read_host(request))),
            days=f"{min(_DAYS, held.token_max_days):g}",
            days_most=f"{held.token_max_days:g}",
            soon_s=TOKEN_SOON_S,
            by=describe_sign_in_method,
            scopes=_describe_apps,
            languages=NAMES,
        )

    # The changes that the forms make.

    async def _set_language(
        self, _: Request, identity: Identity, fields: _Fields
    ) -> Response | Denial | None:
        change = self._credentials.set_language(identity, fields.get("language", ""))
        return await self._guard.apply_change(change)

    async def _set_password(
        self, request: Request, identity: Identity, fields: _Fields
    ) -> Response | Denial | None:
        present, new, again = (
            fields.get(name, "")[:_MAX_CHARS] for name in ("present", "new", "again")
        )
        if new != again:
            return Denial(Reason.BAD_REQUEST, "the two new passwords differ")
        proved = await self._guard.check_password(request, identity, present)
        if isinstance(proved, Denial):
            return self._guard.record_denial(request, proved, identity)
        changed = await self._credentials.set_password(proved, new)
        if isinstance(changed, Denial):
            return changed
        if identity.method is not Method.PASSWORD:
            return None
        # The change ends all sign-ins by the old password, including this one, so start another.
        before = read_cookie(self._guard, request)
        assert not isinstance(before, Denial), "it authenticated this request"
        secret = await start_session(self._passes, self._guard, request, changed, before)
        if isinstance(secret, Denial):
            return None  # the redirect leads to the sign-in form
        response = RedirectResponse(f"{self._path}#password", SEE_OTHER)
        set_cookie(response, secret, self._guard, request)
        return response

    async def _add_token(
        self, request: Request, identity: Identity, fields: _Fields
    ) -> Response | Denial | None:
        apps = fields.get("apps", "").replace(",", " ").split()
        try:
            days = float(fields.get("days", ""))
        except ValueError:
            return Denial(Reason.BAD_REQUEST, "give the lifetime of a token as a number of days")
        token = await self._credentials.add_token(identity, apps, days)
        if isinstance(token, Denial):
            return token
        # Only this answer has the token, and no cache keeps it (`Cache-Control: no-store`).
        return await self._render_page(request, identity, FormOutcome("tokens", token=token))

    async def _revoke_token(self, _: Request, identity: Identity, fields: _Fields) -> Denial | None:
        return await self._credentials.revoke_token(identity, fields.get("id", ""))

    async def _add_key(
        self, request: Request, identity: Identity, fields: _Fields
    ) -> Denial | None:
        signature, label = (fields.get(name, "") for name in ("signature", "label"))
        proved = self._passkeys.has_fresh_proof(identity)
        return await self._credentials.add_key(
            identity, _read_host(request), signature, label, proved=proved
        )

    async def _remove_key(self, _: Request, identity: Identity, fields: _Fields) -> Denial | None:
        return await self._credentials.remove_key(identity, fields.get("fingerprint", ""))

    async def _remove_passkey(
        self, _: Request, identity: Identity, fields: _Fields
    ) -> Denial | None:
        return await self._passkeys.remove(identity, fields.get("id", ""))

    async def _end_sign_ins(self, _: Request, identity: Identity, fields: _Fields) -> Denial | None:
        ended = await self._credentials.end_sign_ins(identity, fields.get("id", ""))
        return ended if isinstance(ended, Denial) else None


def _read_host(request: Request) -> str:
    """Return the Host of the request, which the guard has checked."""
    return request.headers.get("host", "")


class InvitationPages:
    """The routes of invitations. Belongs to one event loop."""

    def __init__(self, pages: Pages, credentials: CredentialService) -> None:
        self._pages = pages
        self._credentials = credentials
        self.routes: list[BaseRoute] = [
            Route("/invitation", self._show, methods=["GET"]),
            make_form_route(pages, "/invitation", self._accept),
        ]

    async def _show(self, _: Request) -> Response:
        return self._render()

    def _render(self, denial: Denial | None = None) -> Response:
        """Return the page, whose script fills in the secret behind the `#`, which no server sees.

        The tab still has the secret after an error, and no page repeats it.
        """
        why, status = ("", 200) if denial is None else (denial.line, choose_page_status(denial))
        return HTMLResponse(self._pages.place.page("invitation.html", why=why), status)

    async def _accept(self, request: Request, fields: _Fields) -> Response:
        new = fields.get("new", "")
        if new != fields.get("again", ""):
            return self._render(Denial(Reason.BAD_REQUEST, "the two passwords differ"))
        identity = await self._credentials.accept_invitation(fields.get("secret", ""), new)
        if not isinstance(identity, Denial):
            return await self._pages.begin_session(request, identity, self._pages.home_path)
        if identity.reason is not Reason.CREDENTIAL_WRONG:
            return self._render(identity)
        return self._pages.render_refusal(request, identity)
