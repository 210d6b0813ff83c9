"""The page of a login, of the templates in `listeners/web/templates`."""

from stagedoor.listeners.web.pages.markup import Place
from stagedoor.model.pending_login import LETTERS_COUNT, LoginState, PendingLogin

DENIED = "The machine was not let in. If you did not begin this login, tell your administrators."


def approve(
    place: Place, user: str, login: PendingLogin, wrong: str = "", *, same_network: bool = True
) -> str:
    """What wants to log in, and the ways to say yes and no; or that it is decided."""
    if login.state is LoginState.DENIED:
        return _decided(place, "Not logged in", DENIED)
    if login.state is LoginState.SPENT or (
        login.state is LoginState.APPROVED and login.code_hash is None
    ):
        said = f"{login.label} is logged in as {user}. You can close this page, and go on in the terminal."
        return _decided(place, "Logged in", said)
    return place.page(
        "login.html",
        user=user,
        login=login,
        wrong=wrong,
        same_network=same_network,
        letters_count=LETTERS_COUNT,
        path=_path(place, login),
    )


def onward(place: Place, url: str, login: PendingLogin) -> str:
    """Leads to the client on the same machine, by itself."""
    return place.page("login_onward.html", url=url, path=_path(place, login))


def _decided(place: Place, heading: str, said: str) -> str:
    return place.page(
        "login_decided.html", title=f"{heading} · Stagedoor", heading=heading, said=said
    )


def _path(place: Place, login: PendingLogin) -> str:
    return f"{place.path}/login/{login.id}"
