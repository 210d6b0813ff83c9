"""`stagedoor web-link`: print a link that signs a user in to the WebShell once, without a password."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import call
from stagedoor.cli.complete import user_names
from stagedoor.cli.installation import Installation
from stagedoor.wire.api.inputs import WebLinkNew
from stagedoor.wire.api.reports import WebLinkMade


@click.command(
    "web-link",
    epilog=show.make_epilog(
        "stagedoor web-link alice --url https://shell.example.com",
        "stagedoor web-link alice --app app01   # only for this app",
    ),
)
@click.argument("user", shell_complete=user_names)
@click.option("--app", help="Open this app, as APP or APP.ENVIRONMENT, and allow no other.")
@click.option(
    "--url",
    help="Where browsers reach the WebShell. Default: web.public_url, else https:// and web.domain, or "
    "the first of web.tls_addresses or web.addresses.",
)
@click.pass_obj
def web_link(installation: Installation, user: str, app: str | None, url: str | None) -> None:
    """Print a link that signs USER in on the web once.

    It is valid for 10 minutes.

    Anyone with the link can sign in as USER: hand it over as you would a password. The secret is behind the
    `#`, which browsers do not send to servers, so it reaches no log. The sign-in ends when the password of
    USER is changed, or USER is removed.
    """
    link: WebLinkMade = call(
        installation, "users.web-link", {"name": user}, body=WebLinkNew(app=app, url=url)
    )
    click.echo(link.url)
    show.note(f"It signs {user} in once, until {show.format_local(link.expires_at)}.")
