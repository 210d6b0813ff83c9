"""What an app's own annotations say of its shell, taken whole or not at all. Pure.

One wrong value and there is no shell: a shell that has half of what was asked for would be a
surprise to the developers who enter it. `docs/reference/annotations.md` is the page for people.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from stagedoor.model.cluster import Object
from stagedoor.model.units import DAY_S, HOUR_S, MINUTE_S
from stagedoor.shells.kubernetes.derive import values
from stagedoor.shells.kubernetes.derive.values import WrongValueError
from stagedoor.shells.kubernetes.names import OPT_IN, PREFIX
from stagedoor.shells.kubernetes.sentences import plain

READ_WRITE_ONCE = "rwo"

SERVICE_ACCOUNT = "service-account"
CAPABILITIES = "capabilities"
HOST_PATH = "host-path"
PRIVILEGES = (SERVICE_ACCOUNT, CAPABILITIES, HOST_PATH)
"""What of its app a shell has only where the app asks for it, and the installation permits that."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The settings of one app's shell; `docs/reference/annotations.md` tells what each does.

    None means as the app has it. Durations are seconds. `init_containers` and `sidecars` are names,
    or `*` alone for all. `host_aliases` are pairs of an address and its names. `privileges`
    are those that the app asks for, `permitted` those that the installation lets an app ask for.
    """

    container: str | None = None
    image: str | None = None
    packages_image: str | None = None
    resources: Mapping[str, Mapping[str, str]] | None = None
    idle_stop_s: int = 30 * MINUTE_S
    idle_delete_s: int = DAY_S
    tmux_grace_s: int = 8 * HOUR_S
    grace_s: int = 10 * MINUTE_S
    warm: bool = False
    command: tuple[str, ...] = ()
    directory: str | None = None
    login_name: str | None = None
    user: int | None = None
    group: int | None = None
    env_add: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    env_drop: tuple[str, ...] = ()
    volumes: frozenset[str] = frozenset()
    privileges: frozenset[str] = frozenset()
    permitted: frozenset[str] = frozenset({SERVICE_ACCOUNT})
    init_containers: tuple[str, ...] = ()
    sidecars: tuple[str, ...] = ()
    host_aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()


DEFAULT_SETTINGS = AppSettings()


@dataclass(frozen=True, slots=True)
class WrongSettings:
    """Why no shell can be made of an app: one sentence for each thing that is wrong.

    Each names the annotation, the app, the value and what is allowed. `instead` are the settings by
    which a shell lives that is there already.
    """

    problems: tuple[str, ...]
    instead: AppSettings = DEFAULT_SETTINGS


# What an annotation is read by, and the fields that it fills, in the order of what is read.
_Reader = Callable[[str], Any]
_SETTINGS: Mapping[str, tuple[_Reader, tuple[str, ...]]] = {
    "container": (values.label, ("container",)),
    "image": (values.image, ("image",)),
    "packages-image": (values.image, ("packages_image",)),
    "resources": (values.resources, ("resources",)),
    "idle-stop": (values.duration(MINUTE_S, 30 * DAY_S), ("idle_stop_s",)),
    "idle-delete": (values.duration(MINUTE_S, 365 * DAY_S), ("idle_delete_s",)),
    "tmux-grace": (values.duration(0, 30 * DAY_S), ("tmux_grace_s",)),
    "grace": (values.duration(1, DAY_S), ("grace_s",)),
    "warm": (values.boolean, ("warm",)),
    "command": (values.words, ("command",)),
    "directory": (values.directory, ("directory",)),
    "login-name": (values.login_name, ("login_name",)),
    "user": (values.user, ("user", "group")),
    "env-add": (values.variables, ("env_add",)),
    "env-drop": (values.dropped_variables, ("env_drop",)),
    "volumes": (values.choices(READ_WRITE_ONCE), ("volumes",)),
    "privileges": (values.choices(*PRIVILEGES), ("privileges",)),
    "init-containers": (values.container_names, ("init_containers",)),
    "sidecars": (values.container_names, ("sidecars",)),
    "host-aliases": (values.host_aliases, ("host_aliases",)),
}

NAMES = (OPT_IN, *(PREFIX + name for name in _SETTINGS))
"""Every annotation that an app may bear, for the page that tells of them."""


def is_offered(app: Object) -> bool:
    """Whether a Deployment or StatefulSet offers a shell: `names.OPT_IN` is `true` as a label or
    annotation of its own (its pods' do not count).

    Anything but `true` on either withdraws the offer: `false` is never outvoted.
    """
    metadata = app.get("metadata") or {}
    said = [
        place[OPT_IN]
        for place in (metadata.get("labels") or {}, metadata.get("annotations") or {})
        if OPT_IN in place
    ]
    return bool(said) and all(value == "true" for value in said)


def read_settings(
    app: Object, defaults: AppSettings = DEFAULT_SETTINGS
) -> AppSettings | WrongSettings:
    """Every `stagedoor.dev/…` annotation of an app over `defaults`, or all that is wrong with them."""
    given = {
        name.removeprefix(PREFIX): value
        for name, value in ((app.get("metadata") or {}).get("annotations") or {}).items()
        if isinstance(name, str) and name.startswith(PREFIX) and name != OPT_IN
    }
    read: dict[str, Any] = {}
    problems = []
    for name, value in sorted(given.items()):
        try:
            fields = _read(name, value)
        except WrongValueError as error:
            problems.append(f"annotation {PREFIX}{plain(name, 100)} of {describe(app)}: {error}")
        else:
            read.update(fields)
    problems += [
        f'annotation {PREFIX}privileges of {describe(app)}: "{name}" is not permitted here; '
        "an administrator permits it by controller.privileges"
        for name in sorted(read.get("privileges", frozenset()) - defaults.permitted)
    ]
    if problems:
        return WrongSettings(tuple(problems), defaults)
    return replace(defaults, **read)


def describe(app: Object) -> str:
    """The app for a message: `Deployment app01`."""
    name = (app.get("metadata") or {}).get("name", "?")
    return f"{kind_of(app)} {name}"


def kind_of(app: Object) -> str:
    """`Deployment` or `StatefulSet`; the items of a list answer do not say their kind themselves."""
    said = app.get("kind")
    if isinstance(said, str):
        return said
    # apps/v1: `updateStrategy` is a StatefulSet's, `strategy` a Deployment's; both are defaulted.
    return "StatefulSet" if "updateStrategy" in (app.get("spec") or {}) else "Deployment"


def _read(name: str, value: object) -> Mapping[str, Any]:
    known = _SETTINGS.get(name)
    if known is None:
        like = get_close_matches(name, _SETTINGS, n=1)
        meant = f"did you mean {PREFIX}{like[0]}?" if like else f"known are: {', '.join(_SETTINGS)}"
        raise WrongValueError(f"there is no such setting; {meant}")
    if not isinstance(value, str):
        raise WrongValueError("the value is no text; put it in quotes")
    reader, fields = known
    found = reader(value.strip())
    return dict(zip(fields, found, strict=True)) if len(fields) > 1 else {fields[0]: found}
