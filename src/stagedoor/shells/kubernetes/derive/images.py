"""Image names, and the digests of running images that can be pulled. Pure.

Grammar: github.com/distribution/reference. The forms of `imageID` are those that container runtimes write to
`status.containerStatuses[].imageID`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stagedoor.model.cluster import Object

MAX_CHARS = 512
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_NAME}(?:\.{_NAME})*|\[[0-9a-fA-F:]+\])"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}(?::\d{{1,5}})?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?",
    re.ASCII,
)
_SCHEME = "docker-pullable://"


class Reference(NamedTuple):
    """A reference to an image: `name` as written, `tag` and `digest` empty if not given."""

    name: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """Return the full name, such as `docker.io/library/busybox` for `busybox`."""
        host, slash, rest = self.name.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, rest = "docker.io", self.name
        if host == "index.docker.io":
            host = "docker.io"
        if host == "docker.io" and "/" not in rest:
            rest = f"library/{rest}"
        return f"{host}/{rest}"


def parse_reference(text: str) -> Reference | None:
    """Parse `repo`, `repo:tag`, `repo@sha256:…` or `repo:tag@sha256:…`. Return None for anything else."""
    if len(text) > MAX_CHARS:
        return None
    match = _REFERENCE.fullmatch(text)
    return Reference(match["name"], match["tag"] or "", match["digest"] or "") if match else None


def add_digest(image: str, image_id: str) -> str | None:
    """Return `image` with the running image's digest, as `repo@sha256:…`.

    Return None if `image` has a digest already, or if the status gives no name that could be pulled from the
    same repository. `docker-pullable://repo@sha256:…` and `repo@sha256:…` name a manifest. A bare `sha256:…`
    (and `docker://sha256:…`) is the id of an image on that one node, which no registry knows.
    """
    reference = parse_reference(image)
    running = parse_reference(image_id.removeprefix(_SCHEME))
    if reference is None or reference.digest or running is None or not running.digest:
        return None
    # If an image has several names, a runtime may report any of them. Another repository may need another
    # pull secret, or be on a registry that the app does not use.
    if running.repository != reference.repository:
        return None
    return f"{reference.name}@{running.digest}"


def find_running_digests(app: Object, pods: Iterable[Object]) -> Mapping[str, str]:
    """Return, by name, the image that each of the app's containers runs, in the form of `add_digest`.

    `pods` are those that the app's selector selects. A pod counts if it is not being deleted, and if it has
    the image of the app's current template. The youngest pod takes precedence.
    """
    selector = app.get("spec", {}).get("selector") or {}
    if not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return {}  # it selects no pod, but a list request without a selector returns all
    template = app.get("spec", {}).get("template", {}).get("spec", {})
    template_images = {
        container["name"]: container.get("image", "")
        for part in ("initContainers", "containers")
        for container in template.get(part) or ()
    }
    digests: dict[str, str] = {}
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    alive.sort(key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    for pod in alive:
        images = {
            container["name"]: container.get("image", "")
            for part in ("initContainers", "containers")
            for container in pod.get("spec", {}).get(part) or ()
        }
        for part in ("initContainerStatuses", "containerStatuses"):
            for status in pod.get("status", {}).get(part) or ():
                name = status.get("name", "")
                image = template_images.get(name)
                if name in digests or image is None or images.get(name) != image:
                    continue
                digest = add_digest(image, status.get("imageID") or "")
                if digest is not None:
                    digests[name] = digest
    return digests


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a LabelSelector (`matchLabels`, `matchExpressions`) selects these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or ():
        value, values = labels.get(rule["key"]), rule.get("values") or ()
        match rule["operator"]:
            case "In":
                holds = value in values
            case "NotIn":
                holds = value not in values
            case "Exists":
                holds = value is not None
            case "DoesNotExist":
                holds = value is None
            case _:
                holds = False
        if not holds:
            return False
    return True


def format_selector(selector: Object) -> str:
    """Return a LabelSelector in the form of a list request. Raises ValueError for an unknown operator."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        key, values = rule["key"], ",".join(rule.get("values") or ())
        match rule["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
            case unknown:
                raise ValueError(f"no operator of a label selector: {unknown}")
    return ",".join(parts)
