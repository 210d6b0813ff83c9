"""The account's page as HTML: whatever was not written here is escaped. It needs no JavaScript."""

from dataclasses import dataclass
from html import escape

from stagedoor.admin.credentials import Held, NewToken
from stagedoor.admin.sign_ins import SignInRecord
from stagedoor.listeners.web.pages.markup import Place, time_of
from stagedoor.model.identity import Identity, Method

_METHODS = {
    Method.PASSWORD.value: "password",
    Method.TOKEN.value: "token",
    Method.PUBLIC_KEY.value: "SSH key",
    Method.CERTIFICATE.value: "certificate",
}
_DAYS = 30


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a form, for the section that it belongs to."""

    section: str
    text: str = ""
    wrong: bool = False
    token: NewToken | None = None


def account(place: Place, identity: Identity, held: Held, said: Said | None = None) -> str:
    """The whole page."""
    body = f"""<header><h1>Your account</h1>
<nav><a href="{escape(place.path)}/">Apps</a></nav>
<form method="post" action="{escape(place.path)}/sign-out"><span>{escape(identity.name)}</span>
<button type="submit">Sign out</button></form></header>
<main class="account">{_who(identity, held)}
{_section("password", "Password", _password(place, identity, held), said)}
{_section("tokens", "Tokens", _tokens(place, held, said), said)}
{_section("keys", "SSH keys", _keys(place, held), said)}
{_section("sign-ins", "Where you are signed in", _sign_ins(place, held), said)}</main>"""
    return place.page("Your account · Stagedoor", body, scripts=("home.js",))


def invitation(place: Place, why: str = "") -> str:
    """Where an invitation leads: the script fills in what stands behind the `#`, which no server sees."""
    alert = f'<p role="alert" class="wrong">{escape(why)}</p>' if why else ""
    action = f"{escape(place.path)}/invitation"
    body = f"""<main class="narrow"><h1>Stagedoor</h1>{alert}
<form id="link" data-kind="invitation" method="post" action="{action}"><input type="hidden" name="secret">
<label for="name">Name</label><input id="name" name="name" autocomplete="username" readonly>
<label for="new">Your new password, 8 characters or more</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="8" maxlength="1024"
 required>
<label for="again">The same again</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="8" maxlength="1024"
 required>
<button type="submit" disabled>Set password and sign in</button></form>
<p id="why" role="status">This link sets your password, once.</p>
<noscript><p>An invitation needs JavaScript. Without it, ask an administrator for a password.</p></noscript>
</main>"""
    return place.page("Invitation · Stagedoor", body, scripts=("link.js",))


def _section(name: str, title: str, body: str, said: Said | None) -> str:
    told = ""
    if said is not None and said.section == name and said.text:
        role = "alert" if said.wrong else "status"
        told = f'<p role="{role}">{escape(said.text)}</p>'
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{told}{body}</section>'


def _who(identity: Identity, held: Held) -> str:
    groups = ", ".join(escape(group) for group in held.groups) or "none"
    return (
        f"<p>You are <strong>{escape(identity.name)}</strong>, signed in by {_by_identity(identity)}. "
        f"Groups: {groups}.</p>"
    )


def _by_identity(identity: Identity) -> str:
    return _by(identity.method.value, identity.credential_id)


def _by(method: str, credential: str | None) -> str:
    if method == Method.SSO.value:
        return escape(credential or "an identity provider")
    named = f" {credential}" if credential else ""
    return escape(_METHODS.get(method, method) + named)


def _not_allowed(what: str, doing: str) -> str:
    return (
        f"<p>{doing} is not open to people here. An administrator does it, or allows it by adding "
        f"<code>{escape(what)}</code> to <code>accounts.self_service</code>.</p>"
    )


def _hidden(place: Place, action: str, name: str, value: str, label: str, named: str) -> str:
    """A form that is a button."""
    return (
        f'<form method="post" action="{escape(place.path)}/account/{action}">'
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        f'<button type="submit" aria-label="{escape(f"{label} {named}")}">{escape(label)}</button></form>'
    )


def _password(place: Place, identity: Identity, held: Held) -> str:
    if not held.has_password:
        if identity.method is Method.SSO:
            return (
                f"<p>You have no password here: you sign in at {_by_identity(identity)}, "
                "and change your password there.</p>"
            )
        return "<p>You have no password here. An administrator sets one.</p>"
    if "password" not in held.may:
        return _not_allowed("password", "Changing one’s password")
    return f"""<form class="fields" method="post" action="{escape(place.path)}/account/password">
<input name="name" value="{escape(identity.name)}" autocomplete="username" hidden readonly>
<label for="present">Present password</label>
<input id="present" name="present" type="password" autocomplete="current-password" required>
<label for="new">New password, 8 characters or more</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="8" maxlength="1024"
 required>
<label for="again">The same again</label>
<input id="again" name="again" type="password" autocomplete="new-password" minlength="8" maxlength="1024"
 required>
<button type="submit">Change password</button>
<small>All that the old password opened ends within seconds, here and elsewhere: sign-ins, terminals, shares.
This page stays signed in.</small></form>"""


def _tokens(place: Place, held: Held, said: Said | None) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one.id)}</code></td>"
        f"<td>{escape(_apps(one.scopes))}</td><td>{time_of(one.created_at)}</td>"
        f"<td>{_end(one.expires_at, held.now)}</td>"
        f"<td>{_hidden(place, 'tokens/revoke', 'id', one.id, 'Revoke', one.id)}</td></tr>"
        for one in held.tokens
    )
    listed = _table(("Token", "For", "Made", "Ends", ""), rows)
    new = _new_token(said.token) if said is not None and said.token is not None else ""
    if "tokens" not in held.may:
        return new + listed + _not_allowed("tokens", "Making tokens")
    most = f"{held.token_max_days:g}"
    days = f"{min(_DAYS, held.token_max_days):g}"
    action = f"{escape(place.path)}/account/tokens/add"
    return f"""{new}{listed}<form class="fields" method="post" action="{action}">
<label for="apps">Apps that a new token may enter, with blanks between; empty for all that you may</label>
<input id="apps" name="apps" autocomplete="off" autocapitalize="none" spellcheck="false"
 placeholder="app01 app02.staging">
<label for="days">Days that it lasts, {most} at most</label>
<input id="days" name="days" type="number" min="0.01" step="any" max="{most}" value="{days}" required>
<button type="submit">Make a token</button></form>"""


def _new_token(made: NewToken) -> str:
    text = escape(made.text)
    return (
        f'<div role="status" class="setup"><p>Your new token, until {time_of(made.expires_at)}. It stands in '
        f'a password’s place. Keep it now: it is not shown again.</p><code id="new-token">{text}</code> '
        f'<button type="button" class="copy" hidden data-copy="{text}" aria-label="Copy the token">Copy'
        "</button></div>"
    )


def _apps(scopes: tuple[str, ...] | None) -> str:
    if scopes is None:
        return "all that you may enter"
    return " ".join(scope.removeprefix("connect:") for scope in scopes)


def _end(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return time_of(at) if at > now else f"{time_of(at)} (over)"


def _keys(place: Place, held: Held) -> str:
    rows = "".join(
        f"<li><code>{escape(key.fingerprint)}</code> <span>{escape(key.comment)}</span>"
        + _hidden(place, "keys/remove", "fingerprint", key.fingerprint, "Remove", key.fingerprint)
        + "</li>"
        for key in held.keys
    )
    listed = f'<ul class="keys">{rows}</ul>' if rows else "<p>None yet.</p>"
    if "keys" not in held.may:
        return listed + _not_allowed("keys", "Adding keys")
    return f"""{listed}<form method="post" action="{escape(place.path)}/account/keys/add">
<label for="line">Add a public key (the line of a <code>.pub</code> file)</label>
<textarea id="line" name="line" rows="3" required spellcheck="false"></textarea>
<button type="submit">Add</button></form>"""


def _sign_ins(place: Place, held: Held) -> str:
    rows = "".join(_sign_in(place, one, held.sign_in) for one in held.sign_ins)
    listed = _table(("By", "From", "Since", "Ends", ""), rows)
    if not any(one.id != held.sign_in for one in held.sign_ins):
        return listed
    action = f"{escape(place.path)}/account/sign-ins/end"
    return f"""{listed}<form method="post" action="{action}"><input type="hidden" name="id" value="others">
<p><button type="submit">End all others</button></p></form>"""


def _sign_in(place: Place, one: SignInRecord, own: str | None) -> str:
    since = "" if one.opened_at is None else time_of(one.opened_at)
    end = "this one"
    if one.id != own:
        end = _hidden(place, "sign-ins/end", "id", one.id, "End", f"the sign-in {one.id[:12]}")
    return (
        f"<tr><td>{_by(one.method, one.credential)}</td><td>{escape(one.source or '')}</td>"
        f"<td>{since}</td><td>{time_of(one.ends_at)}</td><td>{end}</td></tr>"
    )


def _table(columns: tuple[str, ...], rows: str) -> str:
    if not rows:
        return "<p>None yet.</p>"
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in columns)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
