"""The operations on the hooks of the settings."""

from collections.abc import Mapping

from stagedoor.admin.hooks.messages import Message
from stagedoor.api.call import Call, Handler, require_found
from stagedoor.model.errors import StagedoorError
from stagedoor.model.role import Role
from stagedoor.signin.site import find_site_or_none
from stagedoor.store.deliveries import count_backlogs
from stagedoor.wire.api import reports as r
from stagedoor.wire.api import types as t


def list_hooks(call: Call) -> t.Page[r.HookEntry]:
    """List the hooks of the settings, with the backlog of each."""
    # Imported here, because cryptography would cost each command a tenth of its time.
    from stagedoor.admin.hooks.delivery import load_hook_key
    from stagedoor.keys.webhook import show_webhook_key

    call.require(Role.AUDITOR)
    hooks = call.settings.hooks
    with call.service.database.read() as transaction:
        backlogs = count_backlogs(transaction, [f"hook {hook.name}" for hook in hooks])
    key = show_webhook_key(load_hook_key(call.settings)) if hooks else ""

    return call.list_page(
        hooks,
        lambda hook: hook.name,
        lambda hook: r.HookEntry(
            hook.name, hook.kind, hook.shown_url, backlogs[f"hook {hook.name}"], key
        ),
    )


def probe_hook(call: Call) -> r.HookResult:
    """Send a test message to a hook."""
    from stagedoor.admin.hooks.delivery import HookSink  # as in `list_hooks`

    call.require(Role.ADMINISTRATOR)
    name = call.path["name"]
    known = (hook for hook in call.settings.hooks if hook.name == name)
    hook = require_found(next(known, None), f"hook {name}", "hook list")
    site, now = find_site_or_none(call.settings), call.service.clock()
    message = Message("hook.test", now, "This is a test. Nothing has happened.", site)
    try:
        HookSink(hook, call.settings, site).send_message(message, f"test-{int(now)}")
    except StagedoorError as error:
        return r.HookResult(name, False, str(error))
    return r.HookResult(name, True, None)


HANDLERS: Mapping[str, Handler] = {
    "hooks.list": list_hooks,
    "hooks.test": probe_hook,
}
