"""`stagedoor sign-in`: list and end the sign-ins of browsers and the logins of machines."""

import click

from stagedoor.cli import show
from stagedoor.cli.administration import open_administration, print_list
from stagedoor.cli.ask import confirm
from stagedoor.cli.complete import sign_in_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.cli.options import make_reason_option
from stagedoor.model.identity import Method
from stagedoor.model.webpass import LINK
from stagedoor.wire.api.inputs import SessionsEnd
from stagedoor.wire.api.types import SignInEntry


@click.group("sign-in")
def sign_in() -> None:
    """List and end sign-ins."""


@sign_in.command(
    "list",
    epilog=show.make_epilog(
        "stagedoor sign-in list",
        "stagedoor sign-in list --user alice",
        "stagedoor sign-in list --json | jq -r '.[].id'",
    ),
)
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@show.json_option
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the sign-ins of browsers and of machines.

    USED is when a browser last used its sign-in, to within a quarter of an hour, or when a machine last got a
    certificate. ANSWERED is when the identity provider last confirmed the sign-in, with its failure since
    then, if any, and `-` for a sign-in without a provider.
    """
    none = show.explain_empty(
        "sign-ins", user, "a browser signs in on the web, a machine by: stagedoor login"
    )
    print_list(installation, "sign-ins.list", make_row, none, {"user": user}, as_json=json_)


def make_row(record: SignInEntry) -> dict[str, object]:
    """Return a line of `sign-in list`."""
    credential = record.credential
    by = record.method if credential is None else f"{record.method} {credential}"
    if record.method == Method.PASSWORD and credential is not None:
        by = LINK if credential == LINK else f"passkey {credential}"
    return {
        "id": record.id,
        "user": record.user,
        "by": by,
        "on": record.label or "browser",
        "from": record.source,
        "since": show.format_local(record.opened_at),
        "used": show.format_local(record.used_at),
        "ends": show.format_local(record.ends_at),
        "answered": _format_answered(record),
    }


def _format_answered(record: SignInEntry) -> str:
    answered_at = show.format_local(record.answered_at)
    if record.failure is None:
        return answered_at
    return f"{answered_at}; {show.format_local(record.failed_at)}: {record.failure}"


@sign_in.command(
    "end",
    epilog=show.make_epilog(
        "stagedoor sign-in end 5f3a91c0e2b7",
        "stagedoor sign-in end --user alice --reason 'laptop stolen'",
    ),
)
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=sign_in_ids)
@click.option("--user", help="All sign-ins of this user.", shell_complete=user_names)
@make_reason_option("an administrator ended your sign-in")
@click.option("--yes", is_flag=True, help="With --user: do not ask.")
@click.pass_obj
def end(
    installation: Installation, ids: tuple[str, ...], user: str | None, reason: str, yes: bool
) -> None:
    """End sign-ins by ID or by user, and their sessions.

    The beginning of an ID is enough. The sessions end within seconds.

    Users may sign in again; to prevent that: stagedoor user disable NAME. At the next sign-in the identity
    provider asks for the password, even in a browser that still has a session there.
    """
    if bool(ids) == (user is not None):
        raise click.UsageError("give IDs or --user, and only one of these")
    with open_administration(installation) as admin:
        wanted = list(dict.fromkeys(ids))
        if user is not None:
            wanted = [record.id for record in admin.list_all("sign-ins.list", {"user": user})]
            if wanted:
                confirm(f"End {show.count(len(wanted), 'sign-in')}?", yes=yes)
        order = SessionsEnd(wanted, reason)
        ended = admin.call("sign-ins.end", body=order) if wanted else []
    show.note(f"Ended {show.count(len(ended), 'sign-in')}.")
