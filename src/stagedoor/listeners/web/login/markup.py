"""The pages of a login, rendered from `listeners/web/templates`."""

from stagedoor.listeners.web.pages.markup import PagePath
from stagedoor.model.letters import LETTERS_COUNT
from stagedoor.model.pending_login import LoginState, PendingLogin

DENIED = "The machine was not let in. If you did not begin this login, tell your administrators."


def approve(
    place: PagePath,
    user: str,
    login: PendingLogin,
    gateway: str,
    wrong: str = "",
    *,
    same_network: bool = True,
) -> str:
    """Render the login of a machine at `gateway` with the ways to allow and deny it, or its outcome."""
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
        gateway=gateway,
        wrong=wrong,
        same_network=same_network,
        letters_count=LETTERS_COUNT,
        path=_path(place, login),
    )


def onward(place: PagePath, url: str, login: PendingLogin) -> str:
    """Render a page that opens the client on the same machine automatically."""
    return place.page("login_onward.html", url=url, path=_path(place, login))


def install(place: PagePath, url: str, digest: str) -> str:
    """Render the lines that install the client: `url` is the gateway's, `digest` the file's SHA-256.

    An installed client is replaced only when the new one is complete and checked, since ssh may run it
    meanwhile.
    """
    get = (
        f"mkdir -p ~/.local/bin && cd ~/.local/bin && curl -fsSo stagedoor.new {url}/client/stagedoor && "
        f"echo '{digest}  stagedoor.new' | sha256sum -c && "
        "chmod +x stagedoor.new && mv -f stagedoor.new stagedoor"
    )
    run = f"~/.local/bin/stagedoor login {url}"
    return place.page("client.html", lines=(get, run), digest=digest)


def _decided(place: PagePath, heading: str, said: str) -> str:
    return place.page(
        "login_decided.html", title=f"{heading} · Stagedoor", heading=heading, said=said
    )


def _path(place: PagePath, login: PendingLogin) -> str:
    return f"{place.path}/login/{login.id}"
