"""The notes on what may surprise about a new grant."""

from collections.abc import Iterable
from difflib import get_close_matches

from stagedoor.cli import show
from stagedoor.cli.complete import list_cluster_targets, list_settings_targets
from stagedoor.model.errors import StagedoorError
from stagedoor.model.selector import has_match
from stagedoor.model.target import Target
from stagedoor.settings.settings import Settings
from stagedoor.wire.api.port import Administration
from stagedoor.wire.api.types import GrantEntry

MAX_NAMED = 5
"""The most environments that a note names: a platform has a thousand."""


def print_notes(
    settings: Settings, admin: Administration, rule: GrantEntry, *, names_environment: bool
) -> None:
    """Print the notes on the grant `rule`. `names_environment` is whether its command named one."""
    kind, _, name = rule.subject.partition(":")
    if kind == "group" and not any(admin.list_all("users.list", {"group": name}, 1)):
        show.note(
            f"The group {name} has no members yet; add one: stagedoor user group USER --add {name}"
        )
    named = _environments(settings)
    is_wide = len(named) > 1 or settings.kubernetes.namespace_selector is not None
    if not names_environment and is_wide:
        first = ", ".join(named[:MAX_NAMED])
        rest = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
        show.note(
            f"It covers every environment ({first}{rest}); narrow it with --environment NAME."
        )
    if unknown := _unknown(settings, rule):
        show.note(unknown)


def _unknown(settings: Settings, rule: GrantEntry) -> str | None:
    """Return a warning about a rule that covers no known app, else None."""
    known = list_settings_targets(settings)
    if _is_any_covered(rule, known):
        return None
    try:
        known += list_cluster_targets(settings)
    except StagedoorError:
        return None  # the cluster may have such an app
    if _is_any_covered(rule, known):
        return None
    close = get_close_matches(rule.app, {target.app for target in known}, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    where = "" if rule.environment == "*" else f" in {rule.environment}"
    return (
        f"Attention: no app is known as {rule.app}{where} now (stagedoor app list). The grant holds "
        f"once there is one.{meant}"
    )


def _is_any_covered(rule: GrantEntry, known: Iterable[Target]) -> bool:
    return any(has_match(rule.app, rule.environment, target) for target in known)


def _environments(settings: Settings) -> list[str]:
    """Return the environments that the settings name. Apps without one count as an environment."""
    environments = set(settings.kubernetes.namespaces)
    environments |= {entry.environment or "" for entry in settings.shells.static}
    environments |= {entry.environment or "" for entry in settings.shells.local}
    if settings.kubernetes.namespace_selector is not None:
        environments |= {f"each namespace with {settings.kubernetes.namespace_selector}"}
    return [name or "apps without one" for name in sorted(environments)]
