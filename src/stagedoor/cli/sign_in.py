"""`stagedoor sign-in`: browsers that are signed in, machines that are logged in, and out with them."""

import click

from stagedoor.admin.service import open_service
from stagedoor.admin.sign_in.sign_ins import (
    SHOWN_CHARS,
    SignInRecord,
    end_sign_ins,
    find_sign_in,
    list_sign_ins,
)
from stagedoor.cli import show
from stagedoor.cli.ask import sure
from stagedoor.cli.complete import sign_in_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.model.identity import Method


@click.group("sign-in")
def sign_in() -> None:
    """Show who is signed in; end sign-ins."""


@sign_in.command(
    "list",
    epilog=show.examples(
        "stagedoor sign-in list",
        "stagedoor sign-in list --user alice",
        "stagedoor sign-in list --json | jq -r '.[].id'",
    ),
)
@click.option("--user", help="Only this user's.", shell_complete=user_names)
@click.option("--json", "json_", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def list_(installation: Installation, user: str | None, json_: bool) -> None:
    """List the sign-ins of browsers and of machines.

    ANSWERED is when the identity provider last said that the sign-in holds, and what it has answered since,
    or why it did not; - where none is asked.
    """
    with open_service(installation.settings, create=False) as service:
        found = list_sign_ins(service, user)
    if json_:
        return show.as_json([document(one) for one in found])
    none = show.no("sign-ins", user, "a browser signs in on the web, a machine by: stagedoor login")
    return show.table([row(one) for one in found], none)


def row(one: SignInRecord) -> dict[str, str]:
    """A line of `sign-in list`."""
    by = one.method if one.credential is None else f"{one.method} {one.credential}"
    if one.method == Method.PASSWORD.value and one.credential is not None:
        by = f"passkey {one.credential}"
    return {
        "id": one.id[:SHOWN_CHARS],
        "user": one.user,
        "by": by,
        "on": one.label or "browser",
        "from": one.source or "-",
        "since": "-" if one.opened_at is None else show.local(one.opened_at),
        "ends": show.local(one.ends_at),
        "answered": _answered(one),
    }


def _answered(one: SignInRecord) -> str:
    if one.failure is None:
        return show.local(one.answered_at)
    return f"{show.local(one.answered_at)}; {show.local(one.failed_at)}: {one.failure}"


def document(one: SignInRecord) -> dict[str, object]:
    """One of `sign-in list --json`."""
    return {
        "id": one.id[:SHOWN_CHARS],
        "user": one.user,
        "method": one.method,
        "credential": one.credential,
        "label": one.label,
        "key": one.key_fingerprint,
        "source": one.source,
        "opened_at": show.iso(one.opened_at),
        "ends_at": show.iso(one.ends_at),
        "answered_at": show.iso(one.answered_at),
        "failure": one.failure,
        "failed_at": show.iso(one.failed_at),
    }


@sign_in.command(
    "end",
    epilog=show.examples(
        "stagedoor sign-in end 5f3a91c0e2b7",
        "stagedoor sign-in end --user alice --reason 'laptop stolen'",
    ),
)
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=sign_in_ids)
@click.option("--user", help="All sign-ins of this user.", shell_complete=user_names)
@click.option(
    "--reason",
    default="an administrator ended your sign-in",
    show_default=True,
    help="The reason, for the person and the audit. One line.",
)
@click.option("--yes", is_flag=True, help="Do not ask, with --user.")
@click.pass_obj
def end(
    installation: Installation, ids: tuple[str, ...], user: str | None, reason: str, yes: bool
) -> None:
    """End sign-ins by ID or by user, and what they opened.

    The beginning of an ID is enough. What they opened ends within seconds.

    The person may sign in again; to keep them out: stagedoor user disable NAME. Their identity provider asks
    them for their password then, whatever session they have there.
    """
    if bool(ids) == (user is not None):
        raise click.UsageError("name sign-ins, or give --user, and only one of these")
    if not reason.isprintable() or not 0 < len(reason) <= 200:
        raise click.UsageError("--reason is one line of 200 characters at most")
    with open_service(installation.settings, create=False) as service:
        if user is None:
            found = [find_sign_in(service, one) for one in dict.fromkeys(ids)]
        else:
            found = list_sign_ins(service, user)
            if found:
                sure(f"End {show.count(len(found), 'sign-in')}?", yes=yes)
        ended = end_sign_ins(service, found, reason, ask_again=True)
    show.note(f"Ended {show.count(ended, 'sign-in')}.")
