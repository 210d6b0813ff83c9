"""`stagedoor sign-in`: list and end the sign-ins of browsers and the logins of machines."""

import click

from stagedoor.admin.service import open_service
from stagedoor.admin.sign_ins import (
    SHOWN_CHARS,
    end_sign_ins,
    find_sign_in,
    list_sign_ins,
)
from stagedoor.cli import show
from stagedoor.cli.ask import confirm
from stagedoor.cli.complete import sign_in_ids, user_names
from stagedoor.cli.installation import Installation
from stagedoor.model.identity import Method
from stagedoor.model.webpass import LINK
from stagedoor.store.sign_in.sign_ins import SignInRecord


@click.group("sign-in")
def sign_in() -> None:
    """List and end sign-ins."""


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

    USED is the last use of a browser's, to within a quarter of an hour, and of a machine's when it last got a
    certificate. ANSWERED is when the identity provider last confirmed the sign-in, and its failure since
    then, if any. It is - for a sign-in without a provider.
    """
    with open_service(installation.settings, create=False) as service:
        records = list_sign_ins(service, user)
    if json_:
        return show.as_json([document(record) for record in records])
    none = show.no("sign-ins", user, "a browser signs in on the web, a machine by: stagedoor login")
    return show.table([row(record) for record in records], none)


def row(record: SignInRecord) -> dict[str, str]:
    """Return a line of `sign-in list`."""
    opened = record.sign_in
    credential = opened.credential_id
    by = opened.method if credential is None else f"{opened.method} {credential}"
    if opened.method is Method.PASSWORD and credential is not None:
        by = LINK if credential == LINK else f"passkey {credential}"
    return {
        "id": record.id[:SHOWN_CHARS],
        "user": opened.name,
        "by": by,
        "on": opened.label or "browser",
        "from": opened.source or "-",
        "since": "-" if opened.opened_at is None else show.local(opened.opened_at),
        "used": show.local(opened.last_used_at),
        "ends": show.local(opened.expires_at),
        "answered": _answered(record),
    }


def _answered(record: SignInRecord) -> str:
    answered_at = show.local(record.sign_in.answered_at)
    if record.failure is None:
        return answered_at
    return f"{answered_at}; {show.local(record.failed_at)}: {record.failure}"


def document(record: SignInRecord) -> dict[str, object]:
    """Return an entry of `sign-in list --json`."""
    opened = record.sign_in
    return {
        "id": record.id[:SHOWN_CHARS],
        "user": opened.name,
        "method": opened.method.value,
        "credential": opened.credential_id,
        "label": opened.label,
        "key": record.key_fingerprint,
        "source": opened.source,
        "opened_at": show.iso(opened.opened_at),
        "used_at": show.iso(opened.last_used_at),
        "ends_at": show.iso(opened.expires_at),
        "answered_at": show.iso(opened.answered_at),
        "failure": record.failure,
        "failed_at": show.iso(record.failed_at),
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
    help="The reason, for the user and the audit. One line.",
)
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
        raise click.UsageError("name sign-ins, or give --user, and only one of these")
    if not reason.isprintable() or not 0 < len(reason) <= 200:
        raise click.UsageError("--reason is one line of 200 characters at most")
    with open_service(installation.settings, create=False) as service:
        if user is None:
            records = [find_sign_in(service, id_) for id_ in dict.fromkeys(ids)]
        else:
            records = list_sign_ins(service, user)
            if records:
                confirm(f"End {show.count(len(records), 'sign-in')}?", yes=yes)
        ended = end_sign_ins(service, records, reason, require_proof=True)
    show.note(f"Ended {show.count(ended, 'sign-in')}.")
