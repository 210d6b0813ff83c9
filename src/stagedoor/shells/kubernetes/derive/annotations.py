"""The settings of a shell in its app's annotations. Pure.

If a single value is wrong, the app has no shell, since developers would not expect one with half of its
settings. `docs/reference/annotations.md` describes each annotation.
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
from stagedoor.shells.kubernetes.sentences import clean_text

READ_WRITE_ONCE = "rwo"
KEEP = "keep"
"""The value of the annotation `devices` that gives a shell its app's extended resources, such as GPUs."""

SERVICE_ACCOUNT = "service-account"
CAPABILITIES = "capabilities"
HOST_PATH = "host-path"
PRIVILEGES = (SERVICE_ACCOUNT, CAPABILITIES, HOST_PATH)
"""What a shell gets from its app only if the app asks for it and the installation permits it."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The settings of one app's shell; `docs/reference/annotations.md` describes each.

    None means as in the app. Durations are in seconds. `init_containers` and `sidecars` are names, or only
    `*` for all. `host_aliases` are pairs of an address and its names. `privileges` are those that the app
    asks for, `permitted` those that the installation allows apps to ask for.
    """

    container: str | None = None
    image: str | None = None
    packages_image: str | None = None
    resources: Mapping[str, Mapping[str, str]] | None = None
    devices: frozenset[str] = frozenset()
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
    """The errors that keep an app from having a shell, a sentence for each.

    Each sentence names the annotation, the app, the value and the allowed values. `instead` are the settings
    for a shell that exists already.
    """

    problems: tuple[str, ...]
    instead: AppSettings = DEFAULT_SETTINGS


# Each annotation's reader, and the fields that it fills, in the order of the values that it returns.
_Reader = Callable[[str], Any]
_SETTINGS: Mapping[str, tuple[_Reader, tuple[str, ...]]] = {
    "container": (values.read_label, ("container",)),
    "image": (values.read_image, ("image",)),
    "packages-image": (values.read_image, ("packages_image",)),
    "resources": (values.read_resources, ("resources",)),
    "devices": (values.make_choice_reader(KEEP), ("devices",)),
    "idle-stop": (values.make_duration_reader(MINUTE_S, 30 * DAY_S), ("idle_stop_s",)),
    "idle-delete": (values.make_duration_reader(MINUTE_S, 365 * DAY_S), ("idle_delete_s",)),
    "tmux-grace": (values.make_duration_reader(0, 30 * DAY_S), ("tmux_grace_s",)),
    "grace": (values.make_duration_reader(1, DAY_S), ("grace_s",)),
    "warm": (values.read_boolean, ("warm",)),
    "command": (values.read_words, ("command",)),
    "directory": (values.read_directory, ("directory",)),
    "login-name": (values.read_login_name, ("login_name",)),
    "user": (values.read_user, ("user", "group")),
    "env-add": (values.read_variables, ("env_add",)),
    "env-drop": (values.parse_dropped_variables, ("env_drop",)),
    "volumes": (values.make_choice_reader(READ_WRITE_ONCE), ("volumes",)),
    "privileges": (values.make_choice_reader(*PRIVILEGES), ("privileges",)),
    "init-containers": (values.parse_container_names, ("init_containers",)),
    "sidecars": (values.parse_container_names, ("sidecars",)),
    "host-aliases": (values.read_host_aliases, ("host_aliases",)),
}

NAMES = tuple(PREFIX + name for name in _SETTINGS)
"""Every annotation that an app may have, for the reference page."""


def is_offered(app: Object) -> bool:
    """Return whether a Deployment or StatefulSet offers a shell.

    It does if the label `names.OPT_IN` on the object itself is `true`, since the API selects it by this. The
    labels of its pods do not count.
    """
    return bool((app["metadata"].get("labels") or {}).get(OPT_IN) == "true")


def read_settings(
    app: Object, defaults: AppSettings = DEFAULT_SETTINGS
) -> AppSettings | WrongSettings:
    """Read the `stagedoor.dev/…` annotations of an app on top of `defaults`, or return all errors in them."""
    annotations = {
        name.removeprefix(PREFIX): value
        for name, value in (app["metadata"].get("annotations") or {}).items()
        if name.startswith(PREFIX)
    }
    changes: dict[str, Any] = {}
    problems = []
    for name, value in sorted(annotations.items()):
        try:
            fields = _read(name, value)
        except WrongValueError as error:
            problems.append(
                f"annotation {PREFIX}{clean_text(name, 100)} of {describe(app)}: {error}"
            )
        else:
            changes.update(fields)
    problems += [
        f'annotation {PREFIX}privileges of {describe(app)}: "{name}" is not permitted here; '
        "an administrator can permit it"
        for name in sorted(changes.get("privileges", frozenset()) - defaults.permitted)
    ]
    if problems:
        return WrongSettings(tuple(problems), defaults)
    return replace(defaults, **changes)


def describe(app: Object) -> str:
    """Return the app's name for messages, such as `Deployment app01`."""
    return f"{app['kind']} {app['metadata']['name']}"


def _read(name: str, value: object) -> Mapping[str, Any]:
    setting = _SETTINGS.get(name)
    if setting is None:
        like = get_close_matches(name, _SETTINGS, n=1)
        meant = f"did you mean {PREFIX}{like[0]}?" if like else f"known are: {', '.join(_SETTINGS)}"
        raise WrongValueError(f"there is no such setting; {meant}")
    if not isinstance(value, str):
        raise WrongValueError("the value is not a string; put it in quotes")
    reader, fields = setting
    result = reader(value.strip())
    return dict(zip(fields, result, strict=True)) if len(fields) > 1 else {fields[0]: result}
