"""The operations on links: shares of terminals, and users' accounts at identity providers.

The functions on provider accounts import `signin.provider_accounts` and `signin.providers` themselves, since
their libraries would add a tenth to each command's time.
"""

from collections.abc import Mapping

import msgspec

from stagedoor.admin import shares
from stagedoor.api.call import Call, Handler
from stagedoor.api.views import show_share
from stagedoor.model.role import Role
from stagedoor.signin.links import make_share_link
from stagedoor.store.sign_in import identities
from stagedoor.wire.api import inputs as i
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t


def list_shares(call: Call) -> t.Page[r.ShareEntry]:
    """List the open shares, the first to expire first."""
    call.require(Role.AUDITOR)
    listed = shares.list_shares(call.service)
    return call.list_page(listed, lambda share: f"{share.expires_at:017.3f} {share.id}", show_share)


def add_share(call: Call) -> r.ShareMade:
    """Share a terminal of a user, and show the link once."""
    call.require(Role.ADMINISTRATOR)
    body: i.ShareNew = call.body
    share, url = make_share_link(
        call.settings,
        call.service,
        body.user,
        body.app,
        body.terminal,
        body.lasts_s,
        typing=body.typing,
        url=body.url,
    )
    return r.ShareMade(**msgspec.structs.asdict(show_share(share)), url=url)


def end_share(call: Call) -> r.ShareEntry:
    """End a share."""
    call.require(Role.OPERATOR)
    return show_share(shares.end_share(call.service, call.path["id"]))


def list_accounts(call: Call) -> t.Page[r.LinkEntry]:
    """List the users who are linked to an identity provider."""
    call.require(Role.AUDITOR)
    names = {provider.issuer: provider.name for provider in call.settings.sso}
    with call.service.database.read() as transaction:
        accounts = identities.list_accounts(transaction)
    linked = [
        r.LinkEntry(user, names.get(account.issuer, account.issuer), account.subject)
        for user, account in accounts
    ]
    return call.list_page(
        linked, lambda entry: f"{entry.user} {entry.provider} {entry.subject}", lambda entry: entry
    )


def link_account(call: Call) -> r.LinkEntry:
    """Link a user to their account at a provider."""
    from stagedoor.signin import provider_accounts
    from stagedoor.signin.providers import find_provider

    call.require(Role.ADMINISTRATOR)
    body: i.ProviderLinkNew = call.body
    provider = find_provider(call.settings, body.provider)
    provider_accounts.link_account(call.service, body.user, provider, body.subject)
    return r.LinkEntry(body.user, provider.name, body.subject)


def unlink_account(call: Call) -> r.LinkEntry:
    """Unlink an account at a provider from its user."""
    from stagedoor.signin import provider_accounts
    from stagedoor.signin.providers import find_provider

    call.require(Role.ADMINISTRATOR)
    body: i.ProviderLinkRemoval = call.body
    provider = find_provider(call.settings, body.provider)
    user = provider_accounts.unlink_account(call.service, provider, body.subject)
    return r.LinkEntry(user, provider.name, body.subject)


HANDLERS: Mapping[str, Handler] = {
    "shares.list": list_shares,
    "shares.add": add_share,
    "shares.end": end_share,
    "provider-accounts.list": list_accounts,
    "provider-accounts.link": link_account,
    "provider-accounts.unlink": unlink_account,
}
