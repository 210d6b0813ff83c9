"""The function of each operation, and the rows that an ETag stands for."""

import hashlib
from collections.abc import Callable, Mapping
from importlib import import_module

import msgspec

from stagedoor.api.call import Handler
from stagedoor.api.views import show_grant, show_role
from stagedoor.model.errors import NotFoundError
from stagedoor.store.administration.roles import read_roles
from stagedoor.store.database import Transaction
from stagedoor.store.grants import find_grant
from stagedoor.store.people import find_groups_of, is_disabled, require_user
from stagedoor.store.sign_in.identities import list_provided_groups

_RESOURCES = {
    "access": "access events grants sessions sign-ins",
    "apps": "apps",
    "hooks": "hooks",
    "links": "provider-accounts shares",
    "people": "groups keys passkeys roles tokens users",
    "recordings": "recordings",
    "requests": "request-rules requests",
    "sets": "sets",
}
"""The modules of this package, with the resources whose operations each of them has."""
_MODULES = {name: module for module, names in _RESOURCES.items() for name in names.split()}


def find_handler(name: str) -> Handler:
    """Return the function of an operation. Only its module is loaded, since a command needs no other."""
    module = import_module(f"stagedoor.api.{_MODULES[name.partition('.')[0]]}")
    handlers: Mapping[str, Handler] = module.HANDLERS
    return handlers[name]


def make_tag(transaction: Transaction, resource: str, path: Mapping[str, str]) -> str | None:
    """Return the ETag of the row that a path names, or None if there is no such row.

    It depends only on what a change of the row can set, so a login of the user does not change it.
    """
    try:
        state = _TAGGED[resource](transaction, path)
    except (NotFoundError, KeyError):
        return None
    digest = hashlib.sha256(msgspec.json.encode([resource, dict(path), state])).hexdigest()
    return f'"{digest[:32]}"'


def _read_user(transaction: Transaction, path: Mapping[str, str]) -> object:
    name = path["name"]
    require_user(transaction, name)
    provided = list_provided_groups(transaction, name)
    own = find_groups_of(transaction, name)
    return sorted(own), sorted(provided), is_disabled(transaction, name)


def _read_grant(transaction: Transaction, path: Mapping[str, str]) -> object:
    return show_grant(find_grant(transaction, int(path["id"])))


def _read_role(transaction: Transaction, path: Mapping[str, str]) -> object:
    number = int(path["id"])
    return show_role(read_roles(transaction, [number])[number])


_TAGGED: Mapping[str, Callable[[Transaction, Mapping[str, str]], object]] = {
    "users": _read_user,
    "grants": _read_grant,
    "roles": _read_role,
}
